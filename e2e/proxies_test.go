package e2e_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/demo"
	"github.com/pollbridge/pollbridge/internal/demo/demopb"
	"github.com/pollbridge/pollbridge/internal/look"
	"github.com/pollbridge/pollbridge/internal/middlebox"
)

// realProxy is a row of the table of real proxies.
type realProxy struct {
	name    string
	start   func(t *testing.T, name string, s settings) *exec.Cmd
	does    string // for people
	reverse bool   // it stands for the bridge; else clients are configured with it
	https   bool   // the page and the bridge have https
	carried string
	// cuts says that polls held for 18 s are cut after 15 s, with this status;
	// 0: none.
	cuts bool
	with int
	// two, if not nil, makes the proxy's configuration for two bridges.
	two func(t *testing.T, s settings, both pair) string
}

var realProxies = []realProxy{
	{name: "squid-stock", start: squid, does: "`CONNECT` to port 443 only: no WebSocket to others", carried: longpoll},
	{name: "squid-open", start: squid, https: true, does: "`CONNECT` to the bridge's port allowed", carried: ws},
	{name: "squid-tight", start: squid, does: "15 s without a byte, bodies of 1 MB", carried: longpoll, cuts: true, with: http.StatusGatewayTimeout},
	{name: "squid-bump", start: squid, https: true, does: "looks into TLS, and strips Upgrade", carried: longpoll},
	{name: "tinyproxy-stock", start: tinyproxy, does: "`CONNECT` to every port", carried: ws},
	{name: "tinyproxy-tight", start: tinyproxy, does: "15 s without a byte, `CONNECT` to port 443 only", carried: longpoll, cuts: true},
	{name: "mitmproxy", start: mitmproxy, https: true, does: "looks into TLS, and buffers whole bodies", carried: ws},
	{name: "mitmproxy, http", start: mitmproxy, does: "buffers whole bodies", carried: ws},
	{name: "nginx-stock", start: nginx, reverse: true, does: "nothing but `proxy_pass`: HTTP/1.0 upstream, buffering, 60 s, bodies of 1 MiB", carried: longpoll},
	{name: "nginx-gzip", start: nginx, reverse: true, does: "compresses everything, two upstreams, 15 s", carried: longpoll, cuts: true, with: http.StatusGatewayTimeout},
	{name: "nginx, tuned", start: nginx, reverse: true, does: "as in [Running a bridge](OPERATIONS.md#nginx), two bridges", carried: ws, two: tunedNginx},
	{name: "haproxy-stock", start: haproxy, reverse: true, does: "the time-outs that Debian ships, 50 s", carried: ws},
	{name: "haproxy, tuned", start: haproxy, reverse: true, does: "as in [Running a bridge](OPERATIONS.md#haproxy), two bridges", carried: ws, two: tunedHAProxy},
}

// TestProxies opens the demo's page in Chromium, and the Go client, through
// real proxies, all side by side: all four kinds of RPC work, and what carries
// them is what the row says. The rows that wait for polls take longest, and
// nothing while they wait: they begin, and the others when those are quiet.
func TestProxies(t *testing.T) {
	browser := startChromium(t)
	var all, starting sync.WaitGroup
	defer all.Wait()
	waits := func(name string, play func(t *testing.T, quiet func())) {
		starting.Add(1)
		quiet := sync.OnceFunc(starting.Done)
		all.Go(func() {
			defer quiet() // when it failed before
			t.Run(name, func(t *testing.T) { play(t, quiet) })
		})
	}
	waits("nginx-gzip, a crowd", func(t *testing.T, quiet func()) { playCrowd(t, browser, quiet) })
	for _, p := range realProxies {
		if p.cuts {
			waits(p.name, func(t *testing.T, quiet func()) { p.play(t, browser, quiet) })
		}
	}
	starting.Wait()
	places := make(chan struct{}, atOnce)
	for _, p := range realProxies {
		if !p.cuts {
			places <- struct{}{}
			all.Go(func() {
				t.Run(p.name, func(t *testing.T) { p.play(t, browser, nil) })
				<-places
			})
		}
	}
}

// atOnce is how many busy rows are played side by side: what two cores can do.
const atOnce = 4

