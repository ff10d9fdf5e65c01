package probe

import (
	"context"
	"crypto/rand"
	"strconv"
	"time"

	"github.com/pollbridge/pollbridge/internal/netcheck"
)

// sizes are the bodies to try, in bytes, ascending.
var sizes = []int{4 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1000 << 10}

// slowBody is the time of a body after which no larger one is tried.
const slowBody = 3 * time.Second

// growth is how far bodies could grow.
type growth struct {
	passed int    // the largest size that passed; 0: none did
	slow   string // why no larger one was tried
	failed *reply // of the first size that failed; nil: none did
	cut    *reply // an answer that was cut, even if another try passed
}

// grow tries each size, up to three times, until one fails.
func (r *runner) grow(ctx context.Context, make func(size int) request) growth {
	var g growth
	for _, size := range sizes {
		var p *reply
		for range 3 {
			p = r.send(ctx, make(size))
			if p.kind == cut && p.got > 0 {
				g.cut = p
			}
			if p.kind == fine && p.took < slowBody || ctx.Err() != nil {
				break
			}
		}
		if p.kind != fine {
			g.failed = p
			return g
		}
		g.passed = size
		if p.took > slowBody {
			g.slow = "; larger ones were not tried, because this took " + inTime(p.took)
			return g
		}
	}
	return g
}

// upload finds out how large a request's body may be.
func (r *runner) upload(ctx context.Context) {
	payload := make([]byte, sizes[len(sizes)-1])
	rand.Read(payload)
	g := r.grow(ctx, func(size int) request { return request{payload: payload[:size]} })
	facts := map[string]string{"size": inBytes(g.passed), "slow": g.slow}
	switch {
	case g.failed == nil:
		r.say("upload", "ok", facts)
	case g.passed == 0:
		r.say("upload", "none", facts)
	case g.failed.kind == foreign:
		facts["status"] = strconv.Itoa(g.failed.status)
		r.say("upload", "status", facts)
	default:
		r.say("upload", "reset", facts)
	}
}

// download finds out how large an answer may be.
func (r *runner) download(ctx context.Context) {
	g := r.grow(ctx, func(size int) request { return request{ask: netcheck.Ask{Down: size}} })
	facts := map[string]string{"size": inBytes(g.passed), "slow": g.slow}
	switch {
	case g.cut != nil:
		facts["cut"] = inBytes(g.cut.got)
		r.say("download", "cut", facts)
	case g.failed == nil:
		r.say("download", "ok", facts)
	case g.passed == 0:
		r.say("download", "none", facts)
	default:
		facts["status"] = strconv.Itoa(g.failed.status)
		r.say("download", "status", facts)
	}
}
