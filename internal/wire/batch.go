package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// MaxFrames is the most frames in one batch. A batch with more is garbled.
const MaxFrames = 4096

const (
	magic0, magic1  = 0xB1, 0xD6
	envelopeVersion = 1
	crcSize         = 4 // of the envelope, after it
)

var (
	// ErrGarbled is wrapped by the error for bytes that are no batch: the
	// envelope, its CRC or the body does not fit (W2, W6).
	ErrGarbled = errors.New("garbled")
	// ErrVersion is wrapped by the error for a batch, whole by length and CRC,
	// whose envelope has another version (W3).
	ErrVersion = errors.New("unknown envelope version")
)

// AppendBatch appends b in its envelope to dst and returns the longer slice.
// Strings must be UTF-8 and b.Frames at most MaxFrames; the peer refuses the
// batch otherwise.
func AppendBatch(dst []byte, b *Batch) []byte {
	var w Builder
	w.Begin(b)
	for i := range b.Frames {
		w.AppendFrame(&b.Frames[i])
	}
	for _, piece := range w.Finish() {
		dst = append(dst, piece...)
	}
	return dst
}

// ParseBatch reads the one batch, in its envelope, that src is. It sets all of
// b, whose Frames' capacity it uses again; slices in b alias src. For frames
// of the types Message, Window, HalfClose and Cancel, and a header without
// strings and messages, it allocates nothing but room in b.Frames.
//
// What generated protobuf code takes is taken, to the same values: unknown
// fields are skipped, the last of several values counts, several copies of a
// message are merged. An unknown frame type is kept for the receiver to apply
// W3. Open, Headers, End and Close of a frame are set if its Type names them.
//
// The error wraps ErrGarbled or ErrVersion and says what was seen; b is then
// empty.
func ParseBatch(src []byte, b *Batch) error {
	clear(b.Frames) // so that a batch used again keeps no earlier src alive
	*b = Batch{Frames: b.Frames[:0]}
	body, err := open(src)
	if err != nil {
		return err
	}
	if err := parseBody(body, b); err != nil {
		*b = Batch{Frames: b.Frames[:0]}
		return fmt.Errorf("%w: body: %w", ErrGarbled, err)
	}
	return nil
}

// open checks the envelope and returns the body. Length and CRC come before
// version and flags: a flipped bit is no other version.
func open(src []byte) ([]byte, error) {
	if len(src) == 0 {
		return nil, fmt.Errorf("%w: empty", ErrGarbled)
	}
	if !IsBatch(src) {
		return nil, fmt.Errorf("%w: not a batch: %d bytes beginning %q", ErrGarbled, len(src), src[:min(len(src), 24)])
	}
	if len(src) < EnvelopeSize {
		return nil, fmt.Errorf("%w: truncated: %d of at least %d bytes", ErrGarbled, len(src), EnvelopeSize)
	}
	size := sizeOf(src)
	if int64(len(src)) < size {
		return nil, fmt.Errorf("%w: truncated: %d of %d bytes", ErrGarbled, len(src), size)
	}
	if int64(len(src)) > size {
		return nil, fmt.Errorf("%w: %d bytes after a batch of %d", ErrGarbled, int64(len(src))-size, size)
	}
	sealed := src[:len(src)-crcSize]
	if binary.BigEndian.Uint32(src[len(sealed):]) != checksum(0, sealed) {
		return nil, fmt.Errorf("%w: bad checksum of %d bytes", ErrGarbled, len(src))
	}
	if v := src[2]; v != envelopeVersion {
		return nil, fmt.Errorf("%w: %d, not %d", ErrVersion, v, envelopeVersion)
	}
	if flags := src[3]; flags != 0 {
		return nil, fmt.Errorf("%w: unknown flags %#02x", ErrGarbled, flags)
	}
	return sealed[HeadSize:], nil
}

// BatchSize returns how many bytes the batch has, envelope included, that begins
// with head. It reports whether that begins as a batch does: by its first
// HeadSize bytes, more of it is not looked at.
func BatchSize(head []byte) (size int64, ok bool) {
	if len(head) < HeadSize || !IsBatch(head) {
		return 0, false
	}
	return sizeOf(head), true
}

