package jwtauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

const (
	// maxSet is far above what issuers publish.
	maxSet = 1 << 20
	// askAgain is how long tokens of unknown keys, which anybody can make, are
	// refused without asking for the keys once more.
	askAgain = 10 * time.Second
	// retryAfter is how soon keys that could not be read are tried again.
	retryAfter = 30 * time.Second
)

// errNoKeys says that nothing can be proved yet.
var errNoKeys = errors.New("the issuer's keys could not be read yet")

// keys are the issuer's. A goroutine reads them again from time to time, and when
// a token names one that is not among them; until that works the last ones count.
type keys struct {
	cfg     Config
	current atomic.Pointer[keySet]
	ask     chan chan struct{} // reads them at once, and closes what was sent
	over    <-chan struct{}
	stop    context.CancelFunc
	done    sync.WaitGroup

	reads, failures atomic.Uint64
}

type keySet struct {
	find jwt.Keyfunc
	size int
	read time.Time
}

// newKeys reads the keys. A file that is of no use is an error; an issuer that
// does not answer is not, as it may come back.
func newKeys(cfg Config) (*keys, error) {
	ctx, stop := context.WithCancel(context.Background())
	k := &keys{cfg: cfg, ask: make(chan chan struct{}), over: ctx.Done(), stop: stop}
	first := time.Duration(0)
	if !isURL(cfg.JWKS) {
		if err := k.read(ctx); err != nil {
			stop()
			return nil, err
		}
		first = cfg.CacheDuration
	}
	k.done.Go(func() { k.follow(ctx, first) })
	return k, nil
}

func (k *keys) close() {
	k.stop()
	k.done.Wait()
}

// follow reads the keys after first, and then again and again.
func (k *keys) follow(ctx context.Context, first time.Duration) {
	var tried time.Time
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		var asked chan struct{}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case asked = <-k.ask:
		}
		if asked == nil || time.Since(tried) >= askAgain {
			wait := k.cfg.CacheDuration
			if err := k.read(ctx); err != nil && ctx.Err() == nil {
				k.cfg.Logger.Error("keys not read", "err", err, "using", k.describe())
				wait = min(wait, retryAfter)
			}
			tried = time.Now()
			timer.Reset(wait)
		}
		if asked != nil {
			close(asked)
		}
	}
}

// renew has the keys read unless that was done just now, and waits for it.
func (k *keys) renew(ctx context.Context) {
	asked := make(chan struct{})
	select {
	case k.ask <- asked:
	case <-ctx.Done():
		return
	case <-k.over:
		return
	}
	select {
	case <-asked:
	case <-ctx.Done():
	case <-k.over:
	}
}

// read reads the keys.
func (k *keys) read(ctx context.Context) error {
	set, err := k.load(ctx)
	if err != nil {
		k.failures.Add(1)
		return fmt.Errorf("keys of %s: %w", redacted(k.cfg.JWKS), err)
	}
	k.reads.Add(1)
	if before := k.current.Swap(set); before == nil || before.size != set.size {
		k.cfg.Logger.Info("keys read", "jwks", redacted(k.cfg.JWKS), "keys", set.size)
	}
	return nil
}

// describe says what counts while the keys cannot be read.
func (k *keys) describe() string {
	set := k.current.Load()
	if set == nil {
		return "none: every token is refused"
	}
	return fmt.Sprintf("the %d keys of %s", set.size, set.read.UTC().Format(time.RFC3339))
}

func (k *keys) load(ctx context.Context) (*keySet, error) {
	read := k.fromFile
	if isURL(k.cfg.JWKS) {
		read = k.fromURL
	}
	raw, err := read(ctx)
	if err != nil {
		return nil, err
	}
	return k.parse(ctx, raw)
}

func (k *keys) fromFile(context.Context) ([]byte, error) {
	f, err := os.Open(k.cfg.JWKS)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readSet(f)
}

func (k *keys) fromURL(ctx context.Context) ([]byte, error) {
	at := k.cfg.JWKS
	if strings.HasSuffix(at, discoveryPath) {
		var err error
		if at, err = k.discover(ctx); err != nil {
			return nil, err
		}
	}
	return k.get(ctx, at)
}

// get returns what a URL answers.
func (k *keys) get(ctx context.Context, at string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := k.cfg.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered %s", resp.Status)
	}
	return readSet(resp.Body)
}

func readSet(r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxSet+1))
	if err == nil && len(raw) > maxSet {
		err = fmt.Errorf("longer than %d bytes", maxSet)
	}
	return raw, err
}

// parse takes the keys that can be used, and leaves the others.
func (k *keys) parse(ctx context.Context, raw []byte) (*keySet, error) {
	var published jwkset.JWKSMarshal
	if err := json.Unmarshal(raw, &published); err != nil {
		return nil, fmt.Errorf("not a JSON Web Key Set: %w", err)
	}
	usable := jwkset.NewMemoryStorage()
	size := 0
	for i, key := range published.Keys {
		jwk, err := jwkset.NewJWKFromMarshal(key, jwkset.JWKMarshalOptions{Private: true}, jwkset.JWKValidateOptions{SkipKeyOps: true})
		if err != nil {
			k.cfg.Logger.Warn("key left out", "kid", key.KID, "index", i, "err", err)
			continue
		}
		if err := usable.KeyWrite(ctx, jwk); err != nil {
			return nil, err
		}
		size++
	}
	if size == 0 {
		return nil, errors.New("no key in it that can be used")
	}
	find, err := keyfunc.New(keyfunc.Options{Storage: usable, UseWhitelist: []jwkset.USE{"", jwkset.UseSig}})
	if err != nil {
		return nil, err
	}
	return &keySet{find: find.Keyfunc, size: size, read: time.Now()}, nil
}

// find is jwt's Keyfunc. For a key that is not known the keys are read again.
func (k *keys) find(ctx context.Context) jwt.Keyfunc {
	return func(token *jwt.Token) (any, error) {
		set := k.current.Load()
		if set != nil {
			key, err := set.find(token)
			if !errors.Is(err, jwkset.ErrKeyNotFound) {
				return key, err
			}
		}
		k.renew(ctx)
		if set = k.current.Load(); set == nil {
			return nil, errNoKeys
		}
		return set.find(token)
	}
}
