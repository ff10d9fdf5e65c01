package middlebox_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/middlebox"
)

const pieces = "200 piece 0\npiece 1\npiece 2\npiece 3\npiece 4\n"

// TestRequests holds what each behaviour does to plain requests, one after the
// other on the same lab.
func TestRequests(t *testing.T) {
	type step struct {
		method, path, body string
		want               string
		after              time.Duration
		header             string
	}
	stream := step{path: "/stream", want: pieces, after: 800 * time.Millisecond}
	for _, tt := range []struct {
		profile string
		struck  string // the behaviour, and how often; "": none
		steps   []step
	}{
		{"", "", []step{{path: "/a", want: "200 GET /a "}, {method: "POST", path: "/a", body: "x", want: "200 POST /a x"}, {method: "PUT", path: "/a", body: "x", want: "200 PUT /a x"}, {method: "HEAD", path: "/a", want: "200 "}, stream, {path: "/missing", want: "404 "}}},
		{"buffer", "buffer 5", []step{stream}},
		{"bufbytes=9", "bufbytes 1", []step{stream}},
		{"onebehind", "onebehind 5", []step{stream}},
		{"http10", "http10 2", []step{stream, {path: "/a", want: "200 GET /a "}}},
		{"cache", "cache 1", []step{{path: "/a", want: "200 GET /a "}, {path: "/a", want: "200 GET /a "}, {path: "/b", want: "200 GET /b "}, {method: "POST", path: "/a", want: "200 POST /a "}}},
		{"cut=4s", "cut 1", []step{{path: "/hold", want: "504 page", after: 4 * time.Second}, {path: "/a", want: "200 GET /a "}}},
		{"cut=4s cutwith=eof", "cut 1", []step{{path: "/hold", want: "error", after: 4 * time.Second}}},
		{"cut=4s cutwith=short", "cut 1", []step{{path: "/hold", want: "200 ", after: 4 * time.Second}}},
		{"cut=300ms", "cut 1", []step{{path: "/stream", want: "200 piece 0\npiece 1\n!", after: 300 * time.Millisecond}}},
		{"cut=300ms cutwith=short", "cut 1", []step{{path: "/stream", want: "200 piece 0\npiece 1\n", after: 300 * time.Millisecond}}},
		{"cut=300ms cutwith=short buffer", "cut 1", []step{{path: "/stream", want: "200 piece 0\npiece 1\n", after: 300 * time.Millisecond}}},
		{"idledrop=4s", "idledrop 1", []step{{path: "/hold", want: "silence", after: time.Minute}, {path: "/a", want: "200 GET /a "}}},
		{"blackhole=1ns", "blackhole 1", []step{{path: "/a", want: "silence", after: time.Minute}}},
		{"killafter=9", "killafter 1", []step{{path: "/stream", want: "200 piece 0\np!", after: 200 * time.Millisecond}}},
		{"killafter=9 killevery=2", "killafter 1", []step{stream, {path: "/stream", want: "200 piece 0\np!", after: 200 * time.Millisecond}, stream}},
		{"getpost", "getpost 1", []step{{path: "/a", want: "200 GET /a "}, {method: "POST", path: "/a", want: "200 POST /a "}, {method: "OPTIONS", path: "/a", want: "405 page"}}},
		{"maxbody=3", "maxbody 1", []step{{method: "POST", path: "/a", body: "abc", want: "200 POST /a abc"}, {method: "POST", path: "/a", body: "abcd", want: "413 page"}}},
		{"maxbody=3 maxbodymute", "maxbody 1", []step{{method: "POST", path: "/a", body: "abcd", want: "error"}}},
		{"auth=ann:secret", "auth 1", []step{{path: "/a", want: "407 page"}, {path: "/a", header: "Proxy-Authorization: Basic YW5uOnNlY3JldA==", want: "200 GET /a "}}},
		{"dup", "dup 1", []step{{method: "POST", path: "/a", body: "x", want: "200 POST /a x"}}},
		{"loseresp=2", "loseresp 1", []step{{path: "/a", want: "200 GET /a "}, {path: "/a", want: "502 page"}, {path: "/a", want: "200 GET /a "}}},
		{"inject=3", "inject 1", []step{{path: "/a", want: "200 GET /a "}, {path: "/a", want: "200 GET /a "}, {path: "/a", want: "200 page"}}},
		{"stale=2", "stale 1", []step{{method: "POST", path: "/a", body: "x", want: "200 POST /a x"}, {method: "POST", path: "/a", body: "y", want: "200 POST /a x"}, {method: "POST", path: "/a", body: "z", want: "200 POST /a z"}}},
		{"lateevery=2 late=5s", "lateevery 1", []step{{path: "/a", want: "200 GET /a "}, {path: "/a", want: "200 GET /a ", after: 5 * time.Second}}},
		{"rewrite=503", "rewrite 1", []step{{path: "/a", want: "200 GET /a "}, {path: "/missing", want: "503 page"}}},
		{"reorder=2s", "reorder 1", []step{{path: "/a", want: "200 GET /a "}, {path: "/a", want: "200 GET /a ", after: 2 * time.Second}}},
		{"rechunk=3", "rechunk", []step{{method: "POST", path: "/a", body: "Zürich", want: "200 POST /a Zürich", after: time.Millisecond}}},
		// A round trip to connect, one for the request.
		{"delay=50ms", "delay", []step{{path: "/a", want: "200 GET /a ", after: 200 * time.Millisecond}, {path: "/a", want: "200 GET /a ", after: 100 * time.Millisecond}}},
	} {
		t.Run(tt.profile, func(t *testing.T) {
			inLab(t, reverse, tt.profile, func(t *testing.T, l *lab) {
				for i, s := range tt.steps {
					if s.method == "" {
						s.method = "GET"
					}
					got, after := l.reply(s.method, s.path, s.body, s.header)
					if got != s.want || after != s.after {
						t.Errorf("step %d: %q after %v, want %q after %v", i, got, after, s.want, s.after)
					}
				}
				for name, n := range l.Counts().Struck {
					got := fmt.Sprint(name, " ", n)
					if got != tt.struck && name != tt.struck && name != "buffer" {
						t.Errorf("struck: %s, want %q", got, tt.struck)
					}
				}
				name, _, _ := strings.Cut(tt.struck, " ")
				if name != "" && l.Counts().Struck[name] == 0 {
					t.Errorf("%s never struck", name)
				}
			})
		})
	}
}

