package e2e_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/middlebox"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
	"github.com/pollbridge/pollbridge/internal/transporttest"
)

// longestAnswer is more than the bytes of any answer, and of the first ones on a
// WebSocket, in TestKillAfter: all bounds of frames in them are below it.
const longestAnswer = 150

// TestKillAfter resets connections after each number of bytes of an answer or a
// WebSocket: at every bound of a frame in what opens a session and in what
// carries an RPC, one byte before and one after it, and everywhere else.
func TestKillAfter(t *testing.T) {
	long(t)
	sc := scenario{size: 10, requests: 4, pause: time.Second, script: &echopb.Script{Headers: pairs[:1], Trailers: pairs[:1]}}
	var want string
	synctest.Test(t, func(t *testing.T) {
		want = kinds["bidi"](t.Context(), newWorld(t, nil, bridge.Config{}).Direct, sc).String()
	})
	for _, choice := range []string{longpoll, ws} {
		struck, tried := 0, 0
		for after := 1; after <= longestAnswer; after++ {
			tried++
			synctest.Test(t, func(t *testing.T) {
				got, n := killed(t, choice, after, sc)
				if got != want {
					t.Errorf("%s, killed after %d bytes:\n%.900s\ndirectly:\n%.300s", choice, after, got, want)
				}
				if n > 0 {
					struck++
				}
			})
		}
		t.Logf("%s: %d of %d lengths struck", choice, struck, tried)
		if struck < tried/2 || choice == longpoll && struck == tried {
			t.Errorf("%s: %d of %d lengths struck: the answers are not what was expected", choice, struck, tried)
		}
	}
}

// killed plays an RPC while connections die in its first second, and in its
// third. It returns what its caller saw and how many connections died.
func killed(t *testing.T, choice string, after int, sc scenario) (string, int64) {
	profile, err := middlebox.Parse(fmt.Sprintf("killafter=%d", after))
	if err != nil {
		t.Fatal(err)
	}
	s, err := newStreet(reverse, middlebox.Config{Profile: profile, Seed: 1}, client.Config{Transports: choices[choice]}, transporttest.Pipes(t), transporttest.Pipes(t))
	if err != nil {
		t.Fatal(err)
	}
	played := make(chan string)
	go func() { played <- kinds["bidi"](context.Background(), s.user, sc).String() }()
	for _, next := range []middlebox.Profile{{}, profile, {}} {
		time.Sleep(sc.pause + time.Millisecond)
		s.box.Set(next)
	}
	got := <-played
	if err := s.close(); err != nil {
		t.Error(err)
	}
	return got, s.box.Counts().Struck["killafter"]
}
