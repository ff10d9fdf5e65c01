package wire

import "google.golang.org/protobuf/encoding/protowire"

// The append functions write fields in the order of their numbers and leave
// zero values out, so their bytes equal those of generated code. Each has its
// twin in size.go.

func appendHeader(dst []byte, b *Batch) []byte {
	dst = appendBytes(dst, tagBatchSession, b.Session)
	dst = appendUint(dst, tagBatchX, b.X)
	dst = appendBytes(dst, tagBatchKey, b.Key)
	if b.Incarnation != 0 {
		dst = protowire.AppendVarint(dst, tagBatchIncarnation)
		dst = protowire.AppendFixed64(dst, b.Incarnation)
	}
	dst = appendUint(dst, tagBatchAck, b.Ack)
	if b.Close != nil {
		dst = appendPrefix(dst, tagBatchClose, sizeClose(b.Close))
		dst = appendClose(dst, b.Close)
	}
	if b.Versions != nil {
		dst = appendPrefix(dst, tagBatchVersions, sizeVersions(b.Versions))
		dst = appendVersions(dst, b.Versions)
	}
	if b.Hello != nil {
		dst = appendPrefix(dst, tagBatchHello, sizeHello(b.Hello))
		dst = appendHello(dst, b.Hello)
	}
	if b.Welcome != nil {
		dst = appendPrefix(dst, tagBatchWelcome, sizeWelcome(b.Welcome))
		dst = appendWelcome(dst, b.Welcome)
	}
	dst = appendUint(dst, tagBatchNow, b.NowMicros)
	dst = appendUint(dst, tagBatchAwaiting, b.Awaiting)
	dst = appendUint(dst, tagBatchPrefer, b.Prefer)
	dst = appendUint(dst, tagBatchHold, uint64(b.HoldMillis))
	dst = appendUint(dst, tagBatchMaxBytes, uint64(b.MaxBytes))
	dst = appendBool(dst, tagBatchResend, b.Resend)
	dst = appendUint(dst, tagBatchParked, b.Parked)
	dst = appendUint(dst, tagBatchWaitingBytes, b.WaitingBytes)
	dst = appendUint(dst, tagBatchPing, b.Ping)
	dst = appendUint(dst, tagBatchPong, b.Pong)
	dst = appendBytes(dst, tagBatchPadding, b.Padding)
	dst = appendUint(dst, tagBatchPause, uint64(b.PauseMillis))
	dst = appendBytes(dst, tagBatchToken, b.Token)
	if b.GoAway != nil {
		dst = appendPrefix(dst, tagBatchGoAway, sizeGoAway(b.GoAway))
		dst = appendGoAway(dst, b.GoAway)
	}
	dst = appendBool(dst, tagBatchStopped, b.Stopped)
	return appendUint(dst, tagBatchHeld, b.HeldMicros)
}

func appendVersions(dst []byte, v *Versions) []byte {
	dst = appendUint(dst, tagVersionsLowest, uint64(v.Lowest))
	return appendUint(dst, tagVersionsHighest, uint64(v.Highest))
}

func appendHello(dst []byte, h *Hello) []byte {
	dst = appendBytes(dst, tagHelloRelease, h.Release)
	dst = appendUint(dst, tagHelloStreamWindow, uint64(h.StreamWindow))
	return appendUint(dst, tagHelloMaxMessageBytes, h.MaxMessageBytes)
}

func appendWelcome(dst []byte, w *Welcome) []byte {
	dst = appendUint(dst, tagWelcomeVersion, uint64(w.Version))
	dst = appendBytes(dst, tagWelcomeRelease, w.Release)
	dst = appendUint(dst, tagWelcomeHold, uint64(w.HoldMillis))
	dst = appendUint(dst, tagWelcomeResume, uint64(w.ResumeMillis))
	dst = appendUint(dst, tagWelcomePauseMax, uint64(w.PauseMaxMillis))
	dst = appendUint(dst, tagWelcomeStreamWindow, uint64(w.StreamWindow))
	dst = appendUint(dst, tagWelcomeSessionWindow, uint64(w.SessionWindow))
	dst = appendUint(dst, tagWelcomeMaxMessageBytes, w.MaxMessageBytes)
	dst = appendUint(dst, tagWelcomeMaxBatchBytes, uint64(w.MaxBatchBytes))
	dst = appendUint(dst, tagWelcomeMaxMetadataBytes, uint64(w.MaxMetadataBytes))
	dst = appendUint(dst, tagWelcomeMaxStreams, uint64(w.MaxStreams))
	dst = appendBool(dst, tagWelcomeIgnoresTokens, w.IgnoresTokens)
	return appendUint(dst, tagWelcomeMaxExchanges, uint64(w.MaxExchanges))
}

