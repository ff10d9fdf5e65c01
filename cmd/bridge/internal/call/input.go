package call

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// Message is one message in JSON, and where it came from.
type Message struct {
	Source string
	JSON   json.RawMessage
}

// Messages yields messages as they are read. An error is the last element.
type Messages = iter.Seq2[Message, error]

// Read yields the messages in texts, in order. Each text is JSON, "@FILE" or "-"
// for standard input, and each source may hold several messages, one after the
// other.
func Read(texts []string, stdin io.Reader) Messages {
	return func(yield func(Message, error) bool) {
		for _, text := range texts {
			if !readOne(text, stdin, yield) {
				return
			}
		}
	}
}

func readOne(text string, stdin io.Reader, yield func(Message, error) bool) bool {
	source, in := fmt.Sprintf("-d %q", text), io.Reader(strings.NewReader(text))
	switch name, isFile := strings.CutPrefix(text, "@"); {
	case text == "-":
		source, in = "standard input", stdin
	case isFile:
		f, err := os.Open(name)
		if err != nil {
			yield(Message{}, &InputError{err})
			return false
		}
		defer f.Close()
		source, in = name, f
	}
	decoder := json.NewDecoder(in)
	for n := 1; ; n++ {
		at := source
		if n > 1 {
			at = fmt.Sprintf("%s, message %d", source, n)
		}
		var m Message
		err := decoder.Decode(&m.JSON)
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil {
			yield(Message{}, inputErrorf("%s is not JSON: %w", at, err))
			return false
		}
		m.Source = at
		if !yield(m, nil) {
			return false
		}
	}
}

// ParseMetadata reads entries of the form "key: value". The value of a key
// that ends in -bin is base64.
func ParseMetadata(entries []string) (metadata.MD, error) {
	md := metadata.MD{}
	for _, entry := range entries {
		key, value, ok := strings.Cut(entry, ":")
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		if !ok || key == "" {
			return nil, inputErrorf("%q is not metadata, want key: value", entry)
		}
		if strings.HasSuffix(key, "-bin") {
			raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
			if err != nil {
				return nil, inputErrorf("%q is not base64, want base64 as the value of a key in -bin", entry)
			}
			value = string(raw)
		}
		md.Append(key, value)
	}
	return md, nil
}

func encodeBinary(value string) string { return base64.StdEncoding.EncodeToString([]byte(value)) }

// CodeName returns a status code's name as gRPC's specification spells it.
func CodeName(c codes.Code) string {
	if name, ok := code.Code_name[int32(c)]; ok {
		return name
	}
	return fmt.Sprintf("CODE_%d", c)
}
