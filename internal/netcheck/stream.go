package netcheck

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	gap = FrameGap * time.Millisecond
	// after is how much later than a frame the whole answer is sent that it is
	// compared with, and leeway how much later than that the frame may come. The
	// two together lie between the 265 ms by which proxies that cork are late and
	// the 601 ms of those that buffer.
	after  = gap / 2
	leeway = gap / 4
	// warmUp bounds the requests that open connections beforehand.
	warmUp = 2 * time.Second
)

// Streamed answers are asked for, so many times at most, until one passes, or
// some were held back: one of them may be chance.
const (
	streamTries = 5
	enoughHeld  = 2
)

// frames is when the frames of a streamed answer came, after the request, and
// when the whole answers came that were sent a while after the first two. Those
// had the same machines and the same network at the same moment: what delays
// them too is not held back.
type frames struct {
	came  [3]time.Duration
	whole [2]time.Duration
}

// sentAfter is when the bridge sends the whole answer that a frame is compared
// with.
func sentAfter(i int) time.Duration { return time.Duration(i)*gap + after }

// lag is how late a frame was, by the round trip.
func (f frames) lag(i int, rtt time.Duration) time.Duration {
	return max(0, f.came[i]-rtt-time.Duration(i)*gap)
}

// passes tells that frames came as they were sent: well apart.
func (f frames) passes() bool {
	return f.came[1]-f.came[0] > gap/2 && f.came[2]-f.came[1] > gap/2
}

// held tells that a frame came after what was sent later. If it neither passed
// nor was held, something stood still for a moment.
func (f frames) held() bool {
	return f.came[0] > f.whole[0]+leeway || f.came[1] > f.whole[1]+leeway
}

// streaming finds out whether pieces of an answer pass as they are sent. To
// decide on the first one alone would be wrong: padding gets through where
// every later small piece is stuck.
func (r *runner) streaming(ctx context.Context) {
	r.warmUp(ctx)
	var f, last frames
	var err error
	for tries, held := 0, 0; tries < streamTries && held < enoughHeld; tries++ {
		if last, err = r.frames(ctx, StreamFrames); err != nil {
			break
		}
		if last.passes() {
			r.say("streaming", "ok", map[string]string{"lag": inTime(max(last.lag(0, r.rtt), last.lag(1, r.rtt)))})
			return
		}
		if last.held() {
			f = last
			held++
		}
	}
	switch {
	case err != nil:
		r.say("streaming", "unknown", map[string]string{"problem": problem(err)})
		return
	case f == frames{}:
		r.say("streaming", "unknown", map[string]string{"problem": "everything stood still now and then"})
		return
	case f.came[1]-f.came[0] > gap/2:
		r.say("streaming", "onebehind", nil)
		return
	}
	for range enoughHeld {
		if padded, err := r.frames(ctx, StreamPadded); err == nil && padded.came[2]-padded.came[0] > gap {
			r.say("streaming", "threshold", nil)
			return
		}
	}
	r.say("streaming", "buffered", nil)
}

// warmUp opens the connections that frames needs, so that none has to wait for
// one while others do not.
func (r *runner) warmUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, warmUp)
	defer cancel()
	var all sync.WaitGroup
	for range 1 + len(frames{}.whole) {
		all.Go(func() { r.send(ctx, request{}) })
	}
	all.Wait()
}

// frames has three frames streamed and notes when they came. It tries a few
// times to get them. Where every try failed, and some were cut before anything
// came although the first frame was overdue, all of them were held.
func (r *runner) frames(ctx context.Context, form string) (f frames, err error) {
	overdue := 0
	for range 4 {
		start := time.Now()
		if f, err = r.framesBeside(ctx, form); err == nil {
			return f, nil
		}
		if ended := time.Since(start); f.came[0] < 0 && f.whole[0]+leeway < ended && ended < r.rtt+3*gap {
			overdue++
		}
	}
	if overdue > 1 {
		f.came = [3]time.Duration{2 * gap, 2 * gap, 2 * gap}
		return f, nil
	}
	return f, err
}

// framesBeside has frames streamed, and beside them whole answers sent. For one
// that does not come the round trip stands in.
func (r *runner) framesBeside(ctx context.Context, form string) (f frames, err error) {
	start := time.Now()
	beside, cancel := context.WithCancel(ctx)
	defer cancel()
	var whole sync.WaitGroup
	defer whole.Wait()
	for i := range f.whole {
		f.whole[i] = r.rtt + sentAfter(i)
		whole.Go(func() {
			if r.send(beside, request{ask: Ask{HoldMillis: int(sentAfter(i).Milliseconds())}}).kind == fine {
				f.whole[i] = time.Since(start)
			}
		})
	}
	f.came, err = r.framesOnce(ctx, form)
	time.AfterFunc(gap, cancel) // it has been sent, and is on the way if it comes at all
	return f, err
}

func (r *runner) framesOnce(ctx context.Context, form string) ([3]time.Duration, error) {
	f := [3]time.Duration{-1, -1, -1}
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
