package probe

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/netcheck"
)

const (
	// quickly is the age below which a wait that ended is tried again.
	quickly   = 500 * time.Millisecond
	holdTries = 8 // side by side, chance strikes one of many
	busyEvery = 500 * time.Millisecond
)

// waited is the outcome of waits side by side.
type waited struct {
	holds []*reply
	idle  []bool        // WebSockets that lived on after so long a silence
	busy  time.Duration // how long a busy WebSocket lived
}

// wait tries each hold: requests that are answered after it, WebSockets that are
// quiet for it, and beside them a WebSocket that is never quiet, to tell an idle
// limit from an age limit.
func (r *runner) wait(ctx context.Context) {
	r.requests.CloseIdleConnections() // what was idle may be forgotten already
	holds := r.cfg.Holds
	longest := holds[len(holds)-1]
	w := waited{holds: make([]*reply, len(holds)), idle: make([]bool, len(holds))}
	var all sync.WaitGroup
	if r.outcome("parallel") == "one" {
		all.Go(func() {
			for i := range holds {
				w.holds[i] = r.hold(ctx, holds[i])
			}
		})
	} else {
		for i := range holds {
			all.Go(func() { w.holds[i] = r.hold(ctx, holds[i]) })
		}
	}
	sockets := r.outcome("websocket") == "ok"
	if sockets {
		for i := range holds {
			all.Go(func() { w.idle[i] = r.quiet(ctx, holds[i]) })
		}
		all.Go(func() { w.busy = r.chatter(ctx, longest) })
	}
	all.Wait()
	r.sayHold(w)
	if sockets {
		r.sayIdle(w)
		return
	}
	r.say("idle", "none", nil)
}

// hold has a request answered after hold. It tries again what fails at once, and
// counts an answer that is lost when it is due as fine.
func (r *runner) hold(ctx context.Context, hold time.Duration) *reply {
	var p *reply
	for range holdTries {
		p = r.send(ctx, request{ask: netcheck.Ask{HoldMillis: int(hold.Milliseconds())}})
		if p.kind != fine && p.kind != silent && p.took >= hold {
			p.kind = fine
		}
		if p.kind == fine || p.took > min(quickly+2*r.rtt, hold/2) || ctx.Err() != nil {
			break
		}
	}
	return p
}

// quiet reports whether a WebSocket still echoes after so long a silence.
func (r *runner) quiet(ctx context.Context, silence time.Duration) bool {
	d := r.dial(ctx)
	if d.err != nil {
		return false
	}
	defer d.conn.CloseNow()
	if _, err := d.echo(ctx, []byte{1}, askLimit); err != nil {
		return false
	}
	pause(ctx, silence)
	_, err := d.echo(ctx, []byte{2}, askLimit)
	return err == nil
}

// chatter keeps a WebSocket busy for life. It returns how long it lived.
func (r *runner) chatter(ctx context.Context, life time.Duration) time.Duration {
	d := r.dial(ctx)
	if d.err != nil {
		return 0
	}
	defer d.conn.CloseNow()
	start := time.Now()
	for time.Since(start) < life {
		if _, err := d.echo(ctx, []byte{3}, askLimit/2); err != nil {
			return time.Since(start)
		}
		pause(ctx, min(busyEvery, life/4))
	}
	return life
}

func (r *runner) sayHold(w waited) {
	i := slices.IndexFunc(w.holds, func(p *reply) bool { return p.kind != fine })
	if i < 0 {
		r.say("hold", "ok", map[string]string{"longest": inTime(r.cfg.Holds[len(w.holds)-1])})
		return
	}
	failed := w.holds[i]
	facts := map[string]string{"longest": r.longest(i), "cut": inTime(failed.took), "status": strconv.Itoa(failed.status)}
	switch failed.kind {
	case foreign:
		r.say("hold", "status", facts)
	case silent:
		if r.old(w, i) {
			r.say("hold", "age", facts)
			return
		}
		r.say("hold", "idle", facts)
	case short, page, stale:
		r.say("hold", "short", facts)
	default:
		r.say("hold", "eof", facts)
	}
}

// longest is the hold before the one that failed.
func (r *runner) longest(failed int) string {
	if failed == 0 {
		return "a moment"
	}
	return inTime(r.cfg.Holds[failed-1])
}

// old reports whether the WebSocket that was never quiet died too.
func (r *runner) old(w waited, failed int) bool {
	return r.outcome("websocket") == "ok" && w.busy < r.cfg.Holds[failed]
}

func (r *runner) sayIdle(w waited) {
	i := slices.Index(w.idle, false)
	switch {
	case i < 0:
		r.say("idle", "ok", map[string]string{"longest": inTime(r.cfg.Holds[len(w.idle)-1])})
	case w.busy < r.cfg.Holds[i]:
		r.say("idle", "age", map[string]string{"cut": inTime(w.busy)})
	default:
		r.say("idle", "idle", map[string]string{"cut": inTime(r.cfg.Holds[i]), "longest": r.longest(i)})
	}
}
