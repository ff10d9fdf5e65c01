// What adapters need of a channel: a double of one has no more.

import { type Bytes, shown } from "./args.js";
import type { CallOptions } from "./call.js";
import type { Metadata } from "./metadata.js";
import type { Status } from "./status.js";

/** UnaryResponse is the result of a unary RPC. */
export interface UnaryResponse {
  readonly headers: Metadata;
  readonly message: Uint8Array;
  readonly trailers: Metadata;
}

/** CallLike is what adapters use of a Call, which documents it. */
export interface CallLike {
  readonly headers: Promise<Metadata>;
  readonly status: Promise<Status>;
  readonly messages: AsyncIterableIterator<Uint8Array>;
  send(bytes: Bytes): Promise<void>;
  closeSend(): void;
  cancel(): void;
}

/** ChannelLike is what adapters use of a Channel, which documents it; a double of one implements it. */
export interface ChannelLike {
  readonly url: string;
  open(path: string, options?: CallOptions): CallLike;
  unary(path: string, message: Bytes, options?: CallOptions): Promise<UnaryResponse>;
}

/** Throws TypeError for what is no channel. */
export function checkChannel(channel: ChannelLike): void {
  if (typeof channel?.open !== "function" || typeof channel.unary !== "function") throw new TypeError(`channel ${shown(channel)}: must be a Channel`);
}
