package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

const (
	// checkLimit bounds the check of one transport.
	checkLimit = 15 * time.Second
	// echoSize is the length of the probe that is to be echoed: more than what
	// a middlebox sends on before it begins to hold bytes back.
	echoSize = 4 << 10
	// marker is the response header by which a bridge's answer is known.
	marker = "Pollbridge"
)

// Report is what the network between this program and a bridge lets through.
type Report struct {
	// URL is the bridge's, its prefix included.
	URL string
	// Welcome is what the bridge says of itself; nil when none was reached.
	Welcome *Welcome
	// Transports has a finding for "longpoll" and one for "ws".
	Transports []Finding
}

// Welcome is what a bridge says of itself.
type Welcome struct {
	Release      string
	Protocol     uint32
	Hold         time.Duration
	ResumeWindow time.Duration
	MaxMessage   uint64 // bytes
}

// Finding is how a transport fared.
type Finding struct {
	Transport string
	// Err says why the transport does not work; nil: it does.
	Err error
	// Proto, Status and Ours are of the last HTTP response: of an exchange or
	// of the WebSocket handshake. Proto is empty when none came; Ours tells
	// that it has the header by which a bridge's answer is known.
	Proto  string
	Status int
	Ours   bool
	// Opened is how long it took to open a session, everything included.
	Opened time.Duration
	// RTT is how long the echo of a probe of 4 KiB took then.
	RTT time.Duration
}

// Check opens a session at the bridge at url over each transport, one after
// the other, and has a probe echoed. What url and cfg mean is as with New, but
// Transports, Lazy and what concerns RPCs do not count. The error is one of
// url or cfg; trouble on the way is in the report.
func Check(ctx context.Context, url string, cfg Config) (*Report, error) {
	to, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	report := &Report{URL: to.base}
	for _, kind := range []transport.Kind{transport.Longpoll, transport.WS} {
		found, welcome := check(ctx, kind, to.base, &cfg)
		report.Transports = append(report.Transports, found)
		report.Welcome = cmp.Or(report.Welcome, welcome)
	}
	return report, nil
}

// checker checks one transport with a session of its own.
type checker struct {
	kind    transport.Kind
	carrier *carrier
	seen    *witness
	token   string

	id, key     []byte
	start       time.Time
	x           uint64
	incarnation uint64
	welcome     *Welcome
}

func newChecker(ctx context.Context, kind transport.Kind, base string, cfg *Config) (*checker, error) {
	secrets := make([]byte, wire.IDSize+wire.KeySize)
	rand.Read(secrets)
	c := &checker{
		kind: kind, carrier: newCarrier(base, cfg), id: secrets[:wire.IDSize], key: secrets[wire.IDSize:],
		start: time.Now(), x: 1,
	}
	client := c.carrier.posts
	if kind == transport.WS {
		client = c.carrier.socks
	}
	c.seen = &witness{RoundTripper: client.Transport}
	client.Transport = c.seen
	if cfg.Token == nil {
		return c, nil
	}
	var err error
	c.token, err = cfg.Token(ctx)
	return c, err
}

func check(ctx context.Context, kind transport.Kind, base string, cfg *Config) (Finding, *Welcome) {
	ctx, cancel := context.WithTimeoutCause(ctx, checkLimit, fmt.Errorf("no answer within %v", checkLimit))
	defer cancel()
	found := Finding{Transport: kind.String()}
	c, err := newChecker(ctx, kind, base, cfg)
	if err != nil {
		found.Err = fmt.Errorf("client: token: %w", err)
		return found, nil
	}
	defer c.carrier.close()
	trade, hangUp, err := c.connect(ctx)
	if err == nil {
		defer hangUp()
		err = c.talk(ctx, trade, &found)
	}
	found.Err = err
	found.Proto, found.Status, found.Ours = c.seen.proto, c.seen.status, c.seen.ours
	return found, c.welcome
}

// trade sends a batch and gives the one that answers it.
type trade func(ctx context.Context, batch []byte) ([]byte, error)