// play plays the row; quiet is called when it has nothing left to do but wait for
// polls.
func (p realProxy) play(t *testing.T, browser *chromium, quiet func()) {
	s := settings{Dir: ownDir(t), Port: freePort(t, "127.0.0.1"), Seconds: 15}
	var home string
	if p.two != nil {
		both := newPair(t)
		s.Site = p.two(t, s, both)
		defer both.check(t)
	} else {
		o := newOrigin(t, "127.0.0.1:0", p.https)
		home = o.url
		s.Upstream, s.TLSPort = o.addr, port(o.addr)
	}
	name, _, _ := strings.Cut(p.name, ",")
	startProxy(t, p.start(t, name, s), s)
	through := "http://127.0.0.1:" + strconv.Itoa(s.Port)
	if p.reverse {
		home, through = through, ""
	}
	if p.cuts && p.reverse {
		defer watchBystander(t, home)()
	}
	var both sync.WaitGroup
	defer both.Wait()
	both.Go(func() { p.playGo(t, home, through) })

	v := visit{What: "demo", URL: home + "/", Proxy: through, Carried: p.carried, quiet: quiet}
	if p.cuts {
		v.Stays, v.Cut = 9_000, true // 10.5 s, in the end
	}
	var got demoVisit
	if err := browser.visit(v, &got); err != nil {
		t.Errorf("in Chromium: %v", err)
		return
	}
	if got.Carried != p.carried {
		t.Errorf("in Chromium: carried by %q, want %q", got.Carried, p.carried)
	}
	if statuses := got.statuses(); p.cuts && !slices.Equal(statuses, []int{p.with, p.with, http.StatusOK}) {
		t.Errorf("in Chromium: polls ended as %v, want two that are cut with status %d to teach the hold, and one that is held: %v", statuses, p.with, got.Polls)
	}
	t.Logf("carried by %s; polls held or cut: %v", got.Carried, got.Polls)
}

// demoVisit is what a visit to the demo has shown.
type demoVisit struct {
	Carried string
	Polls   []struct{ Status, Millis int } // that lasted, or failed
}

func (s demoVisit) statuses() []int {
	all := make([]int, 0, len(s.Polls))
	for _, p := range s.Polls {
		all = append(all, p.Status)
	}
	return all
}