// IsBatch reports whether b begins as a batch does, as far as it goes: it may be cut
// or changed after that. What is empty does not.
func IsBatch(b []byte) bool {
	return len(b) > 0 && b[0] == magic0 && (len(b) == 1 || b[1] == magic1)
}

func sizeOf(head []byte) int64 { return EnvelopeSize + int64(binary.BigEndian.Uint32(head[4:])) }

// checksum returns the CRC of what has the CRC sum, and b after it.
func checksum(sum uint32, b []byte) uint32 {
	return crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), b)
}

// HeaderSize is the exact size of a batch with the header fields of b and no
// frame, envelope included. Each frame adds its FrameSize.
func HeaderSize(b *Batch) int { return EnvelopeSize + sizeHeader(b) }

// FrameSize is the exact number of bytes that f adds to a batch.
func FrameSize(f *Frame) int { return sizePrefixed(tagBatchFrames, sizeFrame(f)) }

// Builder builds one batch frame by frame: Begin, any number of AppendFrame,
// Finish; then Begin again, which uses its memory again. The zero Builder is ready
// for Begin.
type Builder struct {
	buf    []byte // all but what is in refs
	refs   []ref
	size   int // of the batch without its CRC
	pieces [][]byte
}

// ref is a long message's bytes, which stand between the first at bytes of buf and
// the rest.
type ref struct {
	at   int
	data []byte
}

// byReference is the length from which a frame's bytes are worth a piece of their
// own: shorter ones are copied sooner than one more piece is written.
const byReference = 2 << 10

// Begin starts a batch with the header fields of header, whose Frames are ignored.
func (w *Builder) Begin(header *Batch) {
	w.Reset()
	w.buf = append(w.buf, magic0, magic1, envelopeVersion, 0, 0, 0, 0, 0)
	w.buf = appendHeader(w.buf, header)
	w.size = len(w.buf)
}

// AppendFrame adds f; Len grows by FrameSize(f). A batch takes MaxFrames. It reports
// whether the batch refers to the bytes of f.Data from now on; else they were copied.
func (w *Builder) AppendFrame(f *Frame) (refers bool) {
	size := sizeFrame(f)
	w.size += sizePrefixed(tagBatchFrames, size)
	w.buf = appendPrefix(w.buf, tagBatchFrames, size)
	w.buf = appendFrameHead(w.buf, f)
	if refers = len(f.Data) >= byReference; refers {
		w.buf = appendPrefix(w.buf, tagFrameData, len(f.Data))
		w.refs = append(w.refs, ref{len(w.buf), f.Data})
	} else {
		w.buf = appendBytes(w.buf, tagFrameData, f.Data)
	}
	w.buf = appendFrameTail(w.buf, f)
	return refers
}

// Len is the size that the batch has if finished now, envelope included.
func (w *Builder) Len() int { return w.size + crcSize }

// Finish ends the batch and returns it in pieces, which go one after the other. They
// are valid until Begin or Reset, as far as the frames' own bytes are.
func (w *Builder) Finish() [][]byte {
	binary.BigEndian.PutUint32(w.buf[4:], uint32(w.size-HeadSize))
	sum, from := uint32(0), 0
	w.buf = append(w.buf, 0, 0, 0, 0) // the CRC's place: buf must not move any more
	for _, r := range w.refs {
		own := w.buf[from:r.at]
		w.pieces = append(w.pieces, own, r.data)
		sum = checksum(checksum(sum, own), r.data)
		from = r.at
	}
	last := w.buf[from:]
	sealed := len(last) - crcSize
	binary.BigEndian.PutUint32(last[sealed:], checksum(sum, last[:sealed]))
	w.pieces = append(w.pieces, last)
	return w.pieces
}

// Reset lets go of the batch, but not of the memory that the next one can use.
func (w *Builder) Reset() {
	clear(w.refs)
	clear(w.pieces)
	*w = Builder{buf: w.buf[:0], refs: w.refs[:0], pieces: w.pieces[:0]}
}

// Cap is how many bytes of memory the next batch can use without more.
func (w *Builder) Cap() int { return cap(w.buf) }