func appendClose(dst []byte, c *Close) []byte {
	dst = appendUint(dst, tagCloseCode, enum(c.Code))
	dst = appendBytes(dst, tagCloseMessage, c.Message)
	dst = appendUint(dst, tagCloseRetryAfter, uint64(c.RetryAfterMillis))
	return appendUint(dst, tagCloseLimit, c.Limit)
}

func appendGoAway(dst []byte, g *GoAway) []byte {
	return appendUint(dst, tagGoAwaySpread, uint64(g.SpreadMillis))
}

// appendFrameHead writes the fields before the data, appendFrameTail those after it.
func appendFrameHead(dst []byte, f *Frame) []byte {
	dst = appendUint(dst, tagFrameSeq, f.Seq)
	dst = appendUint(dst, tagFrameStream, f.Stream)
	dst = appendUint(dst, tagFrameType, enum(f.Type))
	dst = appendBool(dst, tagFrameCritical, f.Critical)
	if f.Open != nil {
		dst = appendPrefix(dst, tagFrameOpen, sizeOpen(f.Open))
		dst = appendOpen(dst, f.Open)
	}
	if f.Headers != nil {
		dst = appendPrefix(dst, tagFrameHeaders, sizeHeaders(f.Headers))
		dst = appendMetadata(dst, tagHeadersMetadata, f.Headers.Metadata)
	}
	return dst
}

func appendFrameTail(dst []byte, f *Frame) []byte {
	if f.First {
		dst = protowire.AppendVarint(dst, tagFrameLength)
		dst = protowire.AppendVarint(dst, f.Length)
	}
	dst = appendUint(dst, tagFrameLimit, f.Limit)
	if f.End != nil {
		dst = appendPrefix(dst, tagFrameEnd, sizeEnd(f.End))
		dst = appendEnd(dst, f.End)
	}
	if f.Close != nil {
		dst = appendPrefix(dst, tagFrameClose, sizeClose(f.Close))
		dst = appendClose(dst, f.Close)
	}
	return dst
}

func appendOpen(dst []byte, o *Open) []byte {
	dst = appendBytes(dst, tagOpenMethod, o.Method)
	dst = appendMetadata(dst, tagOpenMetadata, o.Metadata)
	if o.HasTimeout {
		dst = protowire.AppendVarint(dst, tagOpenTimeout)
		dst = protowire.AppendVarint(dst, o.TimeoutMicros)
	}
	dst = appendUint(dst, tagOpenCreated, o.CreatedMicros)
	dst = appendBytes(dst, tagOpenCompression, o.Compression)
	dst = appendBool(dst, tagOpenEarly, o.Early)
	dst = appendBytes(dst, tagOpenContentSubtype, o.ContentSubtype)
	dst = appendBool(dst, tagOpenWaitForReady, o.WaitForReady)
	dst = appendBool(dst, tagOpenSingleRequest, o.SingleRequest)
	return appendBool(dst, tagOpenSingleResponse, o.SingleResponse)
}

func appendEnd(dst []byte, e *End) []byte {
	dst = appendUint(dst, tagEndStatus, uint64(e.Status))
	dst = appendBytes(dst, tagEndMessage, e.Message)
	dst = appendBytes(dst, tagEndDetails, e.Details)
	dst = appendMetadata(dst, tagEndTrailers, e.Trailers)
	dst = appendUint(dst, tagEndOrigin, enum(e.Origin))
	return appendBytes(dst, tagEndReason, e.Reason)
}

func appendMetadata(dst []byte, tag uint64, metadata []Metadatum) []byte {
	for i := range metadata {
		m := &metadata[i]
		dst = appendPrefix(dst, tag, sizeMetadatum(m))
		dst = appendBytes(dst, tagMetadatumKey, m.Key)
		dst = appendBytes(dst, tagMetadatumValue, m.Value)
	}
	return dst
}

func appendUint(dst []byte, tag, v uint64) []byte {
	if v == 0 {
		return dst
	}
	dst = protowire.AppendVarint(dst, tag)
	return protowire.AppendVarint(dst, v)
}

func appendBool(dst []byte, tag uint64, v bool) []byte {
	if !v {
		return dst
	}
	dst = protowire.AppendVarint(dst, tag)
	return append(dst, 1)
}

func appendBytes[T []byte | string](dst []byte, tag uint64, v T) []byte {
	if len(v) == 0 {
		return dst
	}
	dst = appendPrefix(dst, tag, len(v))
	return append(dst, v...)
}

// appendPrefix writes what stands before size bytes of a field's value.
func appendPrefix(dst []byte, tag uint64, size int) []byte {
	dst = protowire.AppendVarint(dst, tag)
	return protowire.AppendVarint(dst, uint64(size))
}

// enum is the varint of an enum: protobuf extends the sign of its 32 bits.
func enum[T ~uint32](v T) uint64 { return uint64(int32(v)) }
