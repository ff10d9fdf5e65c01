// Package netcheck holds what both sides of the network check share: the wire
// format between them, the report, and table.json, which says for each outcome
// of a check how good it is, in which words, and which kinds of network follow
// from it. The TypeScript client's diagnose uses the same table.
//
// Package answer is the bridge's side, page its page in the browser, and probe
// the client's side in Go.
package netcheck

// Service is the gRPC service of a bridge whose check is switched on. Its methods
// take and return google.protobuf.BytesValue: Unary and Bidi echo, Server answers
// a request of n bytes with n messages of one byte, Client answers with the
// requests put together.
const Service = "pollbridge.check.v1.Check"
