package wire_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/pollbridge/pollbridge/internal/wire"
)

type badVector struct {
	name string
	src  []byte
	err  string // "garbled" or "version"
}

// badVectors are bytes that are no batch, or none that we can read.
func badVectors() []badVector {
	return slices.Concat(foreignVectors(), envelopeVectors(), bodyVectors())
}

// foreignVectors are what middleboxes and mistakes put in a batch's place.
func foreignVectors() []badVector {
	plain := plainBatch()
	return []badVector{
		{"no bytes", nil, "garbled"},
		{"HTML", []byte("<!DOCTYPE html><title>Log in</title>"), "garbled"},
		{"JSON", []byte(`{"error":"bad gateway"}`), "garbled"},
		{"twelve zero bytes", make([]byte, 12), "garbled"},
		{"base64 of a batch", []byte(base64.StdEncoding.EncodeToString(plain)), "garbled"},
		{"gzip magic", cat([]byte{0x1F, 0x8B, 8, 0}, plain), "garbled"},
		{"magic swapped", reseal(plain, 0, 0xD6, 0xB1), "garbled"},
		{"magic half", reseal(plain, 1, 0xD7), "garbled"},
		{"byte before", cat([]byte{'\n'}, plain), "garbled"},
		{"byte after", cat(plain, []byte{'\n'}), "garbled"},
		{"two batches", cat(plain, plain), "garbled"},
		{"read as UTF-8 and written again", []byte(string([]rune(string(plain)))), "garbled"},
	}
}

// envelopeVectors are batches with a fault in the envelope.
func envelopeVectors() []badVector {
	plain := plainBatch()
	sealed := plain[:len(plain)-4]
	return []badVector{
		{"one byte", plain[:1], "garbled"},
		{"magic only", plain[:2], "garbled"},
		{"cut in the envelope", plain[:7], "garbled"},
		{"cut before the body", plain[:8], "garbled"},
		{"cut in the body", plain[:20], "garbled"},
		{"cut before the CRC", sealed, "garbled"},
		{"cut in the CRC", plain[:len(plain)-1], "garbled"},
		{"bit flipped in the version", flip(plain, 2), "garbled"},
		{"bit flipped in the flags", flip(plain, 3), "garbled"},
		{"bit flipped in the length", flip(plain, 7), "garbled"},
		{"bit flipped in the body", flip(plain, 15), "garbled"},
		{"bit flipped in the CRC", flip(plain, len(plain)-1), "garbled"},
		{"length one short", reseal(plain, 7, plain[7]-1), "garbled"},
		{"length of 4 GiB", reseal(plain, 4, 0xFF, 0xFF, 0xFF, 0xFF), "garbled"},
		{"CRC little-endian", binary.LittleEndian.AppendUint32(slices.Clone(sealed), crc32.Checksum(sealed, crc32.MakeTable(crc32.Castagnoli))), "garbled"},
		{"CRC-32 of another polynomial", binary.BigEndian.AppendUint32(slices.Clone(sealed), crc32.ChecksumIEEE(sealed)), "garbled"},
		{"flag 1", reseal(plain, 3, 1), "garbled"},
		{"flag 128", reseal(plain, 3, 128), "garbled"},
		{"version 0", reseal(plain, 2, 0), "version"},
		{"version 2", reseal(plain, 2, 2), "version"},
		{"version 255 with flags", reseal(plain, 2, 255, 255), "version"},
		{"version 2 with another body", reseal(seal([]byte{0xFF}), 2, 2), "version"},
		{"version 2 cut", reseal(plain, 2, 2)[:len(plain)-2], "garbled"},
	}
}

