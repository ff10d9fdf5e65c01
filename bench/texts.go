package main

const rivalVersions = "grpc-go 1.85.0, coder/websocket 1.8.15, connect-go 1.21.1, connect-web 2.2.0, grpcwebproxy 0.15.0, Socket.IO 4.8.4."

const preface = `
` + "`make bench`" + ` runs it all again on your machine; ` + "`go run ./bench -help`" + ` tells how to run a part of it. Every row has a figure that it must reach and most a goal beyond.

**What is compared.** The hop is what stands between client and backend: the bridge, or a rival; its process, the load's and the backend's are three.
The backend is the same grpc-go echo everywhere. "Direct" is no hop at all; "proxy" a minimal transparent grpc-go proxy; grpcwebproxy and connect-go are
fronts that browsers use; Socket.IO, coder/websocket and net/http echo by themselves, with no gRPC behind them: floors. Messages have 100 bytes unless said.
The load is grpc-go's client code, over our Go client where the hop is the bridge; "light client" is a hand-written one that costs almost nothing, as all
clients of rivals are. The bridge runs as ` + "`bridge serve`" + ` runs it (GOGC=400), the others by their defaults.

**How.** Rounds alternate over all ways. Figures with × are medians of the ratios within a round: compare those, not figures of two runs. Hop CPU and
allocations are what to judge by; rates on two cores depend on the client's cost too.

**In the browser** (rows 17 and 18) the same Connect stub calls through pollbridge/connect, or through connect-web's transports in their binary form, over
plain HTTP/1.1 on the loopback interface, each in a headless page of its own. Main-thread time is what the page's main thread used of the CPU (TaskDuration of
CDP's Performance.getMetrics in thread time); nothing listens to what its network does, since the DevTools protocol tells each WebSocket message with its bytes.
The page's script begins with the line that jsclient/README.md advises, for all ways. Row 18 loads a fresh page through 25 ms of delay each way, then times its first call; the
bare fetch POST beside it goes to the same server and has no gRPC behind it.
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
var reasons = map[int]string{
	1:  "Hop CPU is what is gated on. RPC/s on two cores is shared with the load: our Go client costs about what grpc-go's costs, the light client shows what the bridge itself leaves room for.",
	2:  "With one RPC in flight on each socket nothing can be batched: each RPC pays a read and a write of its own on the WebSocket and, towards the backend, one each at the least. A profile of the hop has 26 % below `ClientConn.Invoke`, 13 % in gRPC's reader and writer, 11 % in `Deliver` with what it wakes, 11 % in reading the WebSocket, 9 % in writing it and 7 % in `Next`; by kind, 16 % in system calls and 21 % in allocation, three quarters of it gRPC's. The proxy beside runs at GOGC=100; at 400 it takes a fifth less.",
	3:  "At one RPC in flight what costs is waking: of 200 µs of the hop's CPU for an RPC 70 are left when 64 sessions keep it busy. Reader, the RPC's goroutine, gRPC's two and the WebSocket's writer wake one another on two threads, which sleep 5 to 7 times an RPC (a tenth less often since the writer lets others go first only where there are others); the light client shows the bridge alone. gRPC writes to the backend twice an RPC then (strace): its headers leave before the message is there. That the RPC's goroutine writes its answer itself would save one of these wake-ups; it is not built, since it would have to share the socket with the writer that waits.",
	4:  "One stream at a time is bound by the wake-ups of four goroutines in the hop (reader, two pumps, writer), two of which gRPC's own streams would need too: as in row 3 it is waiting threads, not work, that take the time. With 64 streams the writer lets others queue first, so that batches form.",
	5:  "Of a message's CPU in the hop 58 % is gRPC's (`RecvMsg`, its reader, its window updates), which is more than half of what the proxy takes in all; with the backend and the client on the same two cores 1.6 times the proxy's rate leaves the hop and our client less than those parts take. Sends and batches come to 28 %.",
	6:  "Each byte is copied twice in the hop, once into the batch and once into the kernel, and checked by CRC-32C; grpc-go's proxy passes its buffers on by reference. Profiles have 28 % (unary) and 40 % (stream) in system calls, 11 and 4 % in memmove, 11 % of the stream's in waking threads; gRPC clears the buffers that it reads into, another 4 %. A message of 64 KiB with its frames is a little longer than a batch, which stays below 64 KiB because that is where common WebSocket servers and proxies refuse a message by default: its last bytes cost a batch of their own where the next message is not there yet (strace: 0.3 short writes for each long one, 0.65 before the writer let the pump go first). The client's own decoding costs as much again as the hop. Writing long pieces past the batch (writev) would save the first copy, and needs the checksum and the frames' headers to be written apart from the bytes, on all transports.",
	7:  "A third of the hop's CPU and a half of the client's are in exchanges, net/http's part and ours. One is answered as soon as a first RPC is done and who else is about to run has run: waiting for more would lengthen each RPC's time on a quiet session. Runs are between 0.72 and 0.88 of our WebSocket, as busy as the machine's neighbours leave it.",
	9:  "The Go client's HTTP transport costs two goroutines and 100 allocations a request; light clients, which have neither, come to about the same ratio because net/http's server parses and writes headers for each exchange.",
	10: "At 3,000 sessions 14 KiB, 10 of it heap and 2 stacks; 17 to 18 while the reader kept the stack on which it had delivered, 21 before a quiet link let its writer go. A heap profile has 5 KiB live: 1.4 the session, 1.9 the library's WebSocket with its locks, 0.8 buffers; the rest of the heap is room between objects, from the burst that opened the sessions.",
	11: "At 10,000 polls 30 KiB: 16.5 of heap and 12 of stacks; 52 before quiet polls were parked (`internal/park`, docs/adr/0009), which left of the HTTP half some hundred bytes and its socket. What remains is the open RPC's: of 10 KiB live heap 3.3 are gRPC's client stream and its contexts, 2 the proxy's and the stream's, 1.4 the session, 1.2 the exchange; the rest of the heap is room between objects, from the burst that opened the connections. Its two goroutines are gRPC's watcher of the stream and the RPC's pump, which waits 23 frames and 4 KiB deep in gRPC's `RecvMsg` and so keeps a stack of 8 KiB; grpc-go has no way to receive without a goroutine. The watcher has 4 KiB: Go starts goroutines with what they need on average (with GODEBUG=adaptivestackstart=0 stacks are 2 KiB less). Socket.IO has no RPC behind its poll. TLS adds 13 of heap: its record buffer, two ciphers, its state, which crypto/tls keeps while a connection lives.",
	12: "At 3,000 sessions 5.3 KiB: 4.3 of heap, of which 2.2 are live (1.2 the session in one piece, 0.5 the last answer's frames, which nobody has acked yet, 0.2 their contents, 0.2 timer and channel), and 1 of the runtime's own. The other half of the heap is room that garbage of the opening requests left between live objects at GOGC=400. The goroutines are the 64 that wait for the next RPC, however many sessions there are.",
	13: "Of 100 allocations of a unary RPC (99.5 with 64 in flight, 97 without metadata) 60 are below `ClientConn.Invoke` and 25 in gRPC's reader; the engine has 12, held by `TestAllocations`, and the rest is metadata in gRPC's form and contexts. Messages of a stream share what they take.",
	14: "With 10,000 sessions each is called once a second or less often, so its link rests between two calls and nothing of it is in the caches. Where each answer started a writer that was 1.2 to 1.4 times the CPU; since the goroutine of a session's only RPC writes its end itself it is 1.1 to 1.25. Of what is left, profiles have 12 % in selects and 6 in the heap of timers, against 4 and 1 with 128 sessions; leaving timers set rather than stopping them, stacks kept for readers and writers (see below) and shorter waits made no difference that the noise let see. While all is quiet the CPU is for 667 pings a second, at common times, 33 every 50 ms; each at its own took half as much again. Of a profile 26 % is in system calls, most of them the pings' writes, 37 % in writers and 36 % in readers in all, 8 % in growing the stacks that goroutines begin with. Fewer pings would cost less, but 15 s is what keeps idle time-outs of networks away.",
	15: "While 10,000 clients dial, 64 at a time, both cores belong to handshakes, and p50 and p99 of the others grow alike, by 4 to 4.6: they get their share of the CPU, no lock is held over it. Letting one opening through at a time, with its wait for the first batch, brings 2.5 to 2.7, but all are back after 5 to 7 s rather than 3, and a slow peer would hold up the rest; with eight at a time, or without that wait, it is 3 to 6.",
	16: "What is not acked on a WebSocket stays below 1.5 × rate × RTT, in batches of a quarter of that; a body of an exchange takes no longer than 0.8 round trips or 40 ms at the measured rate, and two of them keep the pipe full. On a simulated network of this rate and delay, without a machine's noise, the ping-pong's p99 beside a long message is at most 150 ms longer than alone, each way, on both transports (`TestBeside`). What goes beyond that here is the machine's: one late wake-up of one of the seven processes and threads on the way is a sample's p99.",
	17: "Every way has Connect's stub above it, whose generators cost each message several promises. Of what is ours, parsing a frame costs about 1.4 µs and the copy of a message out of its batch 0.8 µs (Node's profiler, 100 bytes a message). With two cores for browser, hop and backend, messages/s are bound by all three.",
	18: "The page sends what it must: one request for an idempotent call, two for another, on the socket that brought the page; what the client loads later goes behind them. What it takes beyond the network is JavaScript that runs for the first time: 1.25 and 2.3 times the bare POST where it is compiled function by function when first called, 1.15 and 2.1 where the page's script asks for it while it loads. Of the rest 1 to 8 ms are the first look into localStorage, for what was learnt of the network, 2 to 5 ms each call of fetch, which the bare POST has too.",
}

// leftOut names tricks that were not worth their cost.
const leftOut = `## Left out

- Cancellable contexts of our own instead of the standard library's: five allocations of an RPC, but gRPC would have to learn of their end by a goroutine or a registration that costs as much.
- Goroutines that read and write WebSockets by turns, with stacks that have grown already: 7 % of an idle bridge's CPU, nothing of a busy one's.
- In the browser's client, a message that is there handed on without a promise of its own, and iterators by hand instead of generators: up to a fifth of a message's cost on Node, in runs whose noise was as large, for code that every page loads.
`
