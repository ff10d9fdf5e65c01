// Package e2e holds scenarios through everything: Go client, transport,
// engine, bridge, gRPC backend. Each compares what a caller sees through the
// bridge with what the same caller sees of the same server directly.
package e2e
