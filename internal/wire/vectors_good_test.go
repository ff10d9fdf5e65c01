package wire_test

import (
	"bytes"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/pollbridge/pollbridge/internal/wire"
)

type goodVector struct {
	name  string
	wide  bool // holds a number above 2^53 - 1 outside incarnation
	batch wire.Batch
}

var (
	vectorID  = []byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f")
	vectorKey = []byte("\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff")
)

const vectorIncarnation = 0xFEDCBA9876543210

// goodVectors are batches in their one plain encoding.
func goodVectors() []goodVector {
	vectors := []goodVector{
		{name: "empty batch", batch: wire.Batch{}},
		{name: "hello", batch: wire.Batch{
			Session: vectorID, X: 1, Key: vectorKey, Versions: &wire.Versions{Lowest: 1, Highest: 1},
			Hello:     &wire.Hello{Release: "pollbridge-js/0.1.0", StreamWindow: 64 << 10, MaxMessageBytes: 16 << 20},
			NowMicros: 1200, Awaiting: 1, MaxBytes: 1 << 20,
		}},
		{name: "welcome", batch: wire.Batch{
			Session: vectorID, X: 1, Incarnation: vectorIncarnation,
			Welcome: &wire.Welcome{
				Version: 1, Release: "pollbridge/0.1.0", HoldMillis: 25_000, ResumeMillis: 120_000,
				PauseMaxMillis: 1_800_000, StreamWindow: 64 << 10, SessionWindow: 1 << 20, MaxMessageBytes: 16 << 20,
				MaxBatchBytes: 1 << 20, MaxMetadataBytes: 64 << 10, MaxStreams: 4096, MaxExchanges: 8,
			},
		}},
		{name: "every header field", batch: wire.Batch{
			Session: vectorID, X: 2, Key: vectorKey, Incarnation: vectorIncarnation, Ack: 3,
			Close:    &wire.Close{Code: wire.CodeProtocolViolation, Message: "stream 4", RetryAfterMillis: 5, Limit: 6},
			Versions: &wire.Versions{Lowest: 7, Highest: 8},
			Hello:    &wire.Hello{Release: "a", StreamWindow: 9, MaxMessageBytes: 10},
			Welcome: &wire.Welcome{
				Version: 11, Release: "b", HoldMillis: 12, ResumeMillis: 13, PauseMaxMillis: 14, StreamWindow: 15,
				SessionWindow: 16, MaxMessageBytes: 17, MaxBatchBytes: 18, MaxMetadataBytes: 19, MaxStreams: 20,
				IgnoresTokens: true, MaxExchanges: 34,
			},
			NowMicros: 21, Awaiting: 22, Prefer: 23, HoldMillis: 24, MaxBytes: 25, Resend: true, Parked: 26,
			WaitingBytes: 27, Ping: 28, Pong: 29, Padding: []byte{30}, PauseMillis: 31, Token: "c",
			GoAway: &wire.GoAway{SpreadMillis: 32}, Stopped: true, HeldMicros: 33,
		}},
		{name: "header messages without fields", batch: wire.Batch{
			Close: &wire.Close{}, Versions: &wire.Versions{}, Hello: &wire.Hello{}, Welcome: &wire.Welcome{}, GoAway: &wire.GoAway{},
		}},
		{name: "probe", batch: wire.Batch{X: 3, Ping: 1, Padding: bytes.Repeat([]byte{0x5A}, 300)}},
		{name: "largest incarnation", batch: wire.Batch{Incarnation: math.MaxUint64}},
		{name: "refused: garbled", batch: refusal(wire.Close{Code: wire.CodeGarbled, Message: "bad checksum of 2048 bytes"})},
		{name: "refused: version", batch: wire.Batch{
			X: 1, Close: &wire.Close{Code: wire.CodeVersion}, Versions: &wire.Versions{Lowest: 2, Highest: 3},
		}},
		{name: "refused: busy", batch: refusal(wire.Close{Code: wire.CodeBusy, RetryAfterMillis: 1500})},
		{name: "refused: too large", batch: refusal(wire.Close{Code: wire.CodeTooLarge, Limit: 1 << 20})},
		{name: "refused: unknown", batch: refusal(wire.Close{Code: wire.CodeUnknown})},
		{name: "numbers at each length", batch: wire.Batch{
			X: 127, Ack: 128, NowMicros: 16383, Awaiting: 16384, Prefer: 1<<21 - 1, HoldMillis: 1 << 21,
			MaxBytes: math.MaxUint32, Parked: 1 << 32, WaitingBytes: 1<<35 - 1, Ping: 1 << 35, Pong: 1 << 42,
			HeldMicros: 1<<53 - 1,
		}},
		{name: "largest numbers", wide: true, batch: wire.Batch{
			X: math.MaxUint64, Incarnation: math.MaxUint64, Ack: math.MaxUint64, NowMicros: math.MaxUint64,
			HoldMillis: math.MaxUint32, WaitingBytes: 1 << 63, Ping: 1 << 53, Pong: 1<<53 + 1,
			Frames: []wire.Frame{{Seq: math.MaxUint64, Stream: math.MaxUint64, Type: wire.TypeWindow, Limit: math.MaxUint64}},
		}},
	}
	return append(vectors, frameVectors()...)
}