// watchBystander asks for the page all the time: a poll that is cut must not
// make the proxy give up on its upstreams. It returns a function that stops it.
func watchBystander(t *testing.T, home string) func() {
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	asking.Go(func() {
		for asked := 1; ctx.Err() == nil; asked++ {
			resp, err := http.Get(home + "/")
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("page number %d: status %s", asked, resp.Status)
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
	return func() {
		cancel()
		asking.Wait()
	}
}

// playGo plays the four kinds of RPC with the Go client.
func (p realProxy) playGo(t *testing.T, home, through string) {
	states := make(chan struct{}, 1)
	cfg := client.Config{
		TLS:   &tls.Config{InsecureSkipVerify: true}, // the certificate was made a moment ago
		Proxy: func(*http.Request) (*url.URL, error) { return nil, nil },
		OnState: func(client.State) {
			select {
			case states <- struct{}{}:
			default:
			}
		},
	}
	if through != "" {
		via, err := url.Parse(through)
		if err != nil {
			t.Error(err)
			return
		}
		cfg.Proxy = http.ProxyURL(via)
	}
	ch, err := client.New(home, cfg)
	if err != nil {
		t.Error(err)
		return
	}
	defer ch.Close()
	ctx, cancel := context.WithTimeout(context.Background(), visitLimit)
	defer cancel()
	if err := callAll(ctx, demopb.NewDemoClient(ch)); err != nil {
		t.Errorf("Go client: %v", err)
		return
	}
	for p.carried == ws && ch.State().Transport != ws {
		select {
		case <-states:
		case <-ctx.Done():
			t.Errorf("Go client: no WebSocket: %+v", ch.State())
			return
		}
	}
	if err := callAll(ctx, demopb.NewDemoClient(ch)); err != nil {
		t.Errorf("Go client, once more: %v", err)
	}
	if carried := ch.State().Transport; carried != p.carried {
		t.Errorf("Go client: carried by %q, want %q", carried, p.carried)
	}
}

// callAll makes one RPC of each kind and says what is wrong with them.
func callAll(ctx context.Context, c demopb.DemoClient) error {
	return errors.Join(callGreet(ctx, c), callCount(ctx, c), callUpload(ctx, c), callEcho(ctx, c))
}

func callGreet(ctx context.Context, c demopb.DemoClient) error {
	got, err := c.Greet(ctx, &demopb.GreetRequest{Name: "Ada"})
	if err == nil && got.GetGreeting() != "Hello, Ada!" {
		err = fmt.Errorf("greeting %q", got.GetGreeting())
	}
	return err
}

func callCount(ctx context.Context, c demopb.DemoClient) error {
	const to = 40
	stream, err := c.Count(ctx, &demopb.CountRequest{To: to, IntervalMs: 10})
	if err != nil {
		return err
	}
	for want := uint32(1); ; want++ {
		got, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF) && want == to+1:
			return nil
		case err != nil:
			return fmt.Errorf("before number %d: %w", want, err)
		case got.GetNumber() != want:
			return fmt.Errorf("number %d, want %d", got.GetNumber(), want)
		}
	}
}

func callUpload(ctx context.Context, c demopb.DemoClient) error {
	const chunks, size = 32, 32 << 10
	stream, err := c.Upload(ctx)
	if err != nil {
		return err
	}
	sum := sha256.New()
	for i := range chunks {
		chunk := slices.Repeat([]byte{byte(i), 0xff, 0, 7}, size/4)
		sum.Write(chunk)
		if err := stream.Send(&demopb.UploadRequest{Chunk: chunk}); err != nil {
			break // the status says why
		}
	}
	got, err := stream.CloseAndRecv()
	if err == nil && !slices.Equal(got.GetSha256(), sum.Sum(nil)) {
		err = fmt.Errorf("%d messages of %d bytes came, with another sum", got.GetMessages(), got.GetBytes())
	}
	return err
}

func callEcho(ctx context.Context, c demopb.DemoClient) error {
	stream, err := c.Echo(ctx)
	if err != nil {
		return err
	}
	for number := uint64(1); number <= 3; number++ {
		if err := stream.Send(&demopb.EchoRequest{Text: strconv.FormatUint(number, 10)}); err != nil {
			break // Recv says why
		}
		got, err := stream.Recv()
		if err != nil {
			return err
		}
		if got.GetNumber() != number || got.GetText() != strconv.FormatUint(number, 10) {
			return fmt.Errorf("echo %d %q, want %d", got.GetNumber(), got.GetText(), number)
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the half-close: %w", err)
	}
	return nil
}

// origin is the demo behind a bridge, with its page.
type origin struct {
	addr, url string
	bridge    *bridge.Server

	mu   sync.Mutex
	sids map[string][]string // of each session, which of its paths were asked for
}

// newOrigin serves one until the test ends.
func newOrigin(t *testing.T, addr string, https bool) *origin {
	service := grpc.NewServer()
	demo.Register(service)
	t.Cleanup(service.Stop)
	br, err := bridge.New(bridge.Config{
		Backends:       []bridge.Backend{{GRPCServer: service}},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		AllowHosts:     []string{"app"}, // what an nginx with nothing but proxy_pass makes of Host: its upstream's name
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = br.Shutdown(ctx) // a page that was closed may have left an RPC
	})
	o := &origin{bridge: br, sids: make(map[string][]string)}
	o.addr = serve(t, addr, o, https)
	o.url = map[bool]string{false: "http://", true: "https://"}[https] + o.addr
	return o
}

// ServeHTTP implements http.Handler.
func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if sid, end, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/bridge/v1/"), "/"); ok && sid != "" {
		o.mu.Lock()
		if !slices.Contains(o.sids[sid], end) {
			o.sids[sid] = append(o.sids[sid], end)
		}
		o.mu.Unlock()
	}
	if strings.HasPrefix(r.URL.Path, "/bridge/") {
		o.bridge.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Security-Policy", look.ContentSecurityPolicy)
	http.FileServerFS(demo.Page()).ServeHTTP(w, r)
}

// serve serves a handler until the test ends, and returns its address.
func serve(t *testing.T, addr string, h http.Handler, https bool) string {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	if o, ok := h.(*origin); ok {
		o.bridge.ParkPolls(server)
	}
	t.Cleanup(func() { server.Close() })
	if !https {
		go func() { _ = server.Serve(l) }() // until Close
		return l.Addr().String()
	}
	ca, err := middlebox.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.For("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}}
	go func() { _ = server.ServeTLS(l, "", "") }() // until Close
	return l.Addr().String()
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr) // of a listener: it has one
	return port
}
