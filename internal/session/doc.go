// Package session is the resumable session engine, in both roles: the
// bridge's (Registry) and the client's (Start). It knows no HTTP and no gRPC:
// transports hand it opaque batches through the contract of package transport,
// and a Carrier carries the client's.
//
// The rules it follows are numbered in docs/PROTOCOL.md; comments cite them.
//
// # Locks
//
// Each Session has one mutex, mu, over outbox, inbox, streams and links. It is
// never held over I/O or a wait. The Registry has one more, over its map; where
// both are needed the Registry's comes first. What must not run under mu is
// put off with Session.later and runs in unlock.
//
// # Goroutines
//
// An idle session has none on the bridge: one time.AfterFunc watches its lapse.
// A parked exchange and a WebSocket live in their transport's goroutines. Each
// RPC has the one that runs Config.Handle. On the client a session has one that
// schedules links, one for each exchange in flight, and two for a WebSocket.
package session
