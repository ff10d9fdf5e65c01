package wire

import "fmt"

// The parse functions take what generated code takes, and to the same values:
// unknown fields are skipped, of a repeated scalar the last counts, repeated
// singular messages are merged, numbers are cut to their width. What breaks
// the rules of parseBody and parseFrame is refused beside.

func parseBody(src []byte, b *Batch) error {
	r := reader{rest: src}
	for r.next() {
		switch r.tag {
		case tagBatchSession:
			b.Session = r.bytes
		case tagBatchX:
			b.X = r.num
		case tagBatchKey:
			b.Key = r.bytes
		case tagBatchIncarnation:
			b.Incarnation = r.num
		case tagBatchAck:
			b.Ack = r.num
		case tagBatchClose:
			b.Close = orNew(b.Close)
			r.err = parseClose(r.bytes, b.Close)
		case tagBatchVersions:
			b.Versions = orNew(b.Versions)
			r.err = parseVersions(r.bytes, b.Versions)
		case tagBatchHello:
			b.Hello = orNew(b.Hello)
			r.err = parseHello(r.bytes, b.Hello)
		case tagBatchWelcome:
			b.Welcome = orNew(b.Welcome)
			r.err = parseWelcome(r.bytes, b.Welcome)
		case tagBatchNow:
			b.NowMicros = r.num
		case tagBatchAwaiting:
			b.Awaiting = r.num
		case tagBatchPrefer:
			b.Prefer = r.num
		case tagBatchHold:
			b.HoldMillis = uint32(r.num)
		case tagBatchMaxBytes:
			b.MaxBytes = uint32(r.num)
		case tagBatchResend:
			b.Resend = r.num != 0
		case tagBatchParked:
			b.Parked = r.num
		case tagBatchWaitingBytes:
			b.WaitingBytes = r.num
		case tagBatchPing:
			b.Ping = r.num
		case tagBatchPong:
			b.Pong = r.num
		case tagBatchPadding:
			b.Padding = r.bytes
		case tagBatchPause:
			b.PauseMillis = uint32(r.num)
		case tagBatchToken:
			b.Token = r.text()
		case tagBatchGoAway:
			b.GoAway = orNew(b.GoAway)
			r.err = parseGoAway(r.bytes, b.GoAway)
		case tagBatchStopped:
			b.Stopped = r.num != 0
		case tagBatchHeld:
			b.HeldMicros = r.num
		case tagBatchFrames:
			r.err = b.addFrame(r.bytes)
		}
	}
	return r.err
}

// addFrame parses one more frame into b.Frames.
func (b *Batch) addFrame(src []byte) error {
	n := len(b.Frames)
	if n == MaxFrames {
		return fmt.Errorf("more than %d frames", MaxFrames)
	}
	b.Frames = append(b.Frames, Frame{})
	if err := parseFrame(src, &b.Frames[n]); err != nil {
		return fmt.Errorf("frame %d: %w", n, err)
	}
	return nil
}

func parseVersions(src []byte, v *Versions) error {
	r := reader{rest: src}
	for r.next() {
		switch r.tag {
		case tagVersionsLowest:
			v.Lowest = uint32(r.num)
		case tagVersionsHighest:
			v.Highest = uint32(r.num)
		}
	}
	return r.err
}

func parseHello(src []byte, h *Hello) error {
	r := reader{rest: src}
	for r.next() {
		switch r.tag {
		case tagHelloRelease:
			h.Release = r.text()
		case tagHelloStreamWindow:
			h.StreamWindow = uint32(r.num)
		case tagHelloMaxMessageBytes:
			h.MaxMessageBytes = r.num
		}
	}
	return r.err
}

func parseWelcome(src []byte, w *Welcome) error {
	r := reader{rest: src}
	for r.next() {
		switch r.tag {
		case tagWelcomeVersion:
			w.Version = uint32(r.num)
		case tagWelcomeRelease:
			w.Release = r.text()
		case tagWelcomeHold:
			w.HoldMillis = uint32(r.num)
		case tagWelcomeResume:
			w.ResumeMillis = uint32(r.num)
		case tagWelcomePauseMax:
			w.PauseMaxMillis = uint32(r.num)
		case tagWelcomeStreamWindow:
			w.StreamWindow = uint32(r.num)
		case tagWelcomeSessionWindow:
			w.SessionWindow = uint32(r.num)
		case tagWelcomeMaxMessageBytes:
			w.MaxMessageBytes = r.num
		case tagWelcomeMaxBatchBytes:
			w.MaxBatchBytes = uint32(r.num)
		case tagWelcomeMaxMetadataBytes:
			w.MaxMetadataBytes = uint32(r.num)
		case tagWelcomeMaxStreams:
			w.MaxStreams = uint32(r.num)
		case tagWelcomeIgnoresTokens:
			w.IgnoresTokens = r.num != 0
		case tagWelcomeMaxExchanges:
			w.MaxExchanges = uint32(r.num)
		}
	}
	return r.err
}

