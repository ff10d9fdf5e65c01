// Package engine is one end of a session, whichever side it is: what is sent and
// kept until it is acked, what is received and put in order, the streams and their
// windows, the effect of every frame, and when a link has something to send. The
// life of links and sessions is its role's: internal/registry is the bridge's side,
// internal/dialer the client's.
//
// The rules that it follows are numbered in docs/PROTOCOL.md; comments cite them.
//
// Each Endpoint has one mutex over all of this. It is never held over I/O or a
// wait; what must not run under it is put off with Later and runs in Unlock. An
// Endpoint has no goroutines.
package engine