// TestCutSpread: exchanges are cut at ages of their own, or not if upgraded
// connections alone are.
func TestCutSpread(t *testing.T) {
	inLab(t, reverse, "cut=1s cutspread=1s", func(t *testing.T, l *lab) {
		ages := make(map[time.Duration]bool)
		for range 20 {
			got, age := l.reply("GET", "/hold", "")
			if got != "504 page" || age < time.Second || age > 2*time.Second {
				t.Errorf("%q after %v", got, age)
			}
			ages[age] = true
		}
		if len(ages) < 10 {
			t.Errorf("20 exchanges were cut at %d ages", len(ages))
		}
	})
	inLab(t, reverse, "cut=1s cutupgrades", func(t *testing.T, l *lab) {
		if got, age := l.reply("GET", "/hold", ""); got == "504 page" {
			t.Errorf("cut after %v", age)
		}
	})
}

// TestModes sends a request each way through the middlebox.
func TestModes(t *testing.T) {
	for how, name := range map[mode]string{reverse: "reverse", forward: "forward", inspected: "inspected", secure: "secure"} {
		t.Run(name, func(t *testing.T) {
			inLab(t, how, "dup", func(t *testing.T, l *lab) {
				if got, _ := l.reply("POST", "/a", "x"); got != "200 POST /a x" {
					t.Error(got)
				}
				synctest.Wait()
				if n := l.saw("POST /a"); n != 2 {
					t.Errorf("the origin got %d requests, want 2", n)
				}
			})
		})
	}
}

// arrivals is when each piece of a stream came.
func arrivals(t *testing.T, l *lab) []time.Duration {
	t.Helper()
	start := time.Now()
	resp, err := l.client.Get("/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var at []time.Duration
	for r := bufio.NewScanner(resp.Body); r.Scan(); {
		at = append(at, time.Since(start))
	}
	return at
}

func TestHeldBack(t *testing.T) {
	const ms = time.Millisecond
	for profile, want := range map[string][]time.Duration{
		"":            {0, 200 * ms, 400 * ms, 600 * ms, 800 * ms},
		"buffer":      {800 * ms, 800 * ms, 800 * ms, 800 * ms, 800 * ms},
		"bufbytes=20": {400 * ms, 400 * ms, 400 * ms, 600 * ms, 800 * ms},
		"onebehind":   {200 * ms, 400 * ms, 600 * ms, 800 * ms, 800 * ms},
	} {
		inLab(t, reverse, profile, func(t *testing.T, l *lab) {
			if got := arrivals(t, l); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%q: %v, want %v", profile, got, want)
			}
		})
	}
}

