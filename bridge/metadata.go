package bridge

import (
	"strings"

	"google.golang.org/grpc/metadata"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// hopKeys are HTTP's own headers. They describe one hop, or are only a browser's
// to set, so they never become metadata: a content-length, for example, would
// contradict the length of the request to the backend.
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

// userAgent is the key under which the client's user agent reaches the backend,
// as in gRPC-Web. In gRPC user-agent is the channel's, here the bridge's.
const userAgent = "x-user-agent"

// forwardedKey returns the metadata key for a header of the browser's request.
func forwardedKey(header string) string {
	key := strings.ToLower(header)
	if key == "user-agent" {
		return userAgent
	}
	return key
}

// droppedKey reports whether metadata of this key is not forwarded to the
// backend: hopKeys and their families, and gRPC's own headers, which a client
// must not forge. The two tracing keys are gRPC's by name only.
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

// validKey reports whether gRPC allows the key.
func validKey(key string) bool {
	for _, c := range []byte(key) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return key != ""
}

// requestMetadata returns an OPEN frame's metadata as gRPC metadata, with keys in
// lower case. Only one user agent is forwarded: the caller's x-user-agent, else
// the client's own user-agent. What gRPC forbids is kept: gRPC then fails the
// RPC with an INTERNAL status that names the key.
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

// wireMetadata returns gRPC metadata in the wire's form. The values of a key keep
// their order.
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
