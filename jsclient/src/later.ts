// What no first RPC needs. A module of its own, loaded once a session is open,
// or when something is in the way of that; until then, and where it cannot be
// loaded, a channel goes on without. It takes from the rest of the client
// types and constants only, so that it brings none of it along. No name of
// these may be one that the bundles shorten.

export { followPage } from "./life.js";
export { dialWebSocket } from "./link/dial.js";
export { refusal } from "./link/refusal.js";
export { Sockets } from "./link/sockets.js";
export { Tuning } from "./link/tuning.js";
export { Reassembly } from "./session/reassembly.js";
export { renewCredential } from "./session/renew.js";
