// The Go programs that Pollbridge is measured against, apart so that the
// project itself never depends on them.
module github.com/pollbridge/pollbridge/bench/rivals

go 1.26.0

require (
	connectrpc.com/connect v1.21.1
	golang.org/x/net v0.62.0
	google.golang.org/protobuf v1.36.12
)

require golang.org/x/text v0.43.0 // indirect
