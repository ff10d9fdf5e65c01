// Package netcheck finds out what the network between a client and a bridge
// does to HTTP requests and WebSockets, and says it in plain words.
//
// What a check can come to, what is said of it and which networks follow from
// it stands in table.json, which this package and the TypeScript client read
// alike: what differs between them is only how a request is made. Package
// answer is the bridge's side.
package netcheck

// Service is the gRPC service that a bridge with the check switched on has in
// itself. Its methods Unary, Server, Client and Bidi take and give
// google.protobuf.BytesValue: Unary and Bidi echo, Server answers a request of
// n bytes with n messages of one byte, Client answers with all requests in one.
const Service = "pollbridge.check.v1.Check"
