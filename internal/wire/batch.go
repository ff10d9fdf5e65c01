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
	w.Begin(dst, b)
	for i := range b.Frames {
		w.AppendFrame(&b.Frames[i])
	}
	return w.Finish()
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
	if src[0] != magic0 || len(src) > 1 && src[1] != magic1 {
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
	if binary.BigEndian.Uint32(src[len(sealed):]) != checksum(sealed) {
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
	if len(head) < HeadSize || head[0] != magic0 || head[1] != magic1 {
		return 0, false
	}
	return sizeOf(head), true
}

func sizeOf(head []byte) int64 { return EnvelopeSize + int64(binary.BigEndian.Uint32(head[4:])) }

func checksum(b []byte) uint32 {
	return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
}

// HeaderSize is the exact size of a batch with the header fields of b and no
// frame, envelope included. Each frame adds its FrameSize.
func HeaderSize(b *Batch) int { return EnvelopeSize + sizeHeader(b) }

// FrameSize is the exact number of bytes that f adds to a batch.
func FrameSize(f *Frame) int { return sizePrefixed(tagBatchFrames, sizeFrame(f)) }

// Builder builds one batch frame by frame: Begin, any number of AppendFrame,
// Finish; then Begin again. The zero Builder is ready for Begin. It allocates
// only to lengthen the slice given to Begin, which it owns until Finish.
type Builder struct {
	buf   []byte
	start int // where the batch begins in buf
}

// Begin starts a batch behind dst with the header fields of header, whose
// Frames are ignored.
func (w *Builder) Begin(dst []byte, header *Batch) {
	w.start = len(dst)
	dst = append(dst, magic0, magic1, envelopeVersion, 0, 0, 0, 0, 0)
	w.buf = appendHeader(dst, header)
}

// AppendFrame adds f; Len grows by FrameSize(f). A batch takes MaxFrames.
func (w *Builder) AppendFrame(f *Frame) {
	w.buf = appendPrefix(w.buf, tagBatchFrames, sizeFrame(f))
	w.buf = appendFrame(w.buf, f)
}

// Len is the size that the batch has if finished now, envelope included.
func (w *Builder) Len() int { return len(w.buf) - w.start + crcSize }

// Finish ends the batch and returns the slice given to Begin with the batch
// appended. The Builder keeps no reference to it.
func (w *Builder) Finish() []byte {
	body := w.buf[w.start+HeadSize:]
	binary.BigEndian.PutUint32(w.buf[w.start+4:], uint32(len(body)))
	dst := binary.BigEndian.AppendUint32(w.buf, checksum(w.buf[w.start:]))
	*w = Builder{}
	return dst
}
