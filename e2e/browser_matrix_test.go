package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pollbridge/pollbridge/internal/middlebox"
	"github.com/pollbridge/pollbridge/internal/transporttest"
)

// browserRow is a row that a browser decides, played by the JavaScript client
// with the transport left to it.
type browserRow struct {
	row
	// cross says that the page is of another origin than the bridge: there a
	// proxy's page is only a TypeError, and binary bodies have a preflight.
	cross bool
	// idle names behaviours that find no occasion here.
	idle []string
}

// quick is the pace of rows in which nothing depends on how long things take.
const quick = onSockets

// browserRows are in the order in which they begin: what takes longest first.
var browserRows = []browserRow{
	{row: row{name: "blackhole", profile: "blackhole=1ns", does: "accepts connections and says nothing", fails: all("no answer")}},
	{row: row{name: "inject always", profile: "inject=1", does: "answers every request with a login page", fails: all("Log in to the network")}},
	{row: row{name: "noconnect, https", profile: "noconnect", way: tunnelled, does: "a forward proxy that allows no CONNECT, and the bridge has https only", fails: all("Failed to fetch")}},
	{row: row{name: "auth", profile: "auth=ann:secret", way: forward, does: "407 until somebody logs in", fails: all("last seen: no answer")}},

	{row: row{name: "blackhole late", profile: "blackhole=3s", does: "forgets connections after 3 s, busy or not"}},
	{row: row{name: "idledrop", profile: "idledrop=3s", does: "forgets connections that were idle for 3 s and tells nobody", carried: ws}, idle: []string{"idledrop"}}, // pings see to that
	{row: row{name: "idledrop, no upgrade", profile: "idledrop=3s noupgrade", does: "the same, and no WebSocket", carried: longpoll}},
	{row: row{name: "cut 504", profile: "cut=4s", does: "ends exchanges after 4 s with a page and status 504, and WebSockets too"}},
	{row: row{name: "cut 504, no upgrade", profile: "cut=4s noupgrade", does: "the same, and no WebSocket", carried: longpoll}},
	{row: row{name: "cut eof", profile: "cut=4s cutwith=eof noupgrade", does: "closes connections after 4 s", carried: longpoll}},
	{row: row{name: "cut short", profile: "cut=4s cutwith=short noupgrade", does: "ends exchanges after 4 s as an empty answer 200", carried: longpoll}},
	{row: row{name: "cut 504", profile: "cut=4s noupgrade", does: "504 after 4 s", carried: longpoll}, cross: true},

	{row: row{name: "clean", does: "nothing wrong", carried: ws}},
	{row: row{name: "dup, late", profile: "dup dupdelay=2s noupgrade", does: "sends a copy of every request 2 s later", carried: longpoll}},
	{row: row{name: "reorder", profile: "reorder=2s noupgrade", does: "holds every 2nd request until a later one has gone", carried: longpoll}},
	{row: row{name: "buffer", profile: "buffer", does: "hands an answer on when it is complete", carried: ws}},
	{row: row{name: "buffer, no upgrade", profile: "buffer noupgrade", way: inspected, does: "scans all bodies, inside TLS too, and strips Upgrade", carried: longpoll}},
	{row: row{name: "noupgrade", profile: "noupgrade", does: "strips Upgrade", carried: longpoll}},
	{row: row{name: "fakeupgrade", profile: "fakeupgrade", does: "passes the 101 on, then nothing", carried: longpoll}},
	{row: row{name: "dup", profile: "dup noupgrade", does: "sends every request twice, the second answer wins", carried: longpoll}},
	{row: row{name: "loseresp", profile: "loseresp=3 noupgrade", does: "delivers every 3rd request and answers it with 502", carried: longpoll}, idle: []string{"noupgrade"}},
	{row: row{name: "loseresp", profile: "loseresp=3 noupgrade", does: "the same", carried: longpoll}, cross: true, idle: []string{"noupgrade"}},
	{row: row{name: "inject", profile: "inject=3 noupgrade", does: "answers every 3rd request with a login page, status 200", carried: longpoll}, idle: []string{"noupgrade"}},
	{row: row{name: "inject", profile: "inject=3 noupgrade", does: "the same", carried: longpoll}, cross: true, idle: []string{"noupgrade"}},
	{row: row{name: "maxbody without a status", profile: "maxbody=20000 maxbodymute noupgrade", does: "resets on bodies over 20,000 bytes", carried: longpoll}},
	{row: row{name: "maxbody", profile: "maxbody=20000 noupgrade", does: "413 to bodies over 20,000 bytes", carried: longpoll}, cross: true},
	{row: row{name: "getpost", profile: "getpost", does: "lets GET and POST through only", carried: ws}, idle: []string{"getpost"}},
	{row: row{name: "getpost", profile: "getpost", does: "the same: no preflight gets through", carried: ws}, cross: true},
	{row: row{name: "noconnect", profile: "noconnect", way: forward, does: "a forward proxy that allows no CONNECT", carried: longpoll}},
	{row: row{name: "killafter", profile: "killafter=300 killevery=2 noupgrade", does: "resets every second answer after 300 bytes", carried: longpoll}},
	{row: row{name: "killafter, in the head", profile: "killafter=7 killevery=2 noupgrade", does: "the same one byte before the end of an envelope's head", carried: longpoll}},
	{row: row{name: "killafter, at the body", profile: "killafter=8 killevery=2 noupgrade", does: "the same right after it", carried: longpoll}},
	{row: row{name: "killafter, in the body", profile: "killafter=9 killevery=2 noupgrade", does: "the same one byte later", carried: longpoll}},
	{row: row{name: "strip", profile: "strip=Pollbridge,Cache-Control,X-Content-Type-Options", does: "removes headers, our marker among them", carried: ws}},
}

