package wire

import "google.golang.org/protobuf/encoding/protowire"

// The size functions give exactly the bytes that their twins in append.go
// write.

func sizeHeader(b *Batch) int {
	n := sizeBytes(tagBatchSession, b.Session) +
		sizeUint(tagBatchX, b.X) +
		sizeBytes(tagBatchKey, b.Key) +
		sizeUint(tagBatchAck, b.Ack) +
		sizeUint(tagBatchNow, b.NowMicros) +
		sizeUint(tagBatchAwaiting, b.Awaiting) +
		sizeUint(tagBatchPrefer, b.Prefer) +
		sizeUint(tagBatchHold, uint64(b.HoldMillis)) +
		sizeUint(tagBatchMaxBytes, uint64(b.MaxBytes)) +
		sizeBool(tagBatchResend, b.Resend) +
		sizeUint(tagBatchParked, b.Parked) +
		sizeUint(tagBatchWaitingBytes, b.WaitingBytes) +
		sizeUint(tagBatchPing, b.Ping) +
		sizeUint(tagBatchPong, b.Pong) +
		sizeBytes(tagBatchPadding, b.Padding) +
		sizeUint(tagBatchPause, uint64(b.PauseMillis)) +
		sizeBytes(tagBatchToken, b.Token) +
		sizeBool(tagBatchStopped, b.Stopped) +
		sizeUint(tagBatchHeld, b.HeldMicros)
	if b.Incarnation != 0 {
		n += protowire.SizeVarint(tagBatchIncarnation) + protowire.SizeFixed64()
	}
	if b.Close != nil {
		n += sizePrefixed(tagBatchClose, sizeClose(b.Close))
	}
	if b.Versions != nil {
		n += sizePrefixed(tagBatchVersions, sizeVersions(b.Versions))
	}
	if b.Hello != nil {
		n += sizePrefixed(tagBatchHello, sizeHello(b.Hello))
	}
	if b.Welcome != nil {
		n += sizePrefixed(tagBatchWelcome, sizeWelcome(b.Welcome))
	}
	if b.GoAway != nil {
		n += sizePrefixed(tagBatchGoAway, sizeGoAway(b.GoAway))
	}
	return n
}

func sizeVersions(v *Versions) int {
	return sizeUint(tagVersionsLowest, uint64(v.Lowest)) +
		sizeUint(tagVersionsHighest, uint64(v.Highest))
}

func sizeHello(h *Hello) int {
	return sizeBytes(tagHelloRelease, h.Release) +
		sizeUint(tagHelloStreamWindow, uint64(h.StreamWindow)) +
		sizeUint(tagHelloMaxMessageBytes, h.MaxMessageBytes)
}

func sizeWelcome(w *Welcome) int {
	return sizeUint(tagWelcomeVersion, uint64(w.Version)) +
		sizeBytes(tagWelcomeRelease, w.Release) +
		sizeUint(tagWelcomeHold, uint64(w.HoldMillis)) +
		sizeUint(tagWelcomeResume, uint64(w.ResumeMillis)) +
		sizeUint(tagWelcomePauseMax, uint64(w.PauseMaxMillis)) +
		sizeUint(tagWelcomeStreamWindow, uint64(w.StreamWindow)) +
		sizeUint(tagWelcomeSessionWindow, uint64(w.SessionWindow)) +
		sizeUint(tagWelcomeMaxMessageBytes, w.MaxMessageBytes) +
		sizeUint(tagWelcomeMaxBatchBytes, uint64(w.MaxBatchBytes)) +
		sizeUint(tagWelcomeMaxMetadataBytes, uint64(w.MaxMetadataBytes)) +
		sizeUint(tagWelcomeMaxStreams, uint64(w.MaxStreams)) +
		sizeBool(tagWelcomeIgnoresTokens, w.IgnoresTokens) +
		sizeUint(tagWelcomeMaxExchanges, uint64(w.MaxExchanges))
}

