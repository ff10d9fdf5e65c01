package wire_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// The golden vectors are read by the Go and the TypeScript codec. Their format
// is described beside them.
const vectorDir = "../../testdata/vectors"

var update = flag.Bool("update", false, "write the golden vectors")

// vector is one entry of a vector file.
type vector struct {
	Name  string         `json:"name"`
	Hex   string         `json:"hex"`
	Wide  bool           `json:"wide,omitempty"`
	Batch map[string]any `json:"batch,omitzero"`
	Error string         `json:"error,omitempty"`
}

func TestVectorFiles(t *testing.T) {
	var good, lenient, bad []vector
	for _, v := range goodVectors() {
		src := wire.AppendBatch(nil, &v.batch)
		good = append(good, vector{Name: v.name, Hex: hex.EncodeToString(src), Wide: v.wide, Batch: decode(t, src)})
	}
	for _, v := range lenientVectors() {
		src := seal(v.body)
		lenient = append(lenient, vector{Name: v.name, Hex: hex.EncodeToString(src), Batch: decode(t, src)})
	}
	for _, v := range badVectors() {
		bad = append(bad, vector{Name: v.name, Hex: hex.EncodeToString(v.src), Error: v.err})
	}
	wantFile(t, "good.json", good)
	wantFile(t, "lenient.json", lenient)
	wantFile(t, "bad.json", bad)
}

// wantFile fails unless a vector file holds the vectors; with -update it
// writes it.
func wantFile(t *testing.T, name string, vectors []vector) {
	t.Helper()
	want, err := json.MarshalIndent(vectors, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	path := filepath.Join(vectorDir, name)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the test makes; write it with: go test ./internal/wire -run TestVectorFiles -update", path)
	}
}

func TestGoodVectors(t *testing.T) {
	for _, v := range readVectors(t, "good.json") {
		t.Run(v.Name, func(t *testing.T) {
			b := wantBatch(t, v)
			if got := hex.EncodeToString(wire.AppendBatch(nil, b)); got != v.Hex {
				t.Errorf("encoded:\n got %s\nwant %s", got, v.Hex)
			}
		})
	}
}

func TestLenientVectors(t *testing.T) {
	for _, v := range readVectors(t, "lenient.json") {
		t.Run(v.Name, func(t *testing.T) {
			b := wantBatch(t, v)
			if got := hex.EncodeToString(wire.AppendBatch(nil, b)); got == v.Hex {
				t.Error("the plain encoding: belongs into good.json")
			}
		})
	}
}

func TestBadVectors(t *testing.T) {
	kinds := map[string]error{"garbled": wire.ErrGarbled, "version": wire.ErrVersion}
	for _, v := range readVectors(t, "bad.json") {
		t.Run(v.Name, func(t *testing.T) {
			b := wire.Batch{X: 7, Frames: make([]wire.Frame, 3)}
			err := wire.ParseBatch(unhex(t, v.Hex), &b)
			if kinds[v.Error] == nil || !errors.Is(err, kinds[v.Error]) {
				t.Errorf("error %v, want %q", err, v.Error)
			}
			if b.X != 0 || len(b.Frames) != 0 {
				t.Errorf("batch not empty after an error: %+v", b)
			}
		})
	}
}

// wantBatch parses a vector and fails unless that gives the batch it states.
func wantBatch(t *testing.T, v vector) *wire.Batch {
	t.Helper()
	b := new(wire.Batch)
	if err := wire.ParseBatch(unhex(t, v.Hex), b); err != nil {
		t.Fatal(err)
	}
	if got := describe(toProto(b).ProtoReflect()); !reflect.DeepEqual(viaJSON(t, got), v.Batch) {
		t.Errorf("parsed:\n got %v\nwant %v", got, v.Batch)
	}
	return b
}

func readVectors(t *testing.T, name string) []vector {
	t.Helper()
	src, err := os.ReadFile(filepath.Join(vectorDir, name))
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(src, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return vectors
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func viaJSON(t *testing.T, v any) map[string]any {
	t.Helper()
	src, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(src, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// decode describes a batch as generated code reads it.
func decode(t *testing.T, src []byte) map[string]any {
	t.Helper()
	return describe(unmarshal(t, bodyOf(src)).ProtoReflect())
}

// describe gives a message the form that it has in vector files.
func describe(m protoreflect.Message) map[string]any {
	d := map[string]any{}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if !fd.IsList() {
			d[string(fd.Name())] = describeValue(fd, v)
			return true
		}
		list := []any{}
		for i := range v.List().Len() {
			list = append(list, describeValue(fd, v.List().Get(i)))
		}
		d[string(fd.Name())] = list
		return true
	})
	return d
}

func describeValue(fd protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		return describe(v.Message())
	case protoreflect.BytesKind:
		return hex.EncodeToString(v.Bytes())
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return strconv.FormatUint(v.Uint(), 10)
	case protoreflect.EnumKind:
		return uint32(v.Enum())
	default: // string, bool, uint32
		return v.Interface()
	}
}
