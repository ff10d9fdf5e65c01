package wire_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/internal/wire"
)

func TestSession(t *testing.T) {
	for _, c := range []struct {
		id  []byte
		sid string
	}{
		{make([]byte, wire.IDSize), "AAAAAAAAAAAAAAAAAAAAAA"},
		{vectorID, "AAECAwQFBgcICQoLDA0ODw"},
		{bytes.Repeat([]byte{0xFF}, wire.IDSize), "_____________________w"},
		{append(bytes.Repeat([]byte{0xFB, 0xEF, 0xBE}, 5), 0xFB), strings.Repeat("-", 21) + "w"},
	} {
		if got := wire.EncodeSession(c.id); got != c.sid {
			t.Errorf("EncodeSession(%x) = %q, want %q", c.id, got, c.sid)
		}
		if got, err := wire.ParseSession(c.sid); err != nil || !bytes.Equal(got[:], c.id) {
			t.Errorf("ParseSession(%q) = %x, %v", c.sid, got, err)
		}
	}
}

func TestParseSessionRefuses(t *testing.T) {
	const good = "AAECAwQFBgcICQoLDA0ODw"
	for name, sid := range map[string]string{
		"empty":             "",
		"short":             good[:21],
		"long":              good + "A",
		"padded":            good + "==",
		"padding inside":    good[:20] + "==",
		"standard alphabet": "+" + good[1:],
		"slash":             "/" + good[1:],
		"newline":           good[:10] + "\n" + good[11:],
		"carriage returns":  strings.Repeat("\r\n", 11),
		"second spelling":   good[:21] + "x",
		"not ASCII":         "é" + good[2:],
		"a route behind it": good + ".eu",
	} {
		if id, err := wire.ParseSession(sid); err == nil || id != [wire.IDSize]byte{} {
			t.Errorf("%s: ParseSession(%q) = %x, %v", name, sid, id, err)
		}
	}
}

func FuzzParseSession(f *testing.F) {
	f.Add("AAECAwQFBgcICQoLDA0ODw")
	f.Add("_____________________w")
	f.Add("AAECAwQFBgcICQoLDA0ODx")
	f.Add("AAECAwQFBg\nICQoLDA0ODw")
	f.Fuzz(func(t *testing.T, sid string) {
		id, err := wire.ParseSession(sid)
		if err == nil && wire.EncodeSession(id[:]) != sid {
			t.Errorf("%q is a second spelling of %x", sid, id)
		}
	})
}