// bodyVectors are batches with a fault in the body.
func bodyVectors() []badVector {
	bodies := []struct {
		name string
		body []byte
	}{
		{"body: HTML", []byte("<html></html>")},
		{"body: tag cut", []byte{0x90}},
		{"body: value missing", []byte{0x10}},
		{"body: varint cut", []byte{0x10, 0x80}},
		{"body: varint of eleven bytes", cat([]byte{0x10}, bytes.Repeat([]byte{0x80}, 10), []byte{0})},
		{"body: varint above 64 bits", cat([]byte{0x10}, bytes.Repeat([]byte{0xFF}, 9), []byte{2})},
		{"body: fixed64 cut", cat(tag(4, protowire.Fixed64Type), make([]byte, 7))},
		{"body: length past the end", []byte{0x0A, 2, 'a'}},
		{"body: length above 63 bits", cat([]byte{0x0A}, bytes.Repeat([]byte{0xFF}, 9), []byte{1})},
		{"body: field number 0", []byte{0x00, 0x00}},
		{"body: field number 2^29", protowire.AppendVarint(protowire.AppendVarint(nil, 1<<32), 0)},
		{"body: wire type 6", []byte{0x16, 0x00}},
		{"body: wire type 7", []byte{0x17, 0x00}},
		{"body: group not ended", tag(100, protowire.StartGroupType)},
		{"body: group not begun", tag(100, protowire.EndGroupType)},
		{"body: group ended as another", cat(tag(100, protowire.StartGroupType), tag(101, protowire.EndGroupType))},
		{"body: fixed32 cut", cat(tag(100, protowire.Fixed32Type), make([]byte, 3))},
		{"body: token not UTF-8", bin(22, "\xff")},
		{"body: token with half a character", bin(22, "\xe4\xb8")},
		{"body: token with a surrogate", bin(22, "\xed\xa0\x80")},
		{"body: token with an overlong character", bin(22, "\xc0\xaf")},
		{"body: token beyond Unicode", bin(22, "\xf4\x90\x80\x80")},
		{"body: text not UTF-8, another after it", cat(bin(22, "\xff"), bin(22, "a"))},
		{"body: hello cut", bin(8, "\x0a\x05abc")},
		{"body: release not UTF-8", bin(9, string(bin(2, "\x80")))},
		{"body: message of close not UTF-8", bin(6, string(bin(2, "\xfe")))},
		{"frame: cut", bin(30, "\x08")},
		{"frame: method not UTF-8", frameBody(1, bin(5, string(bin(1, "/a/\xff"))))},
		{"frame: metadata key not UTF-8", frameBody(2, bin(6, string(bin(1, string(bin(1, "\xff"))))))},
		{"frame: metadatum cut", frameBody(2, bin(6, string(bin(1, "\x12\x03ab"))))},
		{"frame: reason not UTF-8", frameBody(7, bin(10, string(bin(6, "\xff"))))},
		{"frame: OPEN without open", frameBody(1, nil)},
		{"frame: HEADERS without headers", frameBody(2, bin(7, "data"))},
		{"frame: END without end", frameBody(7, nil)},
		{"frame: CLOSE without close", frameBody(8, nil)},
		{"frames: 4097", bytes.Repeat([]byte{0xF2, 0x01, 0x00}, wire.MaxFrames+1)},
	}
	var vectors []badVector
	for _, b := range bodies {
		vectors = append(vectors, badVector{b.name, seal(b.body), "garbled"})
	}
	return vectors
}

func plainBatch() []byte {
	return wire.AppendBatch(nil, &wire.Batch{Session: vectorID, X: 1, Key: vectorKey, Hello: &wire.Hello{Release: "r"}})
}

// frameBody is a body with one frame of a type and further fields.
func frameBody(kind uint64, fields []byte) []byte {
	return bin(30, string(cat(num(3, kind), fields)))
}

// reseal changes bytes of a batch and gives it the CRC that then fits.
func reseal(batch []byte, at int, change ...byte) []byte {
	b := slices.Clone(batch[:len(batch)-4])
	copy(b[at:], change)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// flip changes one bit of a batch.
func flip(batch []byte, at int) []byte {
	b := slices.Clone(batch)
	b[at] ^= 1 << (at % 8)
	return b
}
