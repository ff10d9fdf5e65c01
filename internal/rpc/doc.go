// Package rpc serves clients that have no session: Connect, gRPC-Web in binary
// and in text, native gRPC, and plain JSON, at POST /{package.Service}/{Method}.
//
// connect-go speaks the protocols. Its handlers choose by content type and not
// by path, so three of them, with a codec of bytes, serve the methods of every
// service without knowing any: one for Connect's unary form, one for streams
// over HTTP/2, and one for streams over HTTP/1.1. Connections of native gRPC
// clients alone are gRPC's own server's. What an RPC then says and
// hears is a Call, which the bridge joins with a backend as it does a session's
// stream.
package rpc
