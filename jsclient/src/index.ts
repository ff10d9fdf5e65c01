export { Call, type CallOptions } from "./call.js";
export { Channel, type ChannelEvent, type ChannelOptions, type State, StateChangeEvent, type UnaryResponse } from "./channel.js";
export type { BackoffOptions } from "./link/backoff.js";
export { OriginError, Weather, type WeatherReason, type WebSocketConstructor, type WebSocketLike } from "./link/carrier.js";
export type { Transport } from "./link/ladder.js";
export type { Network, NetworkStorage } from "./link/network.js";
export { type Metadata, metadataText, metadataValues } from "./metadata.js";
export { type Reason, SessionError } from "./session/errors.js";
export { Code, codeName, type Status, StatusError } from "./status.js";
