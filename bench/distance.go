package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/grpc"

	"github.com/pollbridge/pollbridge/client"
)

// farPath is a path with a round-trip time and a rate; 0: unlimited.
type farPath struct {
	rtt   time.Duration
	mbits float64
	lossy bool // 2 % are lost in bursts, and connections are reset every farResets
}

// farPaths in the order of the page.
func farPaths() []farPath {
	var all []farPath
	for _, mbits := range []float64{10, 50, 200} {
		for _, rtt := range []time.Duration{20, 100, 300} {
			all = append(all, farPath{rtt: rtt * time.Millisecond, mbits: mbits})
		}
	}
	return append(all, farPath{rtt: 100 * time.Millisecond}, farPath{rtt: 100 * time.Millisecond, mbits: 50, lossy: true})
}

func (p farPath) String() string {
	if p.lossy {
		return fmt.Sprintf("one stream, lossy, %v Mbit/s, %v there and back", p.mbits, p.rtt)
	}
	if p.mbits == 0 {
		return fmt.Sprintf("one stream, no limit, %v there and back", p.rtt)
	}
	return fmt.Sprintf("one stream, %v Mbit/s, %v there and back", p.mbits, p.rtt)
}

const (
	farSize   = 16 << 10
	farWarmup = 3 * time.Second // before a stream is measured
	farWindow = 2 * time.Second
	farResets = 10 * time.Second
	// farLossyWindow has a reset in it.
	farLossyWindow = 8 * time.Second
)

// Ways over a distance, beside those of RPCs.
const (
	jsWS       = "Pollbridge ws, Chromium"
	jsLongpoll = "Pollbridge longpoll, Chromium"
	jsConnect  = "connect-web by connect-go, Chromium"
	jsFetch    = "bare fetch of a body, Chromium"
)

// farWay is one way over a distance.
type farWay struct {
	name string
	hop  string // where the relay leads
	dial func(addr string) (conn, error)
	kind string // in a page, instead of dial
	noUp bool   // it has no streams from the client
	ends bool   // a stream ends with its connection, and nobody begins another
}

// far returns how long a stream on that path runs before it is measured, and then: less
// in tests.
func (c config) far(p farPath) (warmup, window time.Duration) {
	switch {
	case c.window < 100*time.Millisecond:
		return c.window, c.window
	case p.lossy:
		return farWarmup, farLossyWindow
	}
	return farWarmup, farWindow
}

// measureDistance measures how much of a far path one stream fills.
func measureDistance(ctx context.Context, cfg config) (*section, error) {
	s := &section{title: "Distance"}
	l, err := newLab(ctx, cfg)
	b := &browserLab{lab: l}
	defer l.close()
	if err != nil {
		return s, err
	}
	bridge, err := l.bridge(ctx, "--rpc") // HTTP/2 too
	if err != nil {
		return s, err
	}
	ways := []farWay{{name: native, hop: l.backend.addr, dial: func(addr string) (conn, error) { return dialGRPC(addr) }}}
	for _, transport := range []string{"ws", "longpoll"} {
		ways = append(ways, farWay{name: "Pollbridge " + transport, hop: bridge.addr, dial: func(addr string) (conn, error) {
			return client.New("http://"+addr, client.Config{Transports: []string{transport}})
		}})
	}
	ways = append(ways, farWay{name: "Pollbridge longpoll, HTTP/2", hop: bridge.addr, dial: func(addr string) (conn, error) {
		return client.New("http://"+addr, client.Config{Transports: []string{"longpoll"}, HTTPClient: overHTTP2()})
	}})
	if !cfg.ownOnly {
		ways = append(ways, b.farRivals(ctx, s)...)
	}
	for _, p := range farPaths() {
		if err := b.alongPath(ctx, s, p, ways); err != nil {
			return s, err
		}
	}
	return s, nil
}

// overHTTP2 returns a client that speaks HTTP/2 without TLS.
func overHTTP2() *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: transport}
}

// farRivals are other people's ways, and those in a browser. Why there are fewer is
// noted.
func (b *browserLab) farRivals(ctx context.Context, s *section) []farWay {
	var ways []farWay
	if gwp, err := b.grpcwebproxy(ctx); err != nil {
		s.note("grpcwebproxy: %v", err)
	} else {
		ways = append(ways, farWay{name: gwpWS, hop: gwp.addr, noUp: true, ends: true, dial: func(addr string) (conn, error) { return webSocketConn(addr), nil }})
	}
	front, err := b.role(ctx, "connect", b.backend.addr)
	if err == nil {
		err = b.startBrowser(ctx)
	}
	if err != nil {
		s.note("in a browser: %v", err)
		return ways
	}
	return append(ways,
		farWay{name: jsWS, hop: b.site.addr, kind: "ws"},
		farWay{name: jsLongpoll, hop: b.site.addr, kind: "longpoll"},
		farWay{name: jsConnect, hop: front.addr, kind: "connect", ends: true},
		farWay{name: jsFetch, hop: b.site.addr, kind: "fetch", ends: true})
}

