package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/internal/wire/wirepb"
)

// FuzzParseBody holds the parser equal to generated code on any body: what the
// parser takes, generated code takes to the same values; what only the parser
// refuses breaks a rule that generated code does not know. What was taken
// comes back from AppendBatch as generated code would encode it.
func FuzzParseBody(f *testing.F) {
	for _, v := range goodVectors() {
		f.Add(bodyOf(wire.AppendBatch(nil, &v.batch)))
	}
	for _, v := range lenientVectors() {
		f.Add(v.body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var b wire.Batch
		err := wire.ParseBatch(seal(body), &b)
		m := new(wirepb.Batch)
		refusal := proto.Unmarshal(body, m)
		if err != nil {
			if !errors.Is(err, wire.ErrGarbled) {
				t.Fatalf("error does not wrap ErrGarbled: %v", err)
			}
			if refusal == nil && !breaksRule(m) {
				t.Fatalf("only the hand-written parser refuses: %v", err)
			}
			return
		}
		if refusal != nil {
			t.Fatalf("only generated code refuses: %v", refusal)
		}
		if h, err := wire.ParseHead(seal(body)); err != nil || !bytes.Equal(h.Session, b.Session) || h.X != b.X || h.Incarnation != b.Incarnation {
			t.Fatalf("the head alone is %+v, %v", h, err)
		}
		dropUnknown(m.ProtoReflect())
		wantSame(t, &b, m)
		if got, want := wire.AppendBatch(nil, &b), seal(marshal(t, m)); !bytes.Equal(got, want) {
			t.Fatalf("encoded again:\n got %x\nwant %x", got, want)
		}
	})
}

// breaksRule tells whether a body that is good protobuf breaks a rule of its
// own (see ParseBatch).
func breaksRule(m *wirepb.Batch) bool {
	if len(m.Frames) > wire.MaxFrames {
		return true
	}
	return slices.ContainsFunc(m.Frames, func(f *wirepb.Frame) bool {
		return f.Type == wirepb.Frame_OPEN && f.Open == nil ||
			f.Type == wirepb.Frame_HEADERS && f.Headers == nil ||
			f.Type == wirepb.Frame_END && f.End == nil ||
			f.Type == wirepb.Frame_CLOSE && f.Close == nil
	})
}

// dropUnknown removes unknown fields from a message and all below it.
func dropUnknown(m protoreflect.Message) {
	m.SetUnknown(nil)
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				dropUnknown(v.List().Get(i).Message())
			}
		default:
			dropUnknown(v.Message())
		}
		return true
	})
}

// FuzzParseBatch throws any bytes at the whole parser: no crash, errors of the
// two kinds only, and a batch that is taken is taken to the last byte.
func FuzzParseBatch(f *testing.F) {
	for _, v := range goodVectors() {
		f.Add(wire.AppendBatch(nil, &v.batch))
	}
	for _, v := range badVectors() {
		f.Add(v.src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		var b wire.Batch
		err := wire.ParseBatch(src, &b)
		if err != nil {
			if errors.Is(err, wire.ErrGarbled) == errors.Is(err, wire.ErrVersion) {
				t.Fatalf("error is not of one kind: %v", err)
			}
			if !reflect.DeepEqual(b, wire.Batch{Frames: b.Frames}) || len(b.Frames) != 0 {
				t.Fatalf("batch not empty after an error: %+v", b)
			}
			return
		}
		if !bytes.Equal(src, seal(bodyOf(src))) {
			t.Fatalf("took bytes that are no sealed body: %x", src)
		}
	})
}

