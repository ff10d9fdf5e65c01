package netcheck

import (
	"context"
	"crypto/rand"
	"hash/crc32"
	"strconv"
	"time"
)

// sizes are the bodies that are tried, ascending.
var sizes = []int{4 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1000 << 10}

const (
	// slowBody ends the growing: larger ones would tell nothing more.
	slowBody = 3 * time.Second
	// narrowRate is less than what a page wants.
	narrowRate = 40 << 10 // bytes a second
)

func checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

// growth is how far bodies could grow.
type growth struct {
	passed int // the largest that did
	rate   string
	narrow bool
	slow   string // said when time ended it
	failed *reply // of the first size that did not
	cut    *reply // an answer that was cut, also where another try passed
}

// grow tries each size until one fails for good.
func (r *runner) grow(ctx context.Context, make func(size int) request, moved func(*reply) int) growth {
	g := growth{rate: "?"}
	best := 0.0
	for _, size := range sizes {
		var p *reply
		for range 3 { // what fails, or is slow, once may be chance
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
		spent := moving(p.took, r.rtt)
		if now := rate(moved(p), spent); now > best {
			best, g.rate = now, inRate(moved(p), spent)
		}
		g.narrow = best < narrowRate && size >= 16<<10
		if p.took > slowBody {
			g.slow = "; larger ones were not tried, because this took " + inTime(p.took)
			return g
		}
	}
	return g
}

// moving is the part of a time that bytes took, not the round trip.
func moving(took, rtt time.Duration) time.Duration { return max(took-rtt, took/4) }

// upload finds out how large a request's body may be.
func (r *runner) upload(ctx context.Context) {
	payload := make([]byte, sizes[len(sizes)-1])
	rand.Read(payload)
	g := r.grow(ctx, func(size int) request { return request{payload: payload[:size]} }, func(p *reply) int { return p.sent })
	r.up, r.slow = g.rate, g.narrow
	facts := map[string]string{"size": inBytes(g.passed), "slow": g.slow}
	switch {
	case g.failed == nil:
		r.say("upload", "ok", facts)
	case g.passed == 0:
		r.say("upload", "none", facts)
	case g.failed.kind == status:
		facts["status"] = strconv.Itoa(g.failed.status)
		r.say("upload", "status", facts)
	default:
		r.say("upload", "reset", facts)
	}
}

// download finds out how large an answer may be.
func (r *runner) download(ctx context.Context) {
	g := r.grow(ctx, func(size int) request { return request{ask: Ask{Down: size}} }, func(p *reply) int { return p.got })
	r.down, r.slow = g.rate, r.slow || g.narrow
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