// connect opens the transport: nothing for exchanges.
func (c *checker) connect(ctx context.Context) (t trade, hangUp func(), err error) {
	session := wire.EncodeSession(c.id)
	if c.kind == transport.Longpoll {
		return func(ctx context.Context, batch []byte) ([]byte, error) {
			c.x++ // of the next exchange
			return c.carrier.Exchange(ctx, session, batch)
		}, func() {}, nil
	}
	socket, err := c.carrier.Dial(ctx, session)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, batch []byte) ([]byte, error) {
		if err := socket.Write(ctx, batch); err != nil {
			return nil, err
		}
		return socket.Read(ctx)
	}, socket.Close, nil
}

// talk opens a session, has a probe echoed, and ends the session.
func (c *checker) talk(ctx context.Context, t trade, found *Finding) error {
	hello := wire.Batch{
		Versions: &wire.Versions{Lowest: wire.LowestVersion, Highest: wire.HighestVersion},
		Hello:    &wire.Hello{Release: release},
		Token:    c.token,
	}
	answer, err := c.ask(ctx, t, hello)
	if err != nil {
		return err
	}
	if answer.Welcome == nil {
		return errors.New("client: the bridge answered Hello without Welcome")
	}
	found.Opened = time.Since(c.start)
	c.incarnation = answer.Incarnation
	c.welcome = welcomeOf(answer.Welcome)

	asked := time.Now()
	probe := wire.Batch{Ping: 1, Padding: make([]byte, echoSize)}
	rand.Read(probe.Padding)
	answer, err = c.ask(ctx, t, probe)
	if err != nil {
		return err
	}
	if answer.Pong != probe.Ping || !bytes.Equal(answer.Padding, probe.Padding) {
		return fmt.Errorf("client: the probe of %d bytes came back as %d others", echoSize, len(answer.Padding))
	}
	found.RTT = time.Since(asked)

	done := wire.Frame{Seq: 1, Type: wire.TypeClose, Close: &wire.Close{Code: wire.CodeDone}}
	_, _ = t(ctx, c.encode(wire.Batch{Frames: []wire.Frame{done}})) // if lost, the session just lapses
	return nil
}

// ask trades one batch and reads the answer.
func (c *checker) ask(ctx context.Context, t trade, b wire.Batch) (*wire.Batch, error) {
	data, err := t(ctx, c.encode(b))
	if err != nil {
		return nil, err
	}
	answer := &wire.Batch{}
	if err := wire.ParseBatch(data, answer); err != nil {
		return nil, fmt.Errorf("client: the answer was changed on its way: %w", err)
	}
	if refusal := answer.Close; refusal != nil {
		return nil, fmt.Errorf("client: refused by the bridge: %s (code %d)", refusal.Message, refusal.Code)
	}
	if len(answer.Session) > 0 && !bytes.Equal(answer.Session, c.id) {
		return nil, errors.New("client: the answer is for another session")
	}
	return answer, nil
}

func (c *checker) encode(b wire.Batch) []byte {
	b.Session, b.Key, b.X, b.Awaiting, b.Incarnation = c.id, c.key, c.x, c.x, c.incarnation
	b.NowMicros = uint64(time.Since(c.start).Microseconds())
	return wire.AppendBatch(nil, &b)
}

func welcomeOf(w *wire.Welcome) *Welcome {
	return &Welcome{
		Release:      w.Release,
		Protocol:     w.Version,
		Hold:         time.Duration(w.HoldMillis) * time.Millisecond,
		ResumeWindow: time.Duration(w.ResumeMillis) * time.Millisecond,
		MaxMessage:   w.MaxMessageBytes,
	}
}

// witness keeps what the last response looked like. Requests come one at a
// time.
type witness struct {
	http.RoundTripper
	proto  string
	status int
	ours   bool
}

func (w *witness) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := w.RoundTripper.RoundTrip(req)
	if err == nil {
		w.proto, w.status, w.ours = resp.Proto, resp.StatusCode, resp.Header.Get(marker) != ""
	}
	return resp, err
}

// CloseIdleConnections is what http.Client looks for.
func (w *witness) CloseIdleConnections() {
	if t, ok := w.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
