package bridge

import (
	"strings"

	"google.golang.org/grpc/metadata"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// hopKeys are HTTP's own headers. They describe one hop or what only a browser
// may say, so they never become metadata: a content-length, for one, would
// contradict the length of the request that the backend gets.
var hopKeys = map[string]bool{
	"accept-encoding":   true,
	"connection":        true,
	"content-length":    true,
	"content-type":      true,
	"cookie":            true,
	"host":              true,
	"http2-settings":    true,
	"keep-alive":        true,
	"origin":            true,
	"te":                true,
	"trailer":           true,
	"transfer-encoding": true,
	"upgrade":           true,
}

// userAgent is how the client's user-agent reaches the backend, as in gRPC-Web:
// the header of that name is the channel's in gRPC, so it tells the bridge's.
const userAgent = "x-user-agent"

// forwardedKey is the key under which a header of the browser's request goes
// to the backend.
func forwardedKey(header string) string {
	key := strings.ToLower(header)
	if key == "user-agent" {
		return userAgent
	}
	return key
}

// droppedKey tells whether metadata of this key is left out of what the
// backend gets: hopKeys and their families, and gRPC's own headers, which a
// client must not forge. The two tracing keys are gRPC's by name only.
func droppedKey(key string) bool {
	switch {
	case key == "grpc-trace-bin" || key == "grpc-tags-bin":
		return false
	case strings.HasPrefix(key, ":"), strings.HasPrefix(key, "grpc-"):
		return true
	case strings.HasPrefix(key, "proxy-"), strings.HasPrefix(key, "sec-"):
		return true
	}
	return hopKeys[key]
}

// forwardable reports whether the bridge itself may set metadata of this key, in
// whatever case.
func forwardable(key string) bool {
	key = strings.ToLower(key)
	return validKey(key) && (!droppedKey(key) || key == "cookie" || key == "origin")
}

// validKey tells whether gRPC allows the key.
func validKey(key string) bool {
	for _, c := range []byte(key) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return key != ""
}

// requestMetadata turns what an Open frame carries into gRPC metadata. Keys
// are taken in lower case, as gRPC does; one user agent goes, the caller's
// x-user-agent before the client's own user-agent. What gRPC forbids is left
// in: gRPC then refuses the RPC with an INTERNAL status that names the key.
func requestMetadata(list []wire.Metadatum) metadata.MD {
	md := make(metadata.MD, len(list))
	for _, m := range list {
		key := strings.ToLower(m.Key)
		if !droppedKey(key) {
			md[key] = append(md[key], m.Value)
		}
	}
	if own := md["user-agent"]; own != nil {
		delete(md, "user-agent")
		if md[userAgent] == nil {
			md[userAgent] = own
		}
	}
	return md
}

// wireMetadata turns gRPC metadata into the wire's form. Values of one key
// keep their order.
func wireMetadata(md metadata.MD) []wire.Metadatum {
	n := 0
	for _, values := range md {
		n += len(values)
	}
	list := make([]wire.Metadatum, 0, n)
	for key, values := range md {
		for _, v := range values {
			list = append(list, wire.Metadatum{Key: key, Value: v})
		}
	}
	return list
}
