package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pollbridge/pollbridge/internal/netcheck"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

const (
	// checkLimit bounds the check of one transport.
	checkLimit = 15 * time.Second
	// echoSize is the length of the probe that is to be echoed: more than what
	// a middlebox sends on before it begins to hold bytes back.
	echoSize = 4 << 10
)

// CheckConfig configures a Check.
type CheckConfig struct {
	// Config says how to reach the bridge. Transports, Lazy, OnState and what
	// concerns RPCs do not count.
	Config
	// Holds are the waits that are tried, ascending, each 100 ms to 60 s: a
	// check takes about ten seconds more than the longest. Default: 10, 25, 40
	// and 55 s.
	Holds []time.Duration
	// OnRow, if not nil, is called with each row as soon as there is one.
	OnRow func(CheckRow)
}

type (
	// CheckReport is what a check has found. It holds no secret.
	CheckReport = netcheck.Report
	// CheckRow is one row of a CheckReport.
	CheckRow = netcheck.Row
)

// Check finds out what the network between this program and the bridge at url
// does to requests and WebSockets, and has RPCs of all four kinds made. What
// url means is as with New. The bridge must have its network check switched
// on; where it has not, only sessions are opened. The error is one of url or
// cfg; trouble on the way is in the report.
func Check(ctx context.Context, url string, cfg CheckConfig) (*CheckReport, error) {
	to, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	way := newCarrier(to.base, &cfg.Config)
	defer way.close()
	report, err := netcheck.Run(ctx, netcheck.Config{
		URL:      to.base,
		Requests: way.posts,
		Sockets:  way.socks,
		Header:   way.header,
		Holds:    cfg.Holds,
		OnRow:    cfg.OnRow,
		Session: func(ctx context.Context, transport string, rpcs bool) (time.Duration, error) {
			if rpcs {
				return checkRPCs(ctx, to.base, transport, cfg.Config)
			}
			return checkSession(ctx, to.base, transport, cfg.Config)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	report.Proxy = proxyOf(ctx, to.base, &cfg.Config)
	return report, nil
}

// proxyOf is the forward proxy on the way to url, without its password.
func proxyOf(ctx context.Context, url string, cfg *Config) string {
	choose := cfg.Proxy
	if choose == nil {
		choose = http.ProxyFromEnvironment
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil || cfg.HTTPClient != nil {
		return ""
	}
	proxy, err := choose(req)
	if err != nil || proxy == nil {
		return ""
	}
	return proxy.Redacted()
}

// checker checks one transport with a session of its own.
type checker struct {
	kind    transport.Kind
	carrier *carrier
	token   string

	id, key     []byte
	start       time.Time
	x           uint64
	incarnation uint64
}

func newChecker(ctx context.Context, kind transport.Kind, base string, cfg *Config) (*checker, error) {
	secrets := make([]byte, wire.IDSize+wire.KeySize)
	rand.Read(secrets)
	c := &checker{
		kind: kind, carrier: newCarrier(base, cfg), id: secrets[:wire.IDSize], key: secrets[wire.IDSize:],
		start: time.Now(), x: 1,
	}
	if cfg.Token == nil {
		return c, nil
	}
	var err error
	c.token, err = cfg.Token(ctx)
	return c, err
}

// checkSession opens a session over one transport, has a probe of 4 KiB
// echoed, and tells how long the opening took.
func checkSession(ctx context.Context, base, name string, cfg Config) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, checkLimit, fmt.Errorf("no answer within %v", checkLimit))
	defer cancel()
	kind := transport.Longpoll
	if name == transport.WS.String() {
		kind = transport.WS
	}
	c, err := newChecker(ctx, kind, base, &cfg)
	if err != nil {
		return 0, fmt.Errorf("client: token: %w", err)
	}
	defer c.carrier.close()
	trade, hangUp, err := c.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer hangUp()
	return c.talk(ctx, trade)
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

// talk opens a session, has a probe echoed, and ends the session. It returns
// how long the opening took.
func (c *checker) talk(ctx context.Context, t trade) (opened time.Duration, err error) {
	hello := wire.Batch{
		Versions: &wire.Versions{Lowest: wire.LowestVersion, Highest: wire.HighestVersion},
		Hello:    &wire.Hello{Release: release},
		Token:    c.token,
	}
	answer, err := c.ask(ctx, t, hello)
	if err != nil {
		return 0, err
	}
	if answer.Welcome == nil {
		return 0, errors.New("client: the bridge answered Hello without Welcome")
	}
	opened = time.Since(c.start)
	c.incarnation = answer.Incarnation
	probe := wire.Batch{Ping: 1, Padding: make([]byte, echoSize)}
	rand.Read(probe.Padding)
	answer, err = c.ask(ctx, t, probe)
	if err != nil {
		return 0, err
	}
	if answer.Pong != probe.Ping || !bytes.Equal(answer.Padding, probe.Padding) {
		return 0, fmt.Errorf("client: the probe of %d bytes came back as %d others", echoSize, len(answer.Padding))
	}
	done := wire.Frame{Seq: 1, Type: wire.TypeClose, Close: &wire.Close{Code: wire.CodeDone}}
	_, _ = t(ctx, c.encode(wire.Batch{Frames: []wire.Frame{done}})) // if lost, the session just lapses
	return opened, nil
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
		if refusal.Code == wire.CodeUnauthenticated {
			return nil, fmt.Errorf("client: %w: %s", netcheck.ErrUnauthenticated, refusal.Message)
		}
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
