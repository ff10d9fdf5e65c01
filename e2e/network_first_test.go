package e2e_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/middlebox"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
	"github.com/pollbridge/pollbridge/internal/transporttest"
)

const (
	firstBegin = "<!-- first results: make bench-networks -->\n"
	firstEnd   = "<!-- end of first results -->"
	oneWay     = 50 * time.Millisecond
	slack      = 50 * time.Millisecond
)

// firstResult is how long the first result takes on a network.
type firstResult struct {
	row
	rtt        time.Duration
	extra      int           // round trips of CONNECT and TLS
	idempotent time.Duration // of an RPC that is declared harmless to run twice
	any        time.Duration // of one that is not: it waits for the Welcome
	ahead      time.Duration // of such a one on a channel that was made a while before
}

// aWhile is enough, in round trips, for a session to open and a WebSocket to
// prove itself.
const aWhile = 5

// lies reports whether a network answers falsely, by the count: which request is
// struck is chance then.
func (r row) lies() bool {
	for _, word := range []string{"loseresp", "inject", "stale", "lateevery", "killevery", "reorder"} {
		if strings.Contains(r.profile, word) {
			return true
		}
	}
	return false
}

// forgets reports whether a network forgets connections that were quiet so long.
func (r row) forgets(quiet time.Duration) bool {
	f, err := middlebox.Parse(r.profile)
	return err == nil && f.IdleDrop > 0 && f.IdleDrop < quiet
}

// measure makes a channel and its first RPC, connection set-up included, in a
// bubble: the times are exact.
func (f *firstResult) measure(t *testing.T) {
	profile, err := middlebox.Parse(f.profile)
	if err != nil {
		t.Fatal(err)
	}
	if profile.Delay == 0 {
		profile.Delay = oneWay
	}
	f.rtt = 2 * (profile.Delay + profile.Jitter)
	f.extra = map[path]int{tunnelled: 2, inspected: 2}[f.way]
	for _, one := range []struct {
		took    *time.Duration
		options []grpc.CallOption
		before  time.Duration
	}{{&f.idempotent, []grpc.CallOption{client.Idempotent()}, 0}, {&f.any, nil, 0}, {&f.ahead, nil, aWhile * f.rtt}} {
		synctest.Test(t, func(t *testing.T) {
			s, err := newStreet(f.way, middlebox.Config{Profile: profile, Seed: 1}, client.Config{}, transporttest.Pipes(t), transporttest.Pipes(t))
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(one.before)
			start := time.Now()
			if _, err := echopb.NewEchoClient(s.user).Unary(t.Context(), testsvc.Request(1, 100), one.options...); err != nil {
				t.Errorf("%s: %v", f.name, err)
			}
			*one.took = time.Since(start)
			s.box.Set(middlebox.Profile{})
			if err := s.close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFirstResult holds how soon the first result comes, through the middlebox
// with 50 ms of delay each way, on each network that lets a POST through:
// within two round trips, connection set-up included, and 50 ms. What is not
// declared idempotent waits for one round trip more (rule O4) unless the channel
// was made a while before, and CONNECT and TLS take one each. With -update it writes the table into the docs.
func TestFirstResult(t *testing.T) {
	var table strings.Builder
	table.WriteString("| network | round trip | idempotent RPC | any RPC | any RPC, channel made before |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		if r.fails[longpoll] != "" {
			continue
		}
		f := firstResult{row: r}
		f.measure(t)
		note := ""
		limit := time.Duration(2+f.extra)*f.rtt + slack
		anyLimit := limit + f.rtt
		if strings.Contains(r.profile, "http10") {
			anyLimit += f.rtt // it closes the connection after each answer
		}
		switch {
		case r.lies():
			note = " (answers falsely)"
		case f.idempotent > limit:
			t.Errorf("%s: the first result came after %v, at most %v", r.name, f.idempotent, limit)
		case f.any > anyLimit:
			t.Errorf("%s: the first result came after %v, at most %v", r.name, f.any, anyLimit)
		case f.ahead > 2*f.rtt+slack && !r.forgets(aWhile*f.rtt):
			t.Errorf("%s: with a channel made before, the first result came after %v, at most %v", r.name, f.ahead, 2*f.rtt+slack)
		}
		if f.extra > 0 {
			note += " (CONNECT and TLS)"
		}
		fmt.Fprintf(&table, "| %s%s | %d ms | %d ms | %d ms | %d ms |\n", r.name, note,
			f.rtt.Milliseconds(), f.idempotent.Milliseconds(), f.any.Milliseconds(), f.ahead.Milliseconds())
	}
	t.Logf("time to the first result:\n%s", table.String())
	if *update {
		replaceIn(t, networks, firstBegin, firstEnd, table.String())
	}
}

// replaceIn replaces what a page has between two marks.
func replaceIn(t *testing.T, page, begin, end, with string) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s lacks %s", page, begin)
	}
	if err := os.WriteFile(page, []byte(before+begin+with+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