func parseClose(src []byte, c *Close) error {
	r := reader{rest: src}
	for r.next() {
		switch r.tag {
		case tagCloseCode:
			c.Code = CloseCode(r.num)
		case tagCloseMessage:
			c.Message = r.text()
		case tagCloseRetryAfter:
			c.RetryAfterMillis = uint32(r.num)
		case tagCloseLimit:
			c.Limit = r.num
		}
	}
	return r.err
}

func parseGoAway(src []byte, g *GoAway) error {
	r := reader{rest: src}
	for r.next() {
		if r.tag == tagGoAwaySpread {
			g.SpreadMillis = uint32(r.num)
		}
	}
	return r.err
}

func parseFrame(src []byte, f *Frame) error {
	r := reader{rest: src}
	for r.next() {
		switch r.tag {
		case tagFrameSeq:
			f.Seq = r.num
		case tagFrameStream:
			f.Stream = r.num
		case tagFrameType:
			f.Type = FrameType(r.num)
		case tagFrameCritical:
			f.Critical = r.num != 0
		case tagFrameOpen:
			if f.Open == nil {
				f.Open = newOpen()
			}
			r.err = parseOpen(r.bytes, f.Open)
		case tagFrameHeaders:
			f.Headers = orNew(f.Headers)
			r.err = parseHeaders(r.bytes, f.Headers)
		case tagFrameData:
			f.Data = r.bytes
		case tagFrameLength:
			f.First, f.Length = true, r.num
		case tagFrameLimit:
			f.Limit = r.num
		case tagFrameEnd:
			f.End = orNew(f.End)
			r.err = parseEnd(r.bytes, f.End)
		case tagFrameClose:
			f.Close = orNew(f.Close)
			r.err = parseClose(r.bytes, f.Close)
		}
	}
	if r.err != nil {
		return r.err
	}
	return f.check()
}

// check refuses a frame without the message that its type names, so that who
// handles frames by type need not ask.
func (f *Frame) check() error {
	switch {
	case f.Type == TypeOpen && f.Open == nil:
		return fmt.Errorf("OPEN without open")
	case f.Type == TypeHeaders && f.Headers == nil:
		return fmt.Errorf("HEADERS without headers")
	case f.Type == TypeEnd && f.End == nil:
		return fmt.Errorf("END without end")
	case f.Type == TypeClose && f.Close == nil:
		return fmt.Errorf("CLOSE without close")
	}
	return nil
}

// openRoom is an Open with the room for as much metadata as most have.
type openRoom struct {
	Open
	metadata [2]Metadatum
}

func newOpen() *Open {
	o := new(openRoom)
	o.Metadata = o.metadata[:0]
	return &o.Open
}

func parseOpen(src []byte, o *Open) error {
	r := reader{rest: src}
	for r.next() {
		switch r.tag {
		case tagOpenMethod:
			o.Method = r.text()
		case tagOpenMetadata:
			o.Metadata = append(o.Metadata, Metadatum{})
			r.err = parseMetadatum(r.bytes, &o.Metadata[len(o.Metadata)-1])
		case tagOpenTimeout:
			o.HasTimeout, o.TimeoutMicros = true, r.num
		case tagOpenCreated:
			o.CreatedMicros = r.num
		case tagOpenCompression:
			o.Compression = r.text()
		case tagOpenEarly:
			o.Early = r.num != 0
		case tagOpenContentSubtype:
			o.ContentSubtype = r.text()
		case tagOpenWaitForReady:
			o.WaitForReady = r.num != 0
		case tagOpenSingleRequest:
			o.SingleRequest = r.num != 0
		case tagOpenSingleResponse:
			o.SingleResponse = r.num != 0
		}
	}
	if len(o.Metadata) == 0 {
		o.Metadata = nil // room or not
	}
	return r.err
}

func parseHeaders(src []byte, h *Headers) error {
	r := reader{rest: src}
	for r.next() {
		if r.tag == tagHeadersMetadata {
			h.Metadata = append(h.Metadata, Metadatum{})
			r.err = parseMetadatum(r.bytes, &h.Metadata[len(h.Metadata)-1])
		}
	}
	return r.err
}

func parseEnd(src []byte, e *End) error {
	r := reader{rest: src}
	for r.next() {
		switch r.tag {
		case tagEndStatus:
			e.Status = uint32(r.num)
		case tagEndMessage:
			e.Message = r.text()
		case tagEndDetails:
			e.Details = r.bytes
		case tagEndTrailers:
			e.Trailers = append(e.Trailers, Metadatum{})
			r.err = parseMetadatum(r.bytes, &e.Trailers[len(e.Trailers)-1])
		case tagEndOrigin:
			e.Origin = Origin(r.num)
		case tagEndReason:
			e.Reason = r.text()
		}
	}
	return r.err
}

func parseMetadatum(src []byte, m *Metadatum) error {
	r := reader{rest: src}
	for r.next() {
		switch r.tag {
		case tagMetadatumKey:
			m.Key = r.key()
		case tagMetadatumValue:
			m.Value = string(r.bytes)
		}
	}
	return r.err
}

// orNew is the message already there, for a further copy of a singular field
// to be merged into, or else a new one.
func orNew[T any](m *T) *T {
	if m == nil {
		return new(T)
	}
	return m
}
