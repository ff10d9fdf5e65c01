// Package e2e tests everything together: client, transports, engine, bridge and
// a gRPC backend. Files are grouped by what they hold, and each group's first
// file says how:
//
//   - equal_*: an RPC through the bridge is, for its caller and for the backend,
//     what the same RPC is without it: each kind, every status, metadata,
//     compression, cancellation, the longest messages, and on what an
//     application gave the bridge of its own.
//   - session_*: what becomes of sessions and of the RPCs on them: idle for an
//     hour, drained, refused, lost, parked, with a thousand RPCs or a reader that
//     stopped.
//   - backend_*: backends that die, come back, retire connections, or fall
//     silent.
//   - network_*: the same RPCs through each network that internal/middlebox
//     plays (the rows of docs/NETWORKS.md, with each choice of transports), what
//     the client learns of it, how soon it has a first result, and what the
//     network check finds. Most run in bubbles of testing/synctest, so that time
//     is virtual and exact.
//   - browser_*: the rows that a browser decides, by the JavaScript client in
//     pages of Chromium.
//   - soak_*: everything that a bridge meets in production, for hours, in real
//     processes.
//   - proxies_*: the demo through real proxies, in Chromium and with the Go
//     client, and bridges that are restarted behind them under load.
//
// A test whose name ends in _asDirectly writes down all that the caller sees of
// an RPC, its transcript, and holds that it equals the transcript of the same
// RPC made directly at the same server with grpc-go.
//
// Flags: -full runs the long tests, and all rows of long tables; -browser those
// that need Chromium, and what `npm run compile` in jsclient makes; -rolling those
// that restart real bridges behind real balancers for a minute; -update
// writes the tables in docs/NETWORKS.md.
package e2e
