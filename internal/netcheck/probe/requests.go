package probe

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/netcheck"
)

const (
	manyAtOnce = 10 // requests
	fewAtOnce  = 5
)

// types sends each kind of body, and a browser's preflight.
func (r *runner) types(ctx context.Context) {
	binary := make([]byte, 1024)
	for i := range binary {
		binary[i] = byte(i)
	}
	if p := r.tries(ctx, 3, request{payload: binary}); p.kind != fine || p.answer.Sum != checksum(binary) {
		r.say("types", "binary", nil)
		return
	}
	text := []byte(strings.Repeat("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/", 16))
	if p := r.tries(ctx, 3, request{payload: text, kind: "text/plain"}); p.kind != fine || p.answer.Sum != checksum(text) {
		r.say("types", "text", nil)
		return
	}
	code, said := 0, ""
	for range 3 {
		if code, said = r.preflight(ctx); code == http.StatusNoContent {
			r.say("types", "ok", nil)
			return
		}
	}
	facts := map[string]string{"status": strconv.Itoa(code), "problem": said}
	if said != "" {
		r.say("types", "origin", facts)
		return
	}
	r.say("types", "preflight", facts)
}

// preflight asks as a browser does for a page of the bridge's own origin. It
// returns the status, and the bridge's own reason if it refused.
func (r *runner) preflight(ctx context.Context) (status int, said string) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodOptions, r.base+"/v1/check/echo", nil)
	if err != nil {
		return 0, ""
	}
	req.Header = r.header.Clone()
	req.Header.Set("Origin", req.URL.Scheme+"://"+req.URL.Host)
	req.Header.Set("Access-Control-Request-Method", http.MethodPost)
	req.Header.Set("Access-Control-Request-Headers", "content-type")
	resp, err := r.requests.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	if resp.StatusCode == http.StatusForbidden && resp.Header.Get("Pollbridge") != "" {
		said = strings.TrimSpace(string(body))
	}
	return resp.StatusCode, said
}

// parallel counts how many requests the bridge gets at once.
func (r *runner) parallel(ctx context.Context) {
	hold := 1500*time.Millisecond + 2*r.rtt
	var all sync.WaitGroup
	for range manyAtOnce {
		all.Go(func() {
			r.send(ctx, request{ask: netcheck.Ask{HoldMillis: int(hold.Milliseconds())}, limit: askLimit + manyAtOnce*hold})
		})
	}
	all.Wait()
	record, ok := r.record(ctx)
	if !ok {
		return
	}
	facts := map[string]string{"peak": strconv.Itoa(record.Peak)}
	switch {
	case record.Peak <= 1:
		r.say("parallel", "one", facts)
	case record.Peak < fewAtOnce:
		r.say("parallel", "few", facts)
	default:
		r.say("parallel", "ok", facts)
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
