// Package backend is the gRPC side of the bridge: for each backend a Pool of
// channels that are dialled once, kept alive, watched and shared, and the Call,
// one RPC on one of them. Messages cross it as bytes, without a copy of their
// payload. It knows no HTTP and no session.
package backend
