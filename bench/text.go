package main

const preface = `What Pollbridge costs beside what else there is, for people who choose. ` + "`make bench`" + ` measures it all again on your machine.

- **Pollbridge** is ` + "`bridge serve`" + ` with its defaults, used by its Go client, or by its JavaScript client in Chromium.
- **No hop** is gRPC itself, which a browser cannot speak. **grpc-go proxy** is the least that a hop in Go can be: it passes any method on without looking, over HTTP/2.
- **connect-go** and **grpcwebproxy** are fronts that browsers use today, for the Connect protocol and for gRPC-Web. Neither resumes anything after a connection was lost.

All stand before the same grpc-go echo service, over loopback, in processes of their own; load, hop and service share the machine's CPUs. Figures with × are medians of the ratios within a round of alternated samples.
Compare those, and the hop's CPU time: rates depend on the load's own cost too, and no figure can be compared with one of another run.
`

// prose introduces each section.
var prose = map[string]string{
	"RPCs": `An operation is an RPC, a round trip of a stream, or a message received. The hop's CPU time, and its allocations, are what an operation costs where the bridge runs; load's CPU is what it costs the client.
A bridge that batches, as over one session with many RPCs, costs some three quarters of what a transparent proxy costs. With nothing to batch (one RPC in flight on each of many sessions) it costs less than the proxy over a WebSocket, and about as much over long-polling; one stream alone, and long messages in turn, it carries more slowly than the proxy does, because every byte has a checksum, for the resumption that the others do not have, and over long-polling is copied.`,

	"In the browser": `The same Connect stub calls through ` + "`pollbridge/connect`" + `, or through connect-web's transports in their binary form, over plain HTTP/1.1, each in a headless page of its own. Main thread is the CPU time that the page's main thread needs for a message.`,

	"First answer": `From making a channel in a fresh page to its first answer, where the bridge is 25 ms away each way and the page came over the same connection. One round trip is 50 ms. A call that is declared idempotent goes with the session's first request; any other waits for the answer to it, which is the price of never running twice. Without a choice of transport the client begins with long-polling and opens a WebSocket beside it.`,

	"Memory": `What each client adds to the resident memory of the server after a garbage collection, by what it does. A quiet stream is open and carries nothing, as those of most people at most times. The kernel's memory for sockets is not in it.`,

	"Many sessions": `Whether a session that does nothing costs those that do. The bridge pings a quiet WebSocket every 15 s, because networks forget connections that are quiet for longer.`,

	"Storm": `What happens when a load balancer in front is restarted: all WebSockets are gone at once and come back at once, on the same CPUs as the load.`,

	"In a cluster": `What it costs that a request lands at another bridge than that of its session, which happens to N - 1 of N connections with N bridges behind a balancer that knows nothing. Three bridges and a NATS server; RPCs have two of the bridges in their way, and the CPU time is that of these and of NATS together. More is the difference to a request that lands at its session's bridge, in the same round.`,

	"Distance": `What one stream of 16 KiB messages carries after 3 s, through a relay that adds delay and a rate each way, shared by all connections, and loses nothing. On loopback, TCP's own windows and losses have no part in it. Over HTTP/1.1, as all pages are here, long-polling has two requests in flight, and carries two bodies a round trip at best, each of 2 MiB; over HTTP/2 eight, where the path needs them.

The lossy path holds up what enters it in 10 ms of each 500 ms as TCP does that sends it again, and resets all connections every 10 s, once while a stream is measured. gRPC's stream ends then, and the load begins another; Pollbridge's goes on. The other ways, of which nobody begins a stream again, are left out.`,

	"Beside a long message": `Round trips of a small stream, alone and while a message of 16 MiB goes over the same session, on a link of 10 Mbit/s and 50 ms of delay there and back.`,
}
