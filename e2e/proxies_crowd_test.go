package e2e_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/demo/demopb"
)

// playCrowd has a page and Go clients poll side by side through an nginx that
// waits 20 s for an upstream, and leaves each of two alone for 10 s that needed
// longer. Polls held as long as the bridge does by default never bring it to
// that, which would be 502 for everybody. quiet is called when the page has
// nothing left to do.
func playCrowd(t *testing.T, browser *chromium, quiet func()) {
	const clients = 6
	o := newOrigin(t, "127.0.0.1:0", false)
	s := settings{Dir: ownDir(t), Port: freePort(t, "127.0.0.1"), Upstream: o.addr, Seconds: 20}
	startProxy(t, nginx(t, "nginx-gzip", s), s)
	home := "http://127.0.0.1:" + strconv.Itoa(s.Port)
	defer func() {
		log, err := os.ReadFile(filepath.Join(s.Dir, "log"))
		check(t, err)
		if n := strings.Count(string(log), "no live upstreams"); n > 0 {
			t.Errorf("nginx had no live upstreams for %d requests", n)
		}
	}()
	defer watchBystander(t, home)()
	var crowd sync.WaitGroup
	defer crowd.Wait()
	crowd.Go(func() {
		var got demoVisit
		check(t, browser.visit(visit{What: "demo", URL: home + "/", Carried: longpoll, Stays: longPoll.Milliseconds(), quiet: quiet}, &got))
		if slices.Contains(got.statuses(), http.StatusBadGateway) {
			t.Errorf("in Chromium: status 502: %v", got.Polls)
		}
	})
	for range clients {
		crowd.Go(func() { stayQuiet(t, home) })
	}
}

// stayQuiet has a Go client open an RPC that says nothing until a second poll
// was held as long as can be, and sees that it still works.
func stayQuiet(t *testing.T, home string) {
	polls := &pollTimer{long: make(chan struct{}, 10)}
	ch, err := client.New(home, client.Config{Transports: choices[longpoll], HTTPClient: &http.Client{Transport: polls}})
	if err != nil {
		t.Error(err)
		return
	}
	defer ch.Close()
	ctx, cancel := context.WithTimeout(context.Background(), visitLimit)
	defer cancel()
	stream, err := demopb.NewDemoClient(ch).Echo(ctx)
	if err != nil {
		t.Error(err)
		return
	}
	for number := uint64(1); number <= 2; number++ {
		check(t, stream.Send(&demopb.EchoRequest{Text: "here"}))
		if got, err := stream.Recv(); err != nil || got.GetNumber() != number {
			t.Errorf("echo %d: %v, %v", number, got, err)
			return
		}
		if number == 1 {
			polls.wait(ctx, t)
			polls.wait(ctx, t)
		}
	}
	if n := polls.poisoned.Load(); n > 0 {
		t.Errorf("Go client: status 502 to %d polls", n)
	}
}

// pollTimer makes a client's requests and reports those that took long.
type pollTimer struct {
	long     chan struct{}
	poisoned atomic.Int64 // answered with 502
}

// longPoll is longer than all holds before the longest.
const longPoll = 13 * time.Second

// RoundTrip implements http.RoundTripper.
func (p *pollTimer) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && time.Since(began) > longPoll {
		p.long <- struct{}{}
	}
	if err == nil && resp.StatusCode == http.StatusBadGateway {
		p.poisoned.Add(1)
	}
	return resp, err
}

// wait waits for a poll that took long.
func (p *pollTimer) wait(ctx context.Context, t *testing.T) {
	select {
	case <-p.long:
	case <-ctx.Done():
		t.Error("no poll was held to its end")
	}
}
