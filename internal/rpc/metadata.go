package rpc

import (
	"net/http"
	"strings"

	"connectrpc.com/connect/v2"
	"google.golang.org/grpc/codes"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// binarySuffix marks keys whose values are any bytes, in base64 on the way.
const binarySuffix = "-bin"

// protocolKey reports whether a header is one of the protocols' own, and no
// metadata. Those of HTTP and of gRPC are the bridge's to leave out, as it does
// for sessions.
func protocolKey(key string) bool {
	return strings.HasPrefix(key, "connect-") || key == "x-grpc-web" || key == "content-encoding" || key == "accept-post"
}

// requestMetadata is what a request's headers say to the backend.
func requestMetadata(h http.Header, limit int) ([]wire.Metadatum, error) {
	list := make([]wire.Metadatum, 0, len(h))
	size := 0
	for name, values := range h {
		key := strings.ToLower(name)
		if protocolKey(key) {
			continue
		}
		for _, v := range values {
			var err error
			before := len(list)
			if list, err = appendValue(list, key, v); err != nil {
				return nil, err
			}
			for _, m := range list[before:] {
				size += len(m.Key) + len(m.Value)
			}
		}
	}
	if size > limit {
		return nil, tooMuchMetadata(size, limit)
	}
	return list, nil
}

func tooMuchMetadata(size, limit int) error {
	return connect.Errorf(connect.CodeResourceExhausted, "metadata of %d bytes are over the limit of %d", size, limit)
}

// appendValue adds one header's value: of a binary key it may be several, with
// commas between.
func appendValue(list []wire.Metadatum, key, value string) ([]wire.Metadatum, error) {
	if !strings.HasSuffix(key, binarySuffix) {
		return append(list, wire.Metadatum{Key: key, Value: value}), nil
	}
	for one := range strings.SplitSeq(value, ",") {
		raw, err := connect.DecodeBinaryHeader(strings.TrimSpace(one))
		if err != nil {
			return nil, connect.Errorf(connect.CodeInternal, "metadata %.256q is not base64", key)
		}
		list = append(list, wire.Metadatum{Key: key, Value: string(raw)})
	}
	return list, nil
}

// answerKeys are HTTP's own headers that a backend must not set for the
// bridge's answer.
var answerKeys = map[string]bool{
	"connection": true, "content-encoding": true, "content-length": true, "content-type": true, "date": true,
	"keep-alive": true, "te": true, "trailer": true, "transfer-encoding": true, "upgrade": true, "vary": true,
}

// ownKey reports whether a header of an answer is not the backend's to set.
func ownKey(key string) bool {
	return answerKeys[key] || protocolKey(key) || strings.HasPrefix(key, "grpc-") || strings.HasPrefix(key, "access-control-")
}

// setMetadata puts metadata of the backend into an answer's headers or trailers.
func setMetadata(to *connect.Header, list []wire.Metadatum) {
	for _, m := range list {
		key := strings.ToLower(m.Key)
		if ownKey(key) {
			continue
		}
		value := m.Value
		if strings.HasSuffix(key, binarySuffix) {
			value = connect.EncodeBinaryHeader([]byte(value))
		}
		to.Add(key, value)
	}
}

// statusError is how an RPC ended, for connect-go to write.
func statusError(end wire.End, protocol string) error {
	if codes.Code(end.Status) == codes.OK {
		return nil
	}
	err := connect.NewError(connect.Code(end.Status), end.Message)
	for _, detail := range details(end.Details) {
		name := detail.GetTypeUrl()
		if protocol == connect.ProtocolNameConnect { // which writes the type's name alone
			name = name[strings.LastIndexByte(name, '/')+1:]
		}
		err = err.WithDetail(&connect.ErrorDetail{Type: name, Value: detail.GetValue()})
	}
	return err
}