func TestGzip(t *testing.T) {
	inLab(t, reverse, "gzip", func(t *testing.T, l *lab) {
		start := time.Now()
		req, _ := http.NewRequest("GET", "/stream", nil)
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := l.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		z, err := gzip.NewReader(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(z)
		if err != nil || "200 "+string(got) != pieces {
			t.Errorf("%q %v", got, err)
		}
		if took := time.Since(start); took != 800*time.Millisecond {
			t.Errorf("came after %v", took)
		}
	})
}

func TestUpgrades(t *testing.T) {
	for _, tt := range []struct {
		profile string
		status  int
		echo    string // of "hello"
	}{
		{"", 101, "hello"},
		{"rechunk=1", 101, "hello"},
		{"buffer", 101, "hello"},
		{"dup", 101, "hello"},
		{"noupgrade", 426, ""},
		{"fakeupgrade", 101, "…"},
		{"muteupgrade", 0, ""},
		{"killafter=2", 101, "he"},
		{"blackhole=1s", 101, "…"},
		{"idledrop=1s", 101, "…"},
		{"cut=500ms", 101, ""},
		{"cut=250ms cutspread=250ms cutupgrades", 101, ""},
	} {
		t.Run(tt.profile, func(t *testing.T) {
			inLab(t, reverse, tt.profile, func(t *testing.T, l *lab) {
				conn, br, status := l.upgraded(t)
				if status != tt.status {
					t.Fatalf("status %d, want %d", status, tt.status)
				}
				if status != 101 {
					return
				}
				time.Sleep(time.Second)
				if got := echoed(conn, br, "hello"); got != tt.echo {
					t.Errorf("%q came back, want %q", got, tt.echo)
				}
			})
		})
	}
}

// TestCopies tells late copies, lost clients and later requests apart by what
// the origin gets, and when.
func TestCopies(t *testing.T) {
	giveUp := func(t *testing.T, l *lab) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", "/hold", nil)
		if _, err := l.client.Do(req); err == nil {
			t.Error("an answer after a second")
		}
		synctest.Wait()
	}
	inLab(t, reverse, "dup dupdelay=5s", func(t *testing.T, l *lab) {
		l.reply("POST", "/a", "x")
		time.Sleep(4 * time.Second)
		before := l.saw("POST /a")
		time.Sleep(2 * time.Second)
		if after := l.saw("POST /a"); before != 1 || after != 2 {
			t.Errorf("the origin got %d, then %d", before, after)
		}
	})
	inLab(t, reverse, "lateevery=1 late=5s", func(t *testing.T, l *lab) {
		giveUp(t, l)
		before := l.saw("GET /hold")
		time.Sleep(5 * time.Second)
		if after := l.saw("GET /hold"); before != 0 || after != 1 {
			t.Errorf("the origin got %d, then %d", before, after)
		}
	})
	for profile, want := range map[string]int{"": 1, "linger": 0} {
		inLab(t, reverse, profile, func(t *testing.T, l *lab) {
			giveUp(t, l)
			if got := l.saw("gone"); got != want {
				t.Errorf("%q: the origin saw %d clients go, want %d", profile, got, want)
			}
		})
	}
	inLab(t, reverse, "reorder=5s", func(t *testing.T, l *lab) {
		l.reply("GET", "/1", "")
		done := make(chan struct{})
		go func() { defer close(done); l.reply("GET", "/2", "") }()
		time.Sleep(time.Second)
		l.reply("GET", "/3", "")
		<-done
		if got := strings.Join(l.seen, ", "); got != "GET /1, GET /3, GET /2" {
			t.Error(got)
		}
	})
	inLab(t, reverse, "inflight=1", func(t *testing.T, l *lab) {
		done := make(chan struct{})
		go func() { defer close(done); l.reply("GET", "/hold", "") }()
		time.Sleep(time.Second)
		if got, after := l.reply("GET", "/a", ""); got != "200 GET /a " || after != 9*time.Second {
			t.Errorf("%s after %v", got, after)
		}
		<-done
	})
}

