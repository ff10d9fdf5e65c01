package netcheck

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

const (
	subprotocol = "pollbridge.v1" // as sessions have it: networks may look at it
	dialTries   = 4
	maxMessage  = 128 << 10
)

// socket is an open WebSocket to the bridge's echo.
type socket struct {
	conn   *websocket.Conn
	opened time.Duration
}

// dialled is how a handshake went.
type dialled struct {
	*socket
	n      int
	status int
	kind   kind
	err    error
}

func (r *runner) dialOnce(ctx context.Context) dialled {
	d := dialled{n: r.number()}
	limited, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	start := time.Now()
	//nolint:bodyclose // nothing to close: the package keeps a copy of the first bytes
	conn, resp, err := websocket.Dial(limited, fmt.Sprintf("%s/v1/check/ws?run=%s&n=%d", r.cfg.URL, r.id, d.n), &websocket.DialOptions{
		HTTPClient: r.cfg.Sockets, HTTPHeader: r.cfg.Header, Subprotocols: []string{subprotocol},
	})
	if err == nil {
		conn.SetReadLimit(maxMessage)
		d.socket = &socket{conn, time.Since(start)}
		return d
	}
	d.err, d.kind = err, failure(limited, err)
	if resp != nil {
		d.status = resp.StatusCode
	}
	if seen, ok := errors.AsType[foreign](err); ok {
		d.status, _ = seen.Seen()
	}
	return d
}

// dial tries a few times: a network may lose some handshakes only. One that
// was silent, or said no in other ways than an error, is not asked again.
func (r *runner) dial(ctx context.Context) dialled {
	var d dialled
	for range dialTries {
		d = r.dialOnce(ctx)
		if d.err == nil || d.kind == mute || d.status == http.StatusUpgradeRequired {
			break
		}
	}
	return d
}

// echo sends a message and wants it back.
func (s *socket) echo(ctx context.Context, message []byte, limit time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	if err := s.conn.Write(ctx, websocket.MessageBinary, message); err != nil {
		return 0, err
	}
	_, back, err := s.conn.Read(ctx)
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(back, message) {
		return 0, errChanged
	}
	return time.Since(start), nil
}

var errChanged = errors.New("the echo differs")

// A WebSocket without a first echo for so long, and for so many round trips, is
// mute: sessions wait for 3 s and 4.
const (
	muteLimit = 5 * time.Second
	muteTrips = 10
)

// websocket opens one and has messages echoed, from tiny to large, with every
// value that a byte can have.
func (r *runner) websocket(ctx context.Context) {
	d := r.dial(ctx)
	if d.err != nil {
		r.refusedSocket(ctx, d)
		return
	}
	defer d.conn.CloseNow()
	rtt, err := d.echo(ctx, []byte{0}, max(muteLimit, muteTrips*r.rtt))
	if err != nil {
		r.say("websocket", "mute", nil)
		return
	}
	values := make([]byte, 256)
	for i := range values {
		values[i] = byte(i)
	}
	large := slices.Concat(values, make([]byte, 64<<10-len(values)))
	rand.Read(large[len(values):])
	var took time.Duration
	for _, message := range [][]byte{values, large} {
		if took, err = d.echo(ctx, message, askLimit+time.Duration(len(message))*time.Second/slowestRate); err != nil {
			break
		}
	}
	switch {
	case errors.Is(err, errChanged):
		r.say("websocket", "changed", nil)
	case err != nil:
		r.say("websocket", "breaks", map[string]string{"problem": problem(err)})
	default:
		r.say("websocket", "ok", map[string]string{"opened": inTime(d.opened)})
		r.paceOf(ctx, d.socket, rtt, inRate(2*len(large), moving(took, rtt)))
	}
}

// pings are tiny echoes, one after the other.
const pings = 4

// paceOf notes the round trip of a WebSocket, of which one echo is known, how
// much it varies, and its rate.
func (r *runner) paceOf(ctx context.Context, s *socket, rtt time.Duration, rate string) {
	trips := []time.Duration{rtt}
	for range pings {
		rtt, err := s.echo(ctx, []byte{0}, askLimit)
		if err != nil {
			break
		}
		trips = append(trips, rtt)
	}
	slices.Sort(trips)
	r.ws = fmt.Sprintf("; on WebSocket %s ± %s, %s", inTime(trips[len(trips)/2]), inTime(trips[len(trips)-1]-trips[0]), rate)
}

// refusedSocket says why there is none, with the help of what the bridge saw.
func (r *runner) refusedSocket(ctx context.Context, d dialled) {
	record, known := r.record(ctx)
	came, upgrade := false, false
	if known {
		for _, s := range record.Sockets {
			if s.N == d.n {
				came, upgrade = true, s.Upgrade
			}
		}
	}
	said := ""
	if d.status != 0 {
		said = " (status " + strconv.Itoa(d.status) + ")"
	}
	switch {
	case came && !upgrade:
		r.say("websocket", "stripped", nil)
	case d.kind == mute && !came:
		r.say("websocket", "swallowed", nil)
	default:
		r.say("websocket", "refused", map[string]string{"status": said})
	}
}
