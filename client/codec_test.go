package client

import (
	"bytes"
	"testing"

	"google.golang.org/grpc/mem"

	"github.com/pollbridge/pollbridge/internal/engine"
)

// keeping is a codec that keeps what it unmarshals, by a reference of its own.
type keeping struct{ codec }

func (keeping) Unmarshal(data mem.BufferSlice, v any) error {
	data.Ref()
	*v.(*mem.BufferSlice) = data
	return nil
}

// A message is whole whatever its pieces, and its memory is used again only once the
// codec has let go of it.
func TestDecode(t *testing.T) {
	var kept []mem.BufferSlice
	var want [][]byte
	for n, pieces := range [][]int{{}, {5}, {5, 6}, {16 << 10, 16 << 10, 1}, {2 << 20, 1}, {3000, 5}, {16 << 10, 9}} {
		m := engine.Message{}
		for i, length := range pieces {
			m.Pieces = append(m.Pieces, bytes.Repeat([]byte{byte(16*n + i)}, length))
		}
		var got mem.BufferSlice
		if err := decode(keeping{}, m, &got, 4<<20); err != nil {
			t.Fatal(err)
		}
		kept, want = append(kept, got), append(want, bytes.Join(m.Pieces, nil))
	}
	for i := range kept {
		if len(kept[i]) != 1 || !bytes.Equal(kept[i].Materialize(), want[i]) {
			t.Errorf("message %d: %d pieces of %d bytes, or others than %d", i, len(kept[i]), kept[i].Len(), len(want[i]))
		}
		kept[i].Free()
	}
}