// alongPath measures all ways over one path, and adds its table.
func (b *browserLab) alongPath(ctx context.Context, s *section, p farPath, ways []farWay) error {
	title := p.String()
	down, up := map[string]float64{}, map[string]float64{}
	for _, w := range ways {
		if !b.cfg.measures(key{title, w.name}) || p.lossy && w.ends {
			continue
		}
		var resets time.Duration
		if p.lossy {
			resets = farResets
		}
		relay, err := b.role(ctx, "relay", w.hop, (p.rtt / 2).String(), fmt.Sprint(p.mbits), resets.String())
		if err != nil {
			return err
		}
		if down[w.name], up[w.name], err = b.along(ctx, p, w, relay.addr); err != nil {
			s.note("%s, %s: %v", title, w.name, err)
		}
		b.cfg.log("%s, %s: %s, %s Mbit/s", title, w.name, figure(down[w.name]), figure(up[w.name]))
	}
	if len(down) == 0 {
		return nil
	}
	s.table(title, "down, Mbit/s", "÷ path", "÷ native", "up, Mbit/s", "÷ path", "÷ native")
	cells := func(got, beside float64) []string {
		all := []string{figure(got), "", ""}
		if p.mbits > 0 {
			all[1] = figure(got / p.mbits)
		}
		if beside > 0 {
			all[2] = figure(got / beside)
		}
		return all
	}
	for _, w := range ways {
		if down[w.name] == 0 {
			continue
		}
		row := cells(down[w.name], down[native])
		if up[w.name] > 0 {
			row = append(row, cells(up[w.name], up[native])...)
		} else {
			row = append(row, "", "", "")
		}
		s.row(w.name, row...)
	}
	return nil
}

// along returns the rates of a stream each way, in Mbit/s; up is 0 where there is
// none.
func (b *browserLab) along(ctx context.Context, p farPath, w farWay, addr string) (down, up float64, err error) {
	warmup, window := b.cfg.far(p)
	if w.kind != "" {
		page := b.site.addr
		if w.hop == page {
			page = addr // of the same origin
		}
		got, err := b.do(ask{
			What: "far", Way: w.name + addr, Page: "http://" + page, Kind: w.kind, URL: "http://" + addr,
			Bytes: farSize, Warmup: warmup.Milliseconds(), Millis: window.Milliseconds(),
		})
		return got.Messages * farSize * 8 / got.Seconds / 1e6, 0, err
	}
	conn, err := w.dial(addr)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = conn.Close() }() // its rates are known by then
	if down, err = streamRate(ctx, conn, false, warmup, window); err == nil && !w.noUp {
		up, err = streamRate(ctx, conn, true, warmup, window)
	}
	return down, up, err
}

// streamRate returns the rate of one stream, in Mbit/s; of several, one after the other,
// where connections end.
func streamRate(ctx context.Context, conn conn, up bool, warmup, window time.Duration) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, warmup+window+20*time.Second)
	defer cancel()
	m := &message{Value: bytes.Repeat([]byte{'x'}, farSize)}
	pass, err := farStream(ctx, conn, up, m)
	start := time.Now()
	var n int
	var from time.Time
	for {
		if err == nil {
			err = pass()
		}
		if ctx.Err() != nil {
			return 0, err
		}
		now := time.Now()
		switch {
		case err != nil:
			time.Sleep(farPause)
			pass, err = farStream(ctx, conn, up, m)
		case now.Sub(start) < warmup:
		case from.IsZero():
			from = now
		case now.Sub(from) >= window:
			return float64(n+1) * farSize * 8 / now.Sub(from).Seconds() / 1e6, nil
		default:
			n++
		}
	}
}

// farPause is how long after a stream ended another one begins.
const farPause = 10 * time.Millisecond

// farStream opens a stream, and returns what passes one message.
func farStream(ctx context.Context, conn conn, up bool, m *message) (pass func() error, err error) {
	desc, method := &grpc.StreamDesc{ServerStreams: true}, streamMethod
	if up {
		desc, method = &grpc.StreamDesc{ClientStreams: true}, drainMethod
	}
	st, err := conn.NewStream(ctx, desc, method)
	if err != nil {
		return nil, err
	}
	if up {
		return func() error { return st.SendMsg(m) }, nil
	}
	if err := errors.Join(st.SendMsg(m), st.CloseSend()); err != nil {
		return nil, err
	}
	return func() error { return st.RecvMsg(new(message)) }, nil
}
