package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// hotBatch is what most batches are: a short header and n messages of size
// bytes.
func hotBatch(n, size int) *wire.Batch {
	b := &wire.Batch{Session: vectorID, X: 1000, Key: vectorKey, Incarnation: vectorIncarnation, Ack: 100_000, NowMicros: 1 << 33, Awaiting: 999}
	data := bytes.Repeat([]byte{0xA5}, size)
	for i := range n {
		b.Frames = append(b.Frames, wire.Frame{
			Seq: uint64(100_000 + i), Stream: uint64(i), Type: wire.TypeMessage, First: true, Length: uint64(size), Data: data,
		})
	}
	return b
}

func TestParseErrors(t *testing.T) {
	plain := plainBatch()
	for _, c := range []struct {
		src  []byte
		kind error
		want string
	}{
		{nil, wire.ErrGarbled, "garbled: empty"},
		{[]byte("<html><body>Please log in</body>"), wire.ErrGarbled, `garbled: not a batch: 32 bytes beginning "<html><body>Please log i"`},
		{plain[:5], wire.ErrGarbled, "garbled: truncated: 5 of at least 12 bytes"},
		{plain[:30], wire.ErrGarbled, fmt.Sprintf("garbled: truncated: 30 of %d bytes", len(plain))},
		{append(bytes.Clone(plain), 1, 2), wire.ErrGarbled, fmt.Sprintf("garbled: 2 bytes after a batch of %d", len(plain))},
		{flip(plain, 20), wire.ErrGarbled, fmt.Sprintf("garbled: bad checksum of %d bytes", len(plain))},
		{reseal(plain, 3, 4), wire.ErrGarbled, "garbled: unknown flags 0x04"},
		{reseal(plain, 2, 9), wire.ErrVersion, "unknown envelope version: 9, not 1"},
		{seal(bin(22, "\xff")), wire.ErrGarbled, "garbled: body: field 22: invalid UTF-8"},
		{seal(cat(frameBody(5, nil), frameBody(7, bin(10, string(bin(6, "\xff")))))), wire.ErrGarbled, "garbled: body: frame 1: field 6: invalid UTF-8"},
		{seal(frameBody(1, nil)), wire.ErrGarbled, "garbled: body: frame 0: OPEN without open"},
		{seal([]byte{0x10}), wire.ErrGarbled, "garbled: body: field 2: unexpected EOF"},
	} {
		var b wire.Batch
		err := wire.ParseBatch(c.src, &b)
		if !errors.Is(err, c.kind) || err.Error() != c.want {
			t.Errorf("%x\n got %v\nwant %s", c.src, err, c.want)
		}
	}
}

func TestMostFrames(t *testing.T) {
	src := wire.AppendBatch(nil, &wire.Batch{Frames: make([]wire.Frame, wire.MaxFrames)})
	var b wire.Batch
	if err := wire.ParseBatch(src, &b); err != nil || len(b.Frames) != wire.MaxFrames {
		t.Errorf("%d frames, %v", len(b.Frames), err)
	}
}

func TestParseSetsAll(t *testing.T) {
	full, empty := wire.AppendBatch(nil, hotBatch(2, 1)), wire.AppendBatch(nil, &wire.Batch{Frames: make([]wire.Frame, 1)})
	var b wire.Batch
	for _, src := range [][]byte{full, empty} {
		if err := wire.ParseBatch(src, &b); err != nil {
			t.Fatal(err)
		}
	}
	if got := wire.AppendBatch(nil, &b); !bytes.Equal(got, empty) {
		t.Errorf("an earlier batch shows through: %+v", b)
	}
}

func TestParsedBytesAlias(t *testing.T) {
	src := wire.AppendBatch(nil, hotBatch(2, 4))
	whole := bytes.Clone(src)
	var b wire.Batch
	if err := wire.ParseBatch(src, &b); err != nil {
		t.Fatal(err)
	}
	_ = append(b.Frames[0].Data, "must not overwrite what follows"...)
	if !bytes.Equal(src, whole) {
		t.Error("appending to parsed bytes changed the batch")
	}
	b.Frames[1].Data[0]++
	if bytes.Equal(src, whole) {
		t.Error("parsed bytes are a copy")
	}
}

func TestBuilder(t *testing.T) {
	for _, v := range goodVectors() {
		t.Run(v.name, func(t *testing.T) {
			var w wire.Builder
			w.Begin(&v.batch)
			if got, want := w.Len(), wire.HeaderSize(&v.batch); got != want {
				t.Errorf("Len %d after Begin, HeaderSize %d", got, want)
			}
			for i := range v.batch.Frames {
				f := &v.batch.Frames[i]
				was := w.Len()
				w.AppendFrame(f)
				if got, want := w.Len()-was, wire.FrameSize(f); got != want {
					t.Errorf("frame %d added %d bytes, FrameSize %d", i, got, want)
				}
			}
			size := w.Len()
			got := bytes.Join(w.Finish(), nil)
			if want := wire.AppendBatch(nil, &v.batch); !bytes.Equal(got, want) {
				t.Errorf("built:\n got %x\nwant %x", got, want)
			}
			if len(got) != size || w.Len() != size {
				t.Errorf("%d bytes, Len said %d, and says %d", len(got), size, w.Len())
			}
		})
	}
}

func TestAllocations(t *testing.T) {
	batch := hotBatch(16, 512)
	batch.Frames = append(batch.Frames,
		wire.Frame{Seq: 1, Stream: 2, Type: wire.TypeHalfClose},
		wire.Frame{Seq: 2, Stream: 2, Type: wire.TypeCancel},
		wire.Frame{Seq: 3, Stream: 2, Type: wire.TypeWindow, Limit: 1 << 20})
	src := wire.AppendBatch(nil, batch)
	var w wire.Builder
	var b wire.Batch
	for name, f := range map[string]func(){
		"Builder": func() {
			w.Begin(batch)
			for i := range batch.Frames {
				w.AppendFrame(&batch.Frames[i])
			}
			w.Finish()
		},
		"ParseBatch": func() {
			if err := wire.ParseBatch(src, &b); err != nil {
				t.Error(err)
			}
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkParse16x512(b *testing.B) {
	src := wire.AppendBatch(nil, hotBatch(16, 512))
	var batch wire.Batch
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		if err := wire.ParseBatch(src, &batch); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBuild16x512(b *testing.B) {
	batch := hotBatch(16, 512)
	b.SetBytes(int64(len(wire.AppendBatch(nil, batch))))
	b.ReportAllocs()
	var w wire.Builder
	for b.Loop() {
		w.Begin(batch)
		for i := range batch.Frames {
			w.AppendFrame(&batch.Frames[i])
		}
		w.Finish()
	}
}
