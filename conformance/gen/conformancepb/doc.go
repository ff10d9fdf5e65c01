// Package conformancepb is generated from the .proto files of the conformance
// suite (connectrpc.com/conformance, Apache-2.0).
package conformancepb

//go:generate ./generate.sh
