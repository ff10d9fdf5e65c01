package bridge_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/ratelog"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// stranger is a client that sends whatever batches it likes.
type stranger struct {
	t     *testing.T
	srv   http.Handler
	id    []byte
	key   []byte
	x     uint64
	token string
	life  uint64 // incarnation
	sent  uint64 // frames
}

func newStranger(t *testing.T, srv http.Handler, number byte) *stranger {
	return &stranger{t: t, srv: srv, id: bytes.Repeat([]byte{number}, wire.IDSize), key: bytes.Repeat([]byte{8}, wire.KeySize)}
}

// say sends a batch in a poll, and gives its answer.
func (s *stranger) say(change func(*wire.Batch)) *wire.Batch {
	s.t.Helper()
	s.x++
	b := &wire.Batch{Session: s.id, Key: s.key, X: s.x, NowMicros: s.x, Awaiting: s.x, Incarnation: s.life, Token: s.token}
	change(b)
	r := httptest.NewRequest("POST", "/bridge/v1/"+wire.EncodeSession(s.id)+"/poll", bytes.NewReader(wire.AppendBatch(nil, b)))
	r.Header.Set("Content-Type", "application/octet-stream")
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	w := httptest.NewRecorder()
	func() {
		defer func() { _ = recover() }() // the handler aborts where nobody waits
		s.srv.ServeHTTP(w, r.WithContext(ctx))
	}()
	answer := &wire.Batch{}
	if wire.ParseBatch(w.Body.Bytes(), answer) == nil && answer.Welcome != nil {
		s.life = answer.Incarnation
	}
	return answer
}

func (s *stranger) hello() {
	s.t.Helper()
	s.say(func(b *wire.Batch) {
		b.Hello, b.Versions = &wire.Hello{Release: "test/1"}, &wire.Versions{Lowest: 1, Highest: 1}
	})
}

// open opens an RPC with so many bytes of metadata.
func (s *stranger) open(metadata int) {
	s.t.Helper()
	s.say(func(b *wire.Batch) {
		s.sent++
		b.Frames = []wire.Frame{{Seq: s.sent, Stream: s.sent, Type: wire.TypeOpen, Open: &wire.Open{
			Method: echopb.Echo_Unary_FullMethodName, Metadata: []wire.Metadatum{{Key: "k", Value: strings.Repeat("v", metadata)}},
		}}}
	})
}

// TestNotices: what an operator must know is counted, and at info logged, with
// the address and the count, at most twice in 10 s however often it happens.
func TestNotices(t *testing.T) {
	const often = 200
	for name, tt := range map[string]struct {
		cfg     bridge.Config
		provoke func(t *testing.T, srv http.Handler)
		line    string // what its lines have
		metric  string
	}{
		"session table full": {
			bridge.Config{MaxSessions: 1},
			func(t *testing.T, srv http.Handler) {
				newStranger(t, srv, 1).hello()
				for range often {
					newStranger(t, srv, 2).hello()
				}
			},
			`msg="session refused" remote=192.0.2.1 reason="the bridge has 1 sessions, its limit"`, `pollbridge_refusals_total{reason="busy"} 200`,
		},
		"principal's share full": {
			bridge.Config{MaxSessionsPerPrincipal: 1},
			func(t *testing.T, srv http.Handler) {
				newStranger(t, srv, 1).hello()
				for range often {
					newStranger(t, srv, 2).hello()
				}
			},
			`msg="session refused" remote=192.0.2.1 reason="this principal has 1 sessions, its limit"`, `pollbridge_refusals_total{reason="busy"} 200`,
		},
		"wrong keys": {
			bridge.Config{},
			func(t *testing.T, srv http.Handler) {
				owner := newStranger(t, srv, 1)
				owner.hello()
				thief := newStranger(t, srv, 1)
				thief.life, thief.key = owner.life, bytes.Repeat([]byte{9}, wire.KeySize)
				for range often {
					thief.say(func(*wire.Batch) {})
				}
			},
			`msg="wrong session key" remote=192.0.2.1 session=`, `pollbridge_wrong_keys_total 200`,
		},
		"RPCs refused": {
			bridge.Config{MaxMetadataBytes: 1024},
			func(t *testing.T, srv http.Handler) {
				s := newStranger(t, srv, 1)
				s.hello()
				for range often {
					s.open(2000)
				}
			},
			`msg="RPC refused" remote=192.0.2.1 principal=192.0.2.1 session=`, `pollbridge_rpcs_refused_total{reason="limit"} 200`,
		},
		"protocol violations": {
			bridge.Config{},
			func(t *testing.T, srv http.Handler) {
				for range often {
					s := newStranger(t, srv, 1)
					s.hello()
					s.say(func(b *wire.Batch) { // one number for two RPCs
						open := &wire.Open{Method: echopb.Echo_Unary_FullMethodName}
						b.Frames = []wire.Frame{{Seq: 1, Stream: 1, Type: wire.TypeOpen, Open: open}, {Seq: 2, Stream: 1, Type: wire.TypeOpen, Open: open}}
					})
				}
			},
			`msg="protocol violation" remote=192.0.2.1 principal=192.0.2.1 session=`, `pollbridge_sessions_closed_total{reason="protocol_violation"} 200`,
		},
		"credentials": {
			bridge.Config{Authenticate: func(context.Context, bridge.AuthInfo) (bridge.Principal, error) {
				return bridge.Principal{}, errors.New("who is that")
			}},
			func(t *testing.T, srv http.Handler) {
				for range often {
					newStranger(t, srv, 1).hello()
				}
			},
			`msg="client not authenticated" remote=192.0.2.1 err="who is that"`, `pollbridge_authentications_total{result="refused"} 200`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				tt.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
				srv, _ := newServer(t, tt.cfg)
				tt.provoke(t, srv)
				time.Sleep(ratelog.Interval)
				synctest.Wait()
				count := 0
				for line := range strings.SplitSeq(log.String(), "\n") {
					if strings.Contains(line, tt.line) {
						count++
					}
				}
				if count < 1 || count > 2 {
					t.Errorf("%d lines, want 1 or 2:\n%s", count, &log)
				}
				if text := body(t, get(srv.AdminHandler(), "GET", "/metrics")); !strings.Contains(text, "\n"+tt.metric+"\n") {
					t.Errorf("metrics lack %s", tt.metric)
				}
			})
		})
	}
}
