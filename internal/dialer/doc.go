// Package dialer is the client's side of the session engine: it opens a session
// on a bridge, keeps it over one link after another, and chooses between
// exchanges and a lasting link. It knows no HTTP and no gRPC: a Carrier carries its
// batches.
//
// A session has one goroutine that schedules links, one for each exchange in
// flight, which then waits for the next one, and two for a lasting link.
package dialer
