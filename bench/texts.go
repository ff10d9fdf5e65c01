package main

const rivalVersions = "grpc-go 1.85.0, coder/websocket 1.8.15, connect-go 1.21.1, grpcwebproxy 0.15.0, Socket.IO 4.8.4."

const preface = `
The hop is what stands between client and backend: the bridge, or a rival; its process, the load's and the backend's are three. "Proxy" is a minimal
transparent grpc-go proxy, "direct" no hop at all. Messages have 100 bytes unless said. The load is grpc-go's client code, over our Go client where the
hop is the bridge; "light client" is a hand-written one that costs almost nothing, as all clients of rivals are. The bridge runs as
` + "`bridge serve`" + ` runs it (GOGC=400), the others by their defaults. Figures with × are ratios within a round: compare those, not figures of two
runs. Hop CPU and allocations are what to judge by; rates on two cores depend on the client's cost too.
`

var rowTitles = map[int]string{
	1:  "ws, 1 session, 64 unary in flight",
	2:  "ws, 64 sessions, unary",
	3:  "ws, 1 in flight",
	4:  "bidi ping-pong",
	5:  "server stream",
	6:  "64 KiB messages",
	7:  "longpoll, 1 session, 64 in flight",
	8:  "longpoll, 64 sessions",
	9:  "longpoll unary, 1 in flight",
	10: "idle ws sessions",
	11: "parked polls, each with a quiet open stream",
	12: "idle longpoll sessions without a stream",
	13: "allocations in the hop",
	14: "growth",
	15: "storm: 10,000 sessions lose every link at once",
	16: "a 16 MiB message beside a ping-pong, 10 Mbit/s, 50 ms",
	17: "browser: server stream",
	18: "browser: new Channel to first answer, 50 ms",
	19: "the binary",
}

// reasons says why a row may miss its must.
var reasons = map[int]string{}

// leftOut names tricks that were not worth their cost.
const leftOut = ""