func TestHeaders(t *testing.T) {
	inLab(t, reverse, "strip=Marker replace=Content-Type:text/html", func(t *testing.T, l *lab) {
		resp, err := l.client.Get("/a")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if h := resp.Header; h.Get("Marker") != "" || h.Get("Content-Type") != "text/html" {
			t.Error(h)
		}
	})
}

func TestConnect(t *testing.T) {
	for profile, want := range map[string]string{"": "200 POST /a x", "noconnect": "error", "killafter=400": "error"} {
		inLab(t, inspected, profile, func(t *testing.T, l *lab) {
			if profile == "killafter=400" { // counts the body of an answer, where the tunnel is looked into
				want = "200 POST /a x"
			}
			if got, _ := l.reply("POST", "/a", "x"); got != want {
				t.Errorf("%q: %s, want %s", profile, got, want)
			}
		})
	}
}

// TestContinue: a client that asks whether to send its body is told so, or
// not.
func TestContinue(t *testing.T) {
	for profile, want := range map[string]string{"": "HTTP/1.1 100 Continue\r\n", "nocontinue": "HTTP/1.1 200 OK\r\n"} {
		inLab(t, reverse, profile, func(t *testing.T, l *lab) {
			conn, err := l.dial()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "POST /a HTTP/1.1\r\nHost: origin.test\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
			time.Sleep(time.Second)
			fmt.Fprint(conn, "x")
			if got, err := bufio.NewReader(conn).ReadString('\n'); got != want {
				t.Errorf("%q: %q %v", profile, got, err)
			}
		})
	}
}

func TestSwitched(t *testing.T) {
	inLab(t, reverse, "", func(t *testing.T, l *lab) {
		conn, br, _ := l.upgraded(t)
		if got := echoed(conn, br, "hello"); got != "hello" {
			t.Error(got)
		}
		l.Set(middlebox.Profile{BlackHole: time.Second})
		time.Sleep(time.Second)
		if got := echoed(conn, br, "hello"); got != "…" {
			t.Error(got)
		}
		l.Set(middlebox.Profile{NoUpgrade: true})
		if _, _, status := l.upgraded(t); status != http.StatusUpgradeRequired {
			t.Error(status)
		}
	})
}

// TestSeed: the same seed gives the same pieces.
func TestSeed(t *testing.T) {
	var runs [2]bytes.Buffer
	for i := range runs {
		inLab(t, reverse, "rechunk=40 delay=1ms", func(t *testing.T, l *lab) {
			conn, err := l.dial()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "GET /stream HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n")
			buf := make([]byte, 4096)
			for {
				n, err := conn.Read(buf)
				fmt.Fprintf(&runs[i], "%d ", n)
				if err != nil {
					return
				}
			}
		})
	}
	if runs[0].String() != runs[1].String() {
		t.Errorf("%s and %s", &runs[0], &runs[1])
	}
}

func TestParse(t *testing.T) {
	const text = "buffer cut=4s cutwith=eof maxbody=10 auth=a:b strip=A,B replace=C:d rechunk=3"
	f, err := middlebox.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.String(); len(got) != len(text) {
		t.Error(got)
	}
	if again, err := middlebox.Parse(f.String()); err != nil || again.String() != f.String() {
		t.Errorf("%v %v", again, err)
	}
	for _, bad := range []string{"nonsense", "cut=fast", "cutwith=502", "buffer extra=", "strip="} {
		if _, err := middlebox.Parse(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestConfig(t *testing.T) {
	for _, upstream := range []string{"host:80", "ftp://host", "http://", "://"} {
		if _, err := middlebox.New(middlebox.Config{Upstream: upstream}); err == nil {
			t.Errorf("%q: no error", upstream)
		}
	}
	p, err := middlebox.New(middlebox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.ServeTLS(nil, ""); err == nil {
		t.Error("TLS without a CA")
	}
}

// TestReadme: the README names every behaviour.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	new(middlebox.Profile).Flags(fs)
	fs.VisitAll(func(f *flag.Flag) {
		if !regexp.MustCompile("[`\\s]" + f.Name + "[`= ]").Match(text) {
			t.Errorf("README.md does not name %s", f.Name)
		}
	})
}
