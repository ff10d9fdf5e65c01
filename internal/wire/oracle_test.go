package wire_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/internal/wire/wirepb"
)

// seal wraps a body in the envelope, written out a second time so that the
// codec is not its own witness.
func seal(body []byte) []byte {
	b := []byte{0xB1, 0xD6, 1, 0}
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// bodyOf is what seal wrapped.
func bodyOf(batch []byte) []byte { return batch[8 : len(batch)-4] }

// unmarshal parses a body with generated code.
func unmarshal(t *testing.T, body []byte) *wirepb.Batch {
	t.Helper()
	m := new(wirepb.Batch)
	if err := proto.Unmarshal(body, m); err != nil {
		t.Fatalf("generated code refuses: %v", err)
	}
	return m
}

// marshal encodes a message with generated code.
func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatalf("generated code cannot encode: %v", err)
	}
	return b
}

// wantSame fails unless b, turned field by field into the generated type, has
// the bytes of want, which must hold no unknown fields.
func wantSame(t *testing.T, b *wire.Batch, want *wirepb.Batch) {
	t.Helper()
	got, wanted := marshal(t, toProto(b)), marshal(t, want)
	if !bytes.Equal(got, wanted) {
		t.Fatalf("hand-written and generated code differ:\n got %x\nwant %x", got, wanted)
	}
}

func toProto(b *wire.Batch) *wirepb.Batch {
	m := &wirepb.Batch{
		Session: b.Session, X: b.X, Key: b.Key, Incarnation: b.Incarnation, Ack: b.Ack,
		Close: toClose(b.Close),
		NowUs: b.NowMicros, Awaiting: b.Awaiting, Prefer: b.Prefer, HoldMs: b.HoldMillis, MaxBytes: b.MaxBytes,
		Resend: b.Resend, Parked: b.Parked, WaitingBytes: b.WaitingBytes, Ping: b.Ping, Pong: b.Pong,
		Padding: b.Padding, PauseMs: b.PauseMillis, Token: b.Token, Stopped: b.Stopped, HeldUs: b.HeldMicros,
	}
	if v := b.Versions; v != nil {
		m.Versions = &wirepb.Versions{Lowest: v.Lowest, Highest: v.Highest}
	}
	if h := b.Hello; h != nil {
		m.Hello = &wirepb.Hello{Release: h.Release, StreamWindow: h.StreamWindow, MaxMessageBytes: h.MaxMessageBytes}
	}
	if w := b.Welcome; w != nil {
		m.Welcome = &wirepb.Welcome{
			Version: w.Version, Release: w.Release, HoldMs: w.HoldMillis, ResumeMs: w.ResumeMillis,
			PauseMaxMs: w.PauseMaxMillis, StreamWindow: w.StreamWindow, SessionWindow: w.SessionWindow,
			MaxMessageBytes: w.MaxMessageBytes, MaxBatchBytes: w.MaxBatchBytes,
			MaxMetadataBytes: w.MaxMetadataBytes, MaxStreams: w.MaxStreams,
			IgnoresTokens: w.IgnoresTokens, MaxExchanges: w.MaxExchanges,
		}
	}
	if g := b.GoAway; g != nil {
		m.GoAway = &wirepb.GoAway{SpreadMs: g.SpreadMillis}
	}
	for i := range b.Frames {
		m.Frames = append(m.Frames, toFrame(&b.Frames[i]))
	}
	return m
}

func toFrame(f *wire.Frame) *wirepb.Frame {
	m := &wirepb.Frame{
		Seq: f.Seq, Stream: f.Stream, Type: wirepb.Frame_Type(f.Type), Critical: f.Critical,
		Data: f.Data, Limit: f.Limit, Close: toClose(f.Close),
	}
	if f.First {
		m.Length = new(f.Length)
	}
	if o := f.Open; o != nil {
		m.Open = &wirepb.Open{
			Method: o.Method, Metadata: toMetadata(o.Metadata), CreatedUs: o.CreatedMicros,
			Compression: o.Compression, Early: o.Early, ContentSubtype: o.ContentSubtype,
			WaitForReady: o.WaitForReady, SingleRequest: o.SingleRequest, SingleResponse: o.SingleResponse,
		}
		if o.HasTimeout {
			m.Open.TimeoutUs = new(o.TimeoutMicros)
		}
	}
	if h := f.Headers; h != nil {
		m.Headers = &wirepb.Headers{Metadata: toMetadata(h.Metadata)}
	}
	if e := f.End; e != nil {
		m.End = &wirepb.End{
			Status: e.Status, Message: e.Message, Details: e.Details, Trailers: toMetadata(e.Trailers),
			Origin: wirepb.End_Origin(e.Origin), Reason: e.Reason,
		}
	}
	return m
}

func toClose(c *wire.Close) *wirepb.Close {
	if c == nil {
		return nil
	}
	return &wirepb.Close{
		Code: wirepb.Close_Code(c.Code), Message: c.Message, RetryAfterMs: c.RetryAfterMillis, Limit: c.Limit,
	}
}

func toMetadata(metadata []wire.Metadatum) []*wirepb.Metadatum {
	var m []*wirepb.Metadatum
	for _, d := range metadata {
		m = append(m, &wirepb.Metadatum{Key: d.Key, Value: []byte(d.Value)})
	}
	return m
}