// timed reports whether times are part of a row.
func (r browserRow) timed() bool {
	for _, word := range []string{"cut=", "drop=", "hole="} {
		if strings.Contains(r.profile, word) {
			return true
		}
	}
	return false
}

func (r browserRow) title() string {
	if r.cross {
		return r.name + ", from elsewhere"
	}
	return r.name
}

// played is what a visit of a page to the matrix brings back.
type played struct {
	Carried     string
	Transcripts []seenRPC
}

// seenRPC is what the page saw of one RPC.
type seenRPC struct {
	Kind    string
	Code    int
	Message string
	Seen    []string
}

// TestMatrix_browser plays every kind of RPC at once in a page of Chromium
// behind each network, many pages side by side. Each RPC's transcript is that of
// the page with nothing between, or where nothing can get through it ends with
// one UNAVAILABLE that names what was seen.
func TestMatrix_browser(t *testing.T) {
	browser := startChromium(t)
	directly := sync.OnceValues(func() (played, error) { return playDirectly(t, browser) })
	var all sync.WaitGroup
	all.Go(func() { _, _ = directly() }) // the rows look at what it says
	places := make(chan struct{}, pages)
	for i, r := range browserRows {
		if !sampled(i) {
			continue
		}
		busy := r.fails == nil && !r.timed() // the others wait most of the time
		if busy {
			places <- struct{}{}
		}
		all.Go(func() {
			t.Run(r.title(), func(t *testing.T) {
				got, err := r.visit(t, browser)
				check(t, err)
				want, err := directly()
				check(t, err)
				r.judge(t, want, got)
			})
			if busy {
				<-places
			}
		})
	}
	all.Wait()
}

// pages are how many do something at once.
const pages = 6

// playDirectly plays the RPCs with nothing between.
func playDirectly(t *testing.T, browser *chromium) (played, error) {
	got, err := browserRow{}.visit(t, browser)
	counts := map[string]int{}
	for _, rpc := range got.Transcripts {
		counts[rpc.Kind] += len(rpc.Seen)
	}
	// Besides the messages, each has four headers and three trailers.
	if err == nil && (counts["Unary"] != 2*8 || counts["ServerStream"] != 17 || counts["ClientStream"] != 8 || counts["Bidi"] != 17+9) {
		err = fmt.Errorf("with nothing between: %+v", got)
	}
	return got, err
}

// visit plays the row in a page.
func (r browserRow) visit(t *testing.T, browser *chromium) (got played, err error) {
	f, err := middlebox.Parse(r.profile)
	if err != nil {
		return got, err
	}
	s, err := emptyStreet(r.way, middlebox.Config{Profile: f, Seed: 1}, transporttest.TCP(t), transporttest.TCP(t))
	if err != nil {
		return got, err
	}
	v := visit{What: "matrix", URL: s.url, Page: s.url + "/", Proxy: s.proxy, Step: quick.millis(), Waves: 2, Carried: r.carried}
	if r.timed() {
		v.Step = inBubble.millis()
	}
	if r.cross {
		v.Page = elsewhere + "/"
	}
	if r.fails[automatic] != "" {
		v.Waves = 1
	}
	err = browser.visit(v, &got)
	if n := s.box.Counts(); err == nil {
		r.struck(t, n)
		t.Logf("%d requests over %d connections, %d upgrades; %v", n.Requests, n.Connections, n.Upgrades, n.Struck)
	}
	s.box.Set(middlebox.Profile{})
	check(t, s.close())
	return got, err
}

// struck holds that the network was as bad as the row says.
func (r browserRow) struck(t *testing.T, n middlebox.Counts) {
	for word := range strings.FieldsSeq(r.profile) {
		name, _, _ := strings.Cut(word, "=")
		if _, counts := needs[name]; counts && n.Struck[name] == 0 && !slices.Contains(r.idle, name) {
			t.Errorf("%s never struck: %+v", name, n)
		}
	}
}

// judge holds each RPC to the only two outcomes there are.
func (r browserRow) judge(t *testing.T, want, got played) {
	names, fails := r.fails[automatic]
	for i, rpc := range got.Transcripts {
		switch {
		case fails && (rpc.Code != 14 || !strings.Contains(rpc.Message, names)):
			t.Errorf("%s ended with code %d, %q; want UNAVAILABLE that names %q", rpc.Kind, rpc.Code, rpc.Message, names)
		case !fails && (rpc.Code != 0 || !slices.Equal(rpc.Seen, want.Transcripts[i].Seen)):
			t.Errorf("%s ended with code %d, %q:\n%.200q\nwith nothing between:\n%.200q", rpc.Kind, rpc.Code, rpc.Message, rpc.Seen, want.Transcripts[i].Seen)
		}
	}
	if !fails && len(got.Transcripts) != len(want.Transcripts) {
		t.Errorf("%d RPCs, want %d", len(got.Transcripts), len(want.Transcripts))
	}
	if r.carried != "" && got.Carried != r.carried {
		t.Errorf("carried by %q at the end, want %q", got.Carried, r.carried)
	}
}
