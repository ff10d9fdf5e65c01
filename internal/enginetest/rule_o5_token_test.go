package enginetest_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// O5: an expired token ends new RPCs, not the session; the latest-sent fresh
// one counts, whichever link brings it.
func TestRule_refreshedToken(t *testing.T) {
	var asked []string
	auth := func(_ context.Context, _ transport.Hello, token string) (registry.Principal, error) {
		asked = append(asked, token)
		if token == "bad" {
			return registry.Principal{}, errors.New("nobody's token")
		}
		return registry.Principal{Name: "ann", Value: token, Expires: time.Now().Add(time.Minute)}, nil
	}
	bubble(t, registry.Config{Authenticate: auth}, func(t *testing.T, reg *registry.Registry) {
		asked = nil
		p := newPeer(t, reg)
		bearing := func(token string) func(*wire.Batch) {
			return func(b *wire.Batch) { b.Token = token }
		}
		with := func(b *wire.Batch) { withHello(b); bearing("first")(b) }
		p.incarnation = p.poll(p.batch(with)).Incarnation
		var so *socket
		stream := uint64(0)
		rpc := func() []wire.Frame {
			stream++
			return []wire.Frame{openFrame(stream), frameOf(stream, wire.TypeHalfClose)}
		}
		status := func(frames []wire.Frame) string {
			for _, f := range frames {
				if f.Type == wire.TypeEnd && f.Stream == stream {
					return f.End.Reason + f.End.Message
				}
			}
			return ""
		}
		poll := func(token string) string {
			frames := p.poll(p.batch(bearing(token), rpc()...)).Frames
			for status(frames) == "" {
				frames = p.poll(p.batch(holding(time.Second))).Frames
			}
			return status(frames)
		}
		onSocket := func(token string) string {
			b := p.batch(bearing(token), rpc()...)
			b.X, b.Prefer = so.x, so.x
			if err := so.link.Deliver(t.Context(), wire.AppendBatch(nil, b)); err != nil {
				t.Fatal(err)
			}
			frames := so.frames()
			p.take(&wire.Batch{Frames: frames})
			return status(frames)
		}

		var got []string
		say := func(s string) { got = append(got, s) }
		say(poll(""))
		time.Sleep(time.Minute)
		say(poll(""))
		say(poll("second"))
		late := p.batch(bearing("first"))
		late.NowMicros = 1
		p.poll(late)
		say(poll("second"))
		time.Sleep(time.Minute)
		so = p.socket(nil)
		say(onSocket(""))
		say(onSocket("third"))
		say(onSocket("bad"))
		say(onSocket(""))
		say(onSocket("third"))
		so.close()
		synctest.Wait()

		const expired, refused = "unauthenticatedthe token has expired", "unauthenticatednobody's token"
		want := []string{"0", expired, "0", "0", expired, "0", refused, refused, "0"}
		equal(t, "ends", got, want)
		equal(t, "asked", asked, []string{"first", "second", "third", "bad", "third"})
	})
}

// O5: a link that its transport gives up while Authenticate runs says nothing of
// the token, and its batch is not taken: the client sends both again.
func TestRule_linkGoneWhileAsked(t *testing.T) {
	auth := func(ctx context.Context, _ transport.Hello, token string) (registry.Principal, error) {
		if token == "slow" {
			<-ctx.Done()
			return registry.Principal{}, context.Cause(ctx)
		}
		return registry.Principal{Name: "ann"}, nil
	}
	bubble(t, registry.Config{Authenticate: auth}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.open()
		bearing := func(b *wire.Batch) { b.Token = "slow" }
		so := p.socket(nil)
		rpc := []wire.Frame{openFrame(1), frameOf(1, wire.TypeHalfClose)}
		b := p.batch(bearing, rpc...)
		b.X = so.x
		ctx, cancel := context.WithCancelCause(t.Context())
		errGone := errors.New("gone")
		time.AfterFunc(time.Second, func() { cancel(errGone) })
		if err := so.link.Deliver(ctx, wire.AppendBatch(nil, b)); !errors.Is(err, errGone) {
			t.Errorf("Deliver: %v", err)
		}
		so.close()

		again := p.batch(holding(time.Second))
		again.Frames = b.Frames
		frames := p.poll(again).Frames
		if n := len(frames); n == 0 || frames[n-1].End == nil || frames[n-1].End.Status != 0 {
			t.Errorf("frames %+v, want the RPC's end with status 0", frames)
		}
	})
}

// O5: the principal is bound to the session.
func TestRule_authenticate(t *testing.T) {
	auth := func(_ context.Context, _ transport.Hello, token string) (registry.Principal, error) {
		if token == "" {
			return registry.Principal{}, errors.New("no token")
		}
		return registry.Principal{Name: token}, nil
	}
	bubble(t, registry.Config{Authenticate: auth, MaxPerPrincipal: 2}, func(t *testing.T, reg *registry.Registry) {
		with := func(token string) func(*wire.Batch) {
			return func(b *wire.Batch) {
				withHello(b)
				b.Token = token
			}
		}
		var codes []wire.CloseCode
		p := newPeer(t, reg)
		ask := func(p *peer, change func(*wire.Batch)) {
			a := <-p.park(p.batch(change))
			code := wire.CodeUnspecified
			if a.Close != nil {
				code = a.Close.Code
			}
			p.incarnation = a.Incarnation
			codes = append(codes, code)
		}
		ask(newPeer(t, reg), with(""))
		ask(p, with("ann"))
		ask(p, nil)
		ask(p, func(b *wire.Batch) { b.Token = "ann" })
		ask(p, func(b *wire.Batch) { b.Token = "bob" })
		ask(newPeer(t, reg), with("ann"))
		ask(newPeer(t, reg), with("ann"))
		want := []wire.CloseCode{wire.CodeUnauthenticated, 0, 0, 0, wire.CodeUnknown, 0, wire.CodeBusy}
		if !reflect.DeepEqual(codes, want) {
			t.Errorf("codes %v, want %v", codes, want)
		}
	})
}

// O5: a bridge that authenticates nobody says so, whether or not it got a token,
// and its log has the clients that gave one.
func TestRule_ignoredToken(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	bubble(t, registry.Config{IgnoresTokens: true, Logger: logger}, func(t *testing.T, reg *registry.Registry) {
		log.Reset()
		for _, tt := range []struct {
			token string
			lines int
		}{{"", 0}, {"secret", 1}} {
			p := newPeer(t, reg)
			welcome := p.poll(p.batch(func(b *wire.Batch) { withHello(b); b.Token = tt.token })).Welcome
			if welcome == nil || !welcome.IgnoresTokens {
				t.Errorf("token %q: Welcome %+v, want one that says it ignores tokens", tt.token, welcome)
			}
			if n := strings.Count(log.String(), "token ignored"); n != tt.lines {
				t.Errorf("token %q: %d lines of the log, want %d: %s", tt.token, n, tt.lines, &log)
			}
		}
		if strings.Contains(log.String(), "secret") {
			t.Errorf("the log has the token: %s", &log)
		}
	})
}
