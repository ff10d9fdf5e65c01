package wire_test

import (
	"fmt"
	"testing"

	"github.com/pollbridge/pollbridge/internal/wire/wirepb"
)

// TestFrozenFields holds what rule W2 freezes for ever.
func TestFrozenFields(t *testing.T) {
	for number, want := range map[int]string{
		1: "session bytes", 2: "x uint64", 3: "key bytes", 4: "incarnation fixed64",
		5: "ack uint64", 6: "close message Close", 7: "versions message Versions",
	} {
		fields := new(wirepb.Batch).ProtoReflect().Descriptor().Fields()
		field := fields.Get(number - 1)
		got := fmt.Sprintf("%s %s", field.Name(), field.Kind())
		if m := field.Message(); m != nil {
			got += " " + string(m.Name())
		}
		if int(field.Number()) != number || got != want {
			t.Errorf("field %d is %s = %d, want %s", number, got, field.Number(), want)
		}
	}
}
