package registry

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// Accept implements transport.Acceptor: it decides the refusals of rule W6,
// finds or makes the session, and attaches the link to it.
func (r *Registry) Accept(ctx context.Context, hello transport.Hello) transport.Link {
	b := engine.NewBatch()
	defer engine.FreeBatch(b)
	if hello.TooLarge > 0 {
		return r.refuse(b, &wire.Close{
			Code: wire.CodeTooLarge, Limit: uint64(hello.TooLarge),
			Message: fmt.Sprintf("batch exceeds the limit of %d bytes", hello.TooLarge),
		})
	}
	if err := wire.ParseBatch(hello.Batch, b); err != nil {
		return r.refuse(b, refusalOf(err))
	}
	id, err := wire.ParseSession(hello.Session)
	if err != nil || string(b.Session) != string(id[:]) || b.X == 0 {
		return r.refuse(b, garbled("path and batch do not name one session and link"))
	}
	if v := b.Versions; b.Hello != nil && (v == nil || v.Lowest > wire.HighestVersion || v.Highest < wire.LowestVersion) {
		return r.refuse(b, &wire.Close{
			Code:    wire.CodeVersion,
			Message: fmt.Sprintf("this bridge speaks versions %d to %d", wire.LowestVersion, wire.HighestVersion),
		})
	}
	s, refusal := r.admit(ctx, &hello, id, b)
	if refusal != nil {
		return r.refuse(b, refusal)
	}
	return s.attach(&hello, b)
}

// refusalOf turns a codec's error into the refusal for it.
func refusalOf(err error) *wire.Close {
	code := wire.CodeGarbled
	if errors.Is(err, wire.ErrVersion) {
		code = wire.CodeVersion
	}
	return &wire.Close{Code: code, Message: err.Error()}
}

func garbled(format string, args ...any) *wire.Close {
	return &wire.Close{Code: wire.CodeGarbled, Message: fmt.Sprintf(format, args...)}
}

// unknown is the one answer to all that must not be told apart (W6).
func unknown() *wire.Close {
	return &wire.Close{Code: wire.CodeUnknown, Message: "no such session"}
}

// Unknown returns a link that refuses a batch whose session is nowhere (W6).
func (r *Registry) Unknown(head wire.Head) transport.Link {
	return r.refuse(&wire.Batch{Session: head.Session, X: head.X}, unknown())
}

// admit finds the session that the batch speaks for, or makes it (O1 to O5).
func (r *Registry) admit(ctx context.Context, hello *transport.Hello, id [wire.IDSize]byte, b *wire.Batch) (*Session, *wire.Close) {
	if len(b.Key) != wire.KeySize {
		return nil, unknown()
	}
	s := r.lookup(id)
	if s != nil && b.Incarnation != 0 && b.Incarnation != s.incarnation {
		return nil, unknown()
	}
	if s == nil && (b.Incarnation != 0 || b.Hello == nil) {
		return nil, unknown()
	}
	if s != nil && subtle.ConstantTimeCompare(s.key[:], b.Key) != 1 {
		r.wrongKey(hello)
		return nil, unknown()
	}
	if s != nil && b.Incarnation == 0 && b.Hello == nil {
		return nil, unknown()
	}
	who, refusal := r.authenticate(ctx, hello, b, s)
	if refusal != nil {
		return nil, refusal
	}
	if s != nil {
		return s, nil
	}
	s, refusal = r.create(id, b.Key, b.Hello, who, hello.RemoteAddr)
	if refusal != nil {
		r.refusedSession(hello, refusal)
		return nil, refusal
	}
	if r.cfg.IgnoresTokens && b.Token != "" {
		r.notices.ignored.Add("remote", hello.RemoteAddr, "session", hello.Session)
	}
	if subtle.ConstantTimeCompare(s.key[:], b.Key) != 1 {
		r.wrongKey(hello)
		return nil, unknown()
	}
	return s, nil
}

// refusalNames are the words for refusals in logs and metrics.
var refusalNames = map[wire.CloseCode]string{
	wire.CodeGarbled:         "garbled",
	wire.CodeVersion:         "version",
	wire.CodeBusy:            "busy",
	wire.CodeTooLarge:        "too_large",
	wire.CodeUnknown:         "unknown",
	wire.CodeUnauthenticated: "unauthenticated",
}

// refuse returns a link that says no and nothing else (W6).
func (r *Registry) refuse(b *wire.Batch, why *wire.Close) transport.Link {
	r.mu.Lock()
	r.refusals[refusalNames[why.Code]]++
	r.mu.Unlock()
	end := transport.ErrLinkDone
	if why.Code == wire.CodeBusy && r.isDraining() {
		end = transport.ErrDraining
	}
	return &refusedLink{end: end, answer: wire.Batch{
		Session:     append([]byte(nil), b.Session...),
		X:           b.X,
		Incarnation: r.instance,
		Close:       why,
		Versions:    &wire.Versions{Lowest: wire.LowestVersion, Highest: wire.HighestVersion},
	}}
}

// refusedLink yields one refusal.
type refusedLink struct {
	answer wire.Batch
	end    error // of Next, once that is given
	spent  bool
}

func (l *refusedLink) Deliver(context.Context, []byte) error { return transport.ErrLinkDone }

func (l *refusedLink) Next(context.Context, int) (transport.Batch, error) {
	if l.spent {
		return nil, l.end
	}
	l.spent = true
	return transport.Batch{wire.AppendBatch(nil, &l.answer)}, nil
}

func (l *refusedLink) Close() {}