// frameVectors are the good vectors of frames.
func frameVectors() []goodVector {
	return []goodVector{
		frames("unary call",
			wire.Frame{Seq: 1, Stream: 1, Type: wire.TypeOpen, Open: &wire.Open{
				Method: "/pollbridge.demo.v1.Demo/Echo", HasTimeout: true, TimeoutMicros: 5_000_000, CreatedMicros: 900,
				SingleRequest: true, SingleResponse: true,
			}},
			wire.Frame{Seq: 2, Stream: 1, Type: wire.TypeMessage, First: true, Length: 5, Data: []byte("\x0a\x03abc")},
			wire.Frame{Seq: 3, Stream: 1, Type: wire.TypeHalfClose}),
		frames("unary answer",
			wire.Frame{Seq: 1, Stream: 1, Type: wire.TypeHeaders, Headers: &wire.Headers{Metadata: []wire.Metadatum{{Key: "served-by", Value: "a"}}}},
			wire.Frame{Seq: 2, Stream: 1, Type: wire.TypeMessage, First: true, Length: 5, Data: []byte("\x0a\x03abc")},
			wire.Frame{Seq: 3, Stream: 1, Type: wire.TypeEnd, End: &wire.End{}}),
		frames("open with every field", wire.Frame{Seq: 4, Stream: 2, Type: wire.TypeOpen, Critical: true, Open: &wire.Open{
			Method: "/a.B/C",
			Metadata: []wire.Metadatum{
				{Key: "user", Value: "x"}, {Key: "user", Value: "y"},
				{Key: "raw-bin", Value: "\x00\xff\x80"}, {Key: "empty"},
			},
			HasTimeout: true, TimeoutMicros: 1_000_000, CreatedMicros: 7, Compression: "gzip", Early: true,
			ContentSubtype: "json", WaitForReady: true, SingleRequest: true, SingleResponse: true,
		}}),
		frames("open without fields", wire.Frame{Seq: 5, Stream: 3, Type: wire.TypeOpen, Open: &wire.Open{}}),
		frames("open with a timeout of zero", wire.Frame{Seq: 6, Stream: 4, Type: wire.TypeOpen, Open: &wire.Open{Method: "/a.B/C", HasTimeout: true}}),
		frames("open with an empty metadatum", wire.Frame{Seq: 7, Stream: 5, Type: wire.TypeOpen, Open: &wire.Open{Metadata: []wire.Metadatum{{}}}}),
		frames("headers without metadata", wire.Frame{Seq: 8, Stream: 6, Type: wire.TypeHeaders, Headers: &wire.Headers{}}),
		frames("empty message", wire.Frame{Seq: 9, Stream: 7, Type: wire.TypeMessage, First: true}),
		frames("message of one byte 0", wire.Frame{Seq: 10, Stream: 7, Type: wire.TypeMessage, First: true, Length: 1, Data: []byte{0}}),
		frames("longest fragment, first", wire.Frame{Seq: 11, Stream: 7, Type: wire.TypeMessage, First: true, Length: wire.MaxFragment + 3, Data: bytes.Repeat([]byte{0xA5}, wire.MaxFragment)}),
		frames("later fragment", wire.Frame{Seq: 12, Stream: 7, Type: wire.TypeMessage, Data: []byte{1, 2, 3}}),
		frames("half close", wire.Frame{Seq: 13, Stream: 8, Type: wire.TypeHalfClose}),
		frames("cancel", wire.Frame{Seq: 14, Stream: 9, Type: wire.TypeCancel}),
		frames("window", wire.Frame{Seq: 15, Stream: 10, Type: wire.TypeWindow, Limit: 262_144}),
		frames("end with every field", wire.Frame{Seq: 16, Stream: 11, Type: wire.TypeEnd, End: &wire.End{
			Status: 14, Message: "going down", Details: []byte{0x08, 0x0E}, Origin: wire.OriginBridge, Reason: "drained",
			Trailers: []wire.Metadatum{{Key: "a", Value: "1"}, {Key: "b-bin", Value: "\x02"}},
		}}),
		frames("orderly close", wire.Frame{Seq: 17, Type: wire.TypeClose, Close: &wire.Close{Code: wire.CodeDone, Message: "bye"}}),
		frames("text beyond ASCII", wire.Frame{Seq: 18, Stream: 12, Type: wire.TypeEnd, End: &wire.End{
			Status: 2, Message: "\ufeffGröße √2 世界 👩‍🚀 \U0010FFFF e\u0301 |\x00|\ufffd", Origin: wire.OriginBackend,
		}}),
		frames("frames of types to come",
			wire.Frame{Seq: 19, Stream: 13, Type: 9, Critical: true, Data: []byte{1}},
			wire.Frame{Seq: 20, Stream: 13, Type: 4095},
			wire.Frame{Seq: 21, Stream: 13, Type: math.MaxInt32},
			wire.Frame{Seq: 22, Stream: 13, Type: math.MaxUint32}),
		frames("frame without fields", wire.Frame{}),
		frames("three streams in turn",
			wire.Frame{Seq: 200, Stream: 1, Type: wire.TypeMessage, First: true, Length: 2, Data: []byte("a1")},
			wire.Frame{Seq: 201, Stream: 2, Type: wire.TypeMessage, First: true, Length: 2, Data: []byte("b1")},
			wire.Frame{Seq: 202, Stream: 300, Type: wire.TypeCancel},
			wire.Frame{Seq: 203, Stream: 1, Type: wire.TypeMessage, First: true, Length: 2, Data: []byte("a2")},
			wire.Frame{Seq: 204, Stream: 2, Type: wire.TypeHalfClose}),
	}
}

