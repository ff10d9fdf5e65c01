package probe

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

	"github.com/pollbridge/pollbridge/internal/httpclient"
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
	conn, resp, err := websocket.Dial(limited, fmt.Sprintf("%s/v1/check/ws?run=%s&n=%d", r.base, r.id, d.n), &websocket.DialOptions{
		HTTPClient: r.handshakes, HTTPHeader: r.header, Host: r.header.Get("Host"), Subprotocols: []string{subprotocol},
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
	if answer, ok := errors.AsType[*httpclient.AnswerError](err); ok {
		d.status = answer.Status
	}
	return d
}

// dial tries a few times: a network may lose some handshakes only. One that was
// silent, or refused the upgrade, is not tried again.
func (r *runner) dial(ctx context.Context) dialled {
	var d dialled
	for range dialTries {
		d = r.dialOnce(ctx)
		if d.err == nil || d.kind == silent || d.status == http.StatusUpgradeRequired {
			break
		}
	}
	return d
}

// echo sends a message and waits for its echo. It returns how long that took.
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

// The first echo on a WebSocket is due within the greater of firstEchoLimit and
// firstEchoTrips round trips. Sessions wait for 3 s and 4 round trips.
const (
	firstEchoLimit = 5 * time.Second
	firstEchoTrips = 10
)

// websocket opens a WebSocket and has messages echoed, from tiny to large, with
// every value of a byte.
func (r *runner) websocket(ctx context.Context) {
	d := r.dial(ctx)
	if d.err != nil {
		r.refusedSocket(ctx, d)
		return
	}
	defer d.conn.CloseNow()
	if _, err := d.echo(ctx, []byte{0}, max(firstEchoLimit, firstEchoTrips*r.rtt)); err != nil {
		r.say("websocket", "mute", nil)
		return
	}
	values := make([]byte, 256)
	for i := range values {
		values[i] = byte(i)
	}
	large := slices.Concat(values, make([]byte, 64<<10-len(values)))
	rand.Read(large[len(values):])
	var err error
	for _, message := range [][]byte{values, large} {
		if _, err = d.echo(ctx, message, askLimit+time.Duration(len(message))*time.Second/slowestRate); err != nil {
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
	}
}

// refusedSocket says why there is no WebSocket, from what the bridge saw.
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
	case d.kind == silent && !came:
		r.say("websocket", "swallowed", nil)
	default:
		r.say("websocket", "refused", map[string]string{"status": said})
	}
}
