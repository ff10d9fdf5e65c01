// Package registry is the bridge's side of the session engine: it opens sessions
// for the links that transports bring, keeps them between links, and hands their
// RPCs to Config.Handle. It knows no HTTP and no gRPC.
//
// Where both locks are needed, the Registry's comes before a session's.
package registry