// FuzzAppendBatch builds a batch out of the fuzzer's bytes and holds its
// encoding equal to generated code's, its size to what was foretold, and what
// is parsed from it to what it was.
func FuzzAppendBatch(f *testing.F) {
	f.Add([]byte{})
	for i := range 8 {
		f.Add(bytes.Repeat([]byte{byte(i), 0xFF, 0x07, 'a', 0}, 40*(i+1)))
	}
	f.Fuzz(func(t *testing.T, seed []byte) {
		s := source(seed)
		b := s.batch()
		got := wire.AppendBatch(nil, b)
		if want := seal(marshal(t, toProto(b))); !bytes.Equal(got, want) {
			t.Fatalf("encoded:\n got %x\nwant %x", got, want)
		}
		size := wire.HeaderSize(b)
		for i := range b.Frames {
			size += wire.FrameSize(&b.Frames[i])
		}
		if size != len(got) {
			t.Fatalf("foretold %d bytes, encoded %d", size, len(got))
		}
		var back wire.Batch
		if err := wire.ParseBatch(got, &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(&back, b) {
			t.Fatalf("came back other:\n got %+v\nwant %+v", &back, b)
		}
	})
}

// source makes values out of a fuzzer's bytes; at their end, zero values.
type source []byte

func (s *source) byte() byte {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return b
}

func (s *source) bool() bool { return s.byte()&1 == 1 }

// uint makes numbers of every length.
func (s *source) uint() uint64 {
	var b [8]byte
	for i := range s.byte() % 9 {
		b[i] = s.byte()
	}
	return binary.LittleEndian.Uint64(b[:])
}

func (s *source) uint32() uint32 { return uint32(s.uint()) }

// bytes makes nil or a value long enough to need every length prefix.
func (s *source) bytes() []byte {
	n := int(s.byte())
	if n == 0 {
		return nil
	}
	return bytes.Repeat([]byte{s.byte()}, n*n/4+1)
}

func (s *source) text() string { return strings.ToValidUTF8(string(s.bytes())+"é", "") }

func (s *source) metadata() []wire.Metadatum {
	var md []wire.Metadatum
	for range s.byte() % 4 {
		md = append(md, wire.Metadatum{Key: s.text(), Value: string(s.bytes())})
	}
	return md
}

func (s *source) close() *wire.Close {
	if !s.bool() {
		return nil
	}
	return &wire.Close{Code: wire.CloseCode(s.uint32()), Message: s.text(), RetryAfterMillis: s.uint32(), Limit: s.uint()}
}

func (s *source) batch() *wire.Batch {
	b := &wire.Batch{
		Session: s.bytes(), X: s.uint(), Key: s.bytes(), Incarnation: s.uint(), Ack: s.uint(), Close: s.close(),
		NowMicros: s.uint(), Awaiting: s.uint(), Prefer: s.uint(), HoldMillis: s.uint32(), MaxBytes: s.uint32(),
		Resend: s.bool(), Parked: s.uint(), WaitingBytes: s.uint(), Ping: s.uint(), Pong: s.uint(),
		Padding: s.bytes(), PauseMillis: s.uint32(), Token: s.text(), Stopped: s.bool(), HeldMicros: s.uint(),
	}
	if s.bool() {
		b.Versions = &wire.Versions{Lowest: s.uint32(), Highest: s.uint32()}
	}
	if s.bool() {
		b.Hello = &wire.Hello{Release: s.text(), StreamWindow: s.uint32(), MaxMessageBytes: s.uint()}
	}
	if s.bool() {
		b.Welcome = &wire.Welcome{
			Version: s.uint32(), Release: s.text(), HoldMillis: s.uint32(), ResumeMillis: s.uint32(),
			PauseMaxMillis: s.uint32(), StreamWindow: s.uint32(), SessionWindow: s.uint32(), MaxMessageBytes: s.uint(),
			MaxBatchBytes: s.uint32(), MaxMetadataBytes: s.uint32(), MaxStreams: s.uint32(),
			IgnoresTokens: s.bool(), MaxExchanges: s.uint32(),
		}
	}
	if s.bool() {
		b.GoAway = &wire.GoAway{SpreadMillis: s.uint32()}
	}
	for range s.byte() % 16 {
		b.Frames = append(b.Frames, s.frame())
	}
	return b
}

func (s *source) frame() wire.Frame {
	f := wire.Frame{Seq: s.uint(), Stream: s.uint(), Type: wire.FrameType(s.byte() % 11), Critical: s.bool()}
	switch f.Type {
	case wire.TypeOpen:
		f.Open = &wire.Open{
			Method: s.text(), Metadata: s.metadata(), HasTimeout: s.bool(), CreatedMicros: s.uint(),
			Compression: s.text(), Early: s.bool(), ContentSubtype: s.text(), WaitForReady: s.bool(),
			SingleRequest: s.bool(), SingleResponse: s.bool(),
		}
		if f.Open.HasTimeout {
			f.Open.TimeoutMicros = s.uint()
		}
	case wire.TypeHeaders:
		f.Headers = &wire.Headers{Metadata: s.metadata()}
	case wire.TypeMessage:
		f.Data, f.First = s.bytes(), s.bool()
		if f.First {
			f.Length = s.uint()
		}
	case wire.TypeWindow:
		f.Limit = s.uint()
	case wire.TypeEnd:
		f.End = &wire.End{
			Status: s.uint32(), Message: s.text(), Details: s.bytes(), Trailers: s.metadata(),
			Origin: wire.Origin(s.uint32()), Reason: s.text(),
		}
	case wire.TypeClose:
		f.Close = &wire.Close{Code: wire.CloseCode(s.uint32()), Message: s.text()}
	case wire.TypeHalfClose, wire.TypeCancel:
	default: // of a type to come
		f.Type, f.Data = wire.FrameType(s.uint32())|1<<31, s.bytes()
	}
	return f
}
