export { Call, type CallOptions } from "./call.js";
export { Channel, type ChannelOptions, type State, type UnaryResponse } from "./channel.js";
export { OriginError, Weather, type WebSocketConstructor, type WebSocketLike } from "./link/carrier.js";
export type { Transport } from "./link/ladder.js";
export { type Metadata, metadataText, metadataValues } from "./metadata.js";
export { type Reason, SessionError } from "./session/errors.js";
export { Code, codeName, type Status, StatusError } from "./status.js";
