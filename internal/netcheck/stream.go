package netcheck

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"
)

const (
	// lagLimit is what a frame may be late by: between the 265 ms of proxies
	// that cork and the 1,301 ms of those that buffer.
	lagLimit = 600 * time.Millisecond
	gap      = FrameGap * time.Millisecond
)

// frames is when the frames of a streamed answer came, after the request.
type frames [3]time.Duration

// lag is how late a frame was.
func (f frames) lag(i int, rtt time.Duration) time.Duration {
	return max(0, f[i]-rtt-time.Duration(i)*gap)
}

// passes tells that frames came as they were sent: the first two in time, or
// all late but well apart, as after a request that was late itself.
func (f frames) passes(rtt time.Duration) bool {
	return f.lag(0, rtt) < lagLimit && f.lag(1, rtt) < lagLimit || f[1]-f[0] > gap/2 && f[2]-f[1] > gap/2
}

// streaming finds out whether pieces of an answer pass as they are sent. To
// decide on the first one alone would be wrong: padding gets through where
// every later small piece is stuck.
func (r *runner) streaming(ctx context.Context) {
	var f frames
	var err error
	for range 2 { // one late frame may be chance
		if f, err = r.frames(ctx, StreamFrames); err == nil && f.passes(r.rtt) {
			r.say("streaming", "ok", map[string]string{"lag": inTime(max(f.lag(0, r.rtt), f.lag(1, r.rtt)))})
			return
		}
	}
	switch {
	case err != nil:
		r.say("streaming", "unknown", map[string]string{"problem": problem(err)})
		return
	case f[1]-f[0] > gap/2:
		r.say("streaming", "onebehind", nil)
		return
	}
	if padded, err := r.frames(ctx, StreamPadded); err == nil && padded[2]-padded[0] > gap {
		r.say("streaming", "threshold", nil)
		return
	}
	r.say("streaming", "buffered", nil)
}

// frames has three frames streamed and notes when they came. It tries a few
// times to get them. Where every try failed, and some were cut before anything
// came although the first frame was overdue, all of them were held.
func (r *runner) frames(ctx context.Context, form string) (f frames, err error) {
	overdue := 0
	for range 4 {
		start := time.Now()
		if f, err = r.framesOnce(ctx, form); err == nil {
			return f, nil
		}
		if took := time.Since(start) - r.rtt; f[0] < 0 && took > lagLimit && took < 3*gap {
			overdue++
		}
	}
	if overdue > 1 {
		return frames{2 * gap, 2 * gap, 2 * gap}, nil
	}
	return f, err
}

func (r *runner) framesOnce(ctx context.Context, form string) (frames, error) {
	f := frames{-1, -1, -1}
	ctx, cancel := context.WithTimeout(ctx, 2*askLimit)
	defer cancel()
	start := time.Now()
	body, err := r.open(ctx, Ask{Stream: form})
	if err != nil {
		return f, err
	}
	defer body.Close()
	frame := make([]byte, FrameSize)
	for i := range f {
		if _, err := io.ReadFull(body, frame); err != nil && i < 2 {
			return f, err // the third is of use only where the first two are late
		}
		f[i] = time.Since(start)
		if i == 2 {
			return f, nil
		}
		if frame[0] != "ABC"[i] || string(frame[1:FrameSize-1]) != r.id[:FrameSize-2] {
			return f, io.ErrUnexpectedEOF // somebody's page
		}
		if i == 0 && form == StreamPadded {
			if _, err := io.CopyN(io.Discard, body, PadSize); err != nil {
				return f, err
			}
		}
	}
	return f, nil
}

// open begins an answer that is streamed.
func (r *runner) open(ctx context.Context, ask Ask) (io.ReadCloser, error) {
	ask.Run, ask.N = r.id, r.number()
	line, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	resp, err := r.post(ctx, "echo", "", append(line, '\n'))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, &statusError{resp.Status}
	}
	return plain(resp)
}

type statusError struct{ status string }

func (e *statusError) Error() string { return "status " + e.status }

// drip reads an answer of one byte every 500 ms and tells how long it lived.
func (r *runner) drip(ctx context.Context, life time.Duration) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, life+askLimit)
	defer cancel()
	start := time.Now()
	body, err := r.open(ctx, Ask{Stream: StreamDrip, HoldMillis: int(life.Milliseconds())})
	if err != nil {
		return 0
	}
	defer body.Close()
	var last time.Duration
	for one := make([]byte, 1); ; {
		if _, err := body.Read(one); err != nil {
			return last
		}
		last = time.Since(start)
	}
}