func frames(name string, frames ...wire.Frame) goodVector {
	return goodVector{name: name, batch: wire.Batch{Session: vectorID, X: 2, Incarnation: vectorIncarnation, Ack: 1, Frames: frames}}
}

func refusal(c wire.Close) wire.Batch {
	return wire.Batch{X: 9, Incarnation: vectorIncarnation, Close: &c}
}

type lenientVector struct {
	name string
	body []byte
}

// lenientVectors are bodies that no sender of ours writes and every receiver
// takes, as protobuf has it.
func lenientVectors() []lenientVector {
	group := cat(tag(103, protowire.StartGroupType), num(1, 2), tag(3, protowire.StartGroupType), tag(3, protowire.EndGroupType), tag(103, protowire.EndGroupType))
	unknown := cat(num(100, 1), protowire.AppendFixed32(tag(101, protowire.Fixed32Type), 2),
		protowire.AppendFixed64(tag(102, protowire.Fixed64Type), 3), group, bin(104, "four"), num(536_870_911, 5))
	return []lenientVector{
		{"unknown header fields", cat(num(2, 1), unknown, num(5, 2))},
		{"unknown fields in a message", cat(num(2, 1), bin(8, string(cat(unknown, bin(1, "r")))))},
		{"unknown fields in a frame", cat(bin(30, string(cat(num(1, 1), unknown, num(3, 4)))))},
		{"only unknown fields", unknown},
		{"known number, other wire type", cat(bin(2, "x"), num(1, 5), num(8, 6), protowire.AppendFixed32(tag(5, protowire.Fixed32Type), 7), num(30, 8), num(2, 9))},
		{"incarnation as a varint", num(4, 5)},
		{"fields in reverse", cat(bin(30, string(num(3, 5))), num(24, 1), num(5, 2), num(2, 1), bin(1, string(vectorID)))},
		{"the last number counts", cat(num(2, 1), num(2, 3), num(2, 2))},
		{"the last bytes count", cat(bin(1, "first"), bin(1, "last"))},
		{"the last bytes count when empty", cat(bin(1, "first"), bin(1, ""))},
		{"the last text counts", cat(bin(22, "first"), bin(22, "last"))},
		{"messages are merged", cat(bin(6, string(cat(num(1, 3), bin(2, "why")))), bin(6, string(cat(num(1, 4), num(4, 99)))))},
		{"messages of a frame are merged", bin(30, string(cat(num(3, 1),
			bin(5, string(cat(bin(1, "/a/b"), bin(2, string(bin(1, "k"))), num(3, 0)))),
			bin(5, string(cat(bin(2, string(bin(1, "l"))), num(4, 6)))))))},
		{"the last length counts", bin(30, string(cat(num(3, 3), num(8, 5), num(8, 0))))},
		{"zero values written out", cat(num(2, 0), bin(1, ""), num(15, 0), bin(22, ""), bin(30, string(num(1, 0))))},
		{"overlong varint", cat(tag(2, protowire.VarintType), []byte{0x85, 0x80, 0x80, 0x00})},
		{"overlong tag", []byte{0x90, 0x80, 0x00, 0x05}},
		{"overlong length", cat(tag(22, protowire.BytesType), []byte{0x82, 0x00}, []byte("ab"))},
		{"bool above 1", cat(num(15, 2), num(24, 1<<40))},
		{"32-bit numbers are cut", cat(num(13, 1<<32+5), bin(30, string(cat(num(3, 1<<32+4)))))},
		{"enum of five bytes", bin(30, string(num(3, math.MaxUint32)))},
		{"fields of another type", bin(30, string(cat(num(9, 3), bin(7, "data"), bin(6, ""), num(3, 4))))},
	}
}

func tag(n protowire.Number, kind protowire.Type) []byte { return protowire.AppendTag(nil, n, kind) }

// num is a varint field, bin a length-delimited one.
func num(n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(tag(n, protowire.VarintType), v)
}

func bin(n protowire.Number, v string) []byte {
	return protowire.AppendString(tag(n, protowire.BytesType), v)
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
