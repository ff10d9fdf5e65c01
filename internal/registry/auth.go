package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// refreshLimit bounds how long a lasting link waits for Authenticate.
const refreshLimit = 10 * time.Second

// ErrTryLater is what Authenticate wraps where it could not find out who a client
// is: that refuses nobody for good.
var ErrTryLater = errors.New("try later")

// credential is what Authenticate returned last for a session's client.
type credential struct {
	principal Principal
	refused   string            // why the latest token was not good; empty: it was
	stated    uint64            // now_us of the batch that brought the token
	token     [sha256.Size]byte // so that one that comes again is not asked for again
	header    [sha256.Size]byte // the Authorization that was last asked for
}

// expired reports whether no RPC may start on the credential (O5).
func (c *credential) expired() bool {
	if c == nil {
		return false
	}
	expires := c.principal.Expires
	return c.refused != "" || !expires.IsZero() && !time.Now().Before(expires)
}

func (c *credential) why() string {
	if c.refused != "" {
		return c.refused
	}
	return "the token has expired"
}

// Principal returns what Authenticate bound the session to; its Value is that of
// the latest token.
func (s *Session) Principal() Principal {
	s.ep.Lock()
	defer s.unlock()
	return s.bound()
}

// bound is Principal with the lock held.
func (s *Session) bound() Principal {
	if s.credential == nil {
		return Principal{Name: s.principal.name}
	}
	return s.credential.principal
}

// authenticate applies rule O5: at Hello, and for each new token.
func (r *Registry) authenticate(ctx context.Context, hello *transport.Hello, b *wire.Batch, s *Session) (Principal, *wire.Close) {
	if r.cfg.Authenticate == nil {
		return Principal{Name: r.Client(hello.RemoteAddr)}, nil
	}
	if s != nil && b.Hello == nil {
		return Principal{}, s.refresh(ctx, hello, b)
	}
	who, err := r.cfg.Authenticate(ctx, *hello, b.Token)
	if errors.Is(err, ErrTryLater) {
		return who, busy("%v", err)
	}
	if err != nil {
		return who, &wire.Close{Code: wire.CodeUnauthenticated, Message: err.Error()}
	}
	if s != nil && who.Name != s.principal.name {
		return who, unknown()
	}
	return who, nil
}

// refresh takes a token that came after the Welcome. One that is not good ends
// new RPCs, not the session. The latest-sent one counts, as links overtake
// each other.
func (s *Session) refresh(ctx context.Context, hello *transport.Hello, b *wire.Batch) *wire.Close {
	if b.Token == "" {
		s.renewByHeader(ctx, hello)
		return nil
	}
	sum := sha256.Sum256([]byte(b.Token))
	if !s.isFresh(b.NowMicros, sum) {
		return nil
	}
	who, err := s.reg.cfg.Authenticate(ctx, *hello, b.Token)
	if errors.Is(ctx.Err(), context.Canceled) { // by a link that is gone: its token comes again
		return nil
	}
	if errors.Is(err, ErrTryLater) { // what was known still counts, and the token comes again
		return nil
	}
	if err == nil && who.Name != s.principal.name {
		return unknown()
	}
	s.ep.Lock()
	defer s.unlock()
	c := s.credential
	switch {
	case b.NowMicros < c.stated:
	case err != nil:
		*c = credential{principal: c.principal, refused: err.Error(), stated: b.NowMicros}
		s.happened("token refused", c.refused)
	default:
		*c = credential{principal: who, stated: b.NowMicros, token: sum}
		s.happened("token renewed", "")
	}
	return nil
}

// renewByHeader asks once more for a credential that has expired where the request
// has another Authorization than before, which something in front may set. That it
// is not good, or another's, changes nothing.
func (s *Session) renewByHeader(ctx context.Context, hello *transport.Hello) {
	header := hello.Header.Get("Authorization")
	if header == "" {
		return
	}
	sum := sha256.Sum256([]byte(header))
	s.ep.Lock()
	asks := s.credential.expired() && s.credential.header != sum
	if asks {
		s.credential.header = sum
	}
	s.unlock()
	if !asks {
		return
	}
	who, err := s.reg.cfg.Authenticate(ctx, *hello, "")
	if err != nil || who.Name != s.principal.name {
		return
	}
	s.ep.Lock()
	defer s.unlock()
	if c := s.credential; c.expired() {
		c.principal, c.refused = who, ""
	}
}

// isFresh reports whether a token is worth a look: it is not older than the latest,
// and another one, or the same that has expired meanwhile, for which there may be
// some leeway.
func (s *Session) isFresh(stated uint64, sum [sha256.Size]byte) bool {
	s.ep.Lock()
	defer s.unlock()
	c := s.credential
	return stated >= c.stated && (sum != c.token || c.expired())
}