func sizeClose(c *Close) int {
	return sizeUint(tagCloseCode, enum(c.Code)) +
		sizeBytes(tagCloseMessage, c.Message) +
		sizeUint(tagCloseRetryAfter, uint64(c.RetryAfterMillis)) +
		sizeUint(tagCloseLimit, c.Limit)
}

func sizeGoAway(g *GoAway) int {
	return sizeUint(tagGoAwaySpread, uint64(g.SpreadMillis))
}

func sizeFrame(f *Frame) int {
	n := sizeUint(tagFrameSeq, f.Seq) +
		sizeUint(tagFrameStream, f.Stream) +
		sizeUint(tagFrameType, enum(f.Type)) +
		sizeBool(tagFrameCritical, f.Critical) +
		sizeBytes(tagFrameData, f.Data) +
		sizeUint(tagFrameLimit, f.Limit)
	if f.First {
		n += protowire.SizeVarint(tagFrameLength) + protowire.SizeVarint(f.Length)
	}
	if f.Open != nil {
		n += sizePrefixed(tagFrameOpen, sizeOpen(f.Open))
	}
	if f.Headers != nil {
		n += sizePrefixed(tagFrameHeaders, sizeHeaders(f.Headers))
	}
	if f.End != nil {
		n += sizePrefixed(tagFrameEnd, sizeEnd(f.End))
	}
	if f.Close != nil {
		n += sizePrefixed(tagFrameClose, sizeClose(f.Close))
	}
	return n
}

func sizeOpen(o *Open) int {
	n := sizeBytes(tagOpenMethod, o.Method) +
		sizeMetadata(tagOpenMetadata, o.Metadata) +
		sizeUint(tagOpenCreated, o.CreatedMicros) +
		sizeBytes(tagOpenCompression, o.Compression) +
		sizeBool(tagOpenEarly, o.Early) +
		sizeBytes(tagOpenContentSubtype, o.ContentSubtype) +
		sizeBool(tagOpenWaitForReady, o.WaitForReady) +
		sizeBool(tagOpenSingleRequest, o.SingleRequest) +
		sizeBool(tagOpenSingleResponse, o.SingleResponse)
	if o.HasTimeout {
		n += protowire.SizeVarint(tagOpenTimeout) + protowire.SizeVarint(o.TimeoutMicros)
	}
	return n
}

func sizeHeaders(h *Headers) int {
	return sizeMetadata(tagHeadersMetadata, h.Metadata)
}

func sizeEnd(e *End) int {
	return sizeUint(tagEndStatus, uint64(e.Status)) +
		sizeBytes(tagEndMessage, e.Message) +
		sizeBytes(tagEndDetails, e.Details) +
		sizeMetadata(tagEndTrailers, e.Trailers) +
		sizeUint(tagEndOrigin, enum(e.Origin)) +
		sizeBytes(tagEndReason, e.Reason)
}

func sizeMetadata(tag uint64, metadata []Metadatum) int {
	n := 0
	for i := range metadata {
		n += sizePrefixed(tag, sizeMetadatum(&metadata[i]))
	}
	return n
}

func sizeMetadatum(m *Metadatum) int {
	return sizeBytes(tagMetadatumKey, m.Key) + sizeBytes(tagMetadatumValue, m.Value)
}

func sizeUint(tag, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeVarint(tag) + protowire.SizeVarint(v)
}

func sizeBool(tag uint64, v bool) int {
	if !v {
		return 0
	}
	return protowire.SizeVarint(tag) + 1
}

func sizeBytes[T []byte | string](tag uint64, v T) int {
	if len(v) == 0 {
		return 0
	}
	return sizePrefixed(tag, len(v))
}

// sizePrefixed is the size of a field whose value has n bytes.
func sizePrefixed(tag uint64, n int) int {
	return protowire.SizeVarint(tag) + protowire.SizeBytes(n)
}
