package backend

import "encoding/binary"

// HTTP/2 (RFC 9113): sections 4.1, 6 and 3.4.
const (
	frameHeaderSize  = 9
	updateSize       = frameHeaderSize + 4
	typeIndex        = 3
	flagsIndex       = 4
	streamIndex      = 5
	typeData         = 0x0
	typeHeaders      = 0x1
	typeResetStream  = 0x3
	typeSettings     = 0x4
	typeWindowUpdate = 0x8
	typeContinuation = 0x9
	flagEndStream    = 0x1
	flagEndHeaders   = 0x4
	prefaceSize      = 24
)

// frameHeader is the head of an HTTP/2 frame.
type frameHeader []byte

func (h frameHeader) length() int { return int(binary.BigEndian.Uint32(h) >> 8) }
func (h frameHeader) kind() byte  { return h[typeIndex] }
func (h frameHeader) ends() bool  { return h[flagsIndex]&flagEndStream != 0 }

// opens reports whether only a CONTINUATION may follow.
func (h frameHeader) opens() bool {
	return (h.kind() == typeHeaders || h.kind() == typeContinuation) && h[flagsIndex]&flagEndHeaders == 0
}

func (h frameHeader) stream() uint32 { return binary.BigEndian.Uint32(h[streamIndex:]) & (1<<31 - 1) }

// frames follows the frames of a stream of bytes.
type frames struct {
	head [frameHeaderSize]byte
	have int // bytes of head
	left int // bytes to come of the frame
}

// follow calls each with the header of each frame that begins in p, or before it.
func (f *frames) follow(p []byte, each func(frameHeader)) {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, len(p))
			f.left -= n
			p = p[n:]
			continue
		}
		n := copy(f.head[f.have:], p)
		p = p[n:]
		if f.have += n; f.have < frameHeaderSize {
			return
		}
		f.have = 0
		f.left = frameHeader(f.head[:]).length()
		each(f.head[:])
	}
}
