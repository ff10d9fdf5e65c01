package wire

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// reader walks the fields of one encoded message.
type reader struct {
	rest  []byte // what is still to be read
	err   error  // ends the walk
	tag   uint64 // of the present field
	num   uint64 // its value, when a varint or fixed64
	bytes []byte // its value, when length-delimited; nil when empty
}

// next reads one field. It returns false at the end and once err is set.
func (r *reader) next() bool {
	if r.err != nil || len(r.rest) == 0 {
		return false
	}
	n := 0
	if r.tag, n = protowire.ConsumeVarint(r.rest); n < 0 {
		return r.fail(protowire.ParseError(n))
	}
	r.rest = r.rest[n:]
	if number := r.tag >> 3; number < uint64(protowire.MinValidNumber) || number > uint64(protowire.MaxValidNumber) {
		return r.fail(errors.New("no such field number"))
	}
	switch r.tag & 7 {
	case varint:
		r.num, n = protowire.ConsumeVarint(r.rest)
	case fixed64:
		r.num, n = protowire.ConsumeFixed64(r.rest)
	case length:
		r.bytes, n = protowire.ConsumeBytes(r.rest)
		r.bytes = r.bytes[:len(r.bytes):len(r.bytes)]
	default:
		n = protowire.ConsumeFieldValue(protowire.Number(r.tag>>3), protowire.Type(r.tag&7), r.rest)
	}
	if n < 0 {
		return r.fail(protowire.ParseError(n))
	}
	r.rest = r.rest[n:]
	return true
}

// text is the value of a string field, which must be UTF-8.
func (r *reader) text() string {
	if !utf8.Valid(r.bytes) {
		r.fail(errors.New("invalid UTF-8"))
		return ""
	}
	return string(r.bytes)
}

// key is text for a metadata key. Those that nearly every RPC has take no
// memory.
func (r *reader) key() string {
	switch string(r.bytes) {
	case "content-type":
		return "content-type"
	case "user-agent":
		return "user-agent"
	case "authorization":
		return "authorization"
	}
	return r.text()
}

func (r *reader) fail(err error) bool {
	r.err = fmt.Errorf("field %d: %w", r.tag>>3, err)
	return false
}
