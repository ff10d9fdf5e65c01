import { callback, checkOptions, delay, having, oneOf, type Rules, size, truth } from "./args.js";
import type { WebSocketConstructor } from "./dialer/carrier.js";
import { recordOf } from "./dialer/http.js";
import type { Transport } from "./dialer/ladder.js";
import type { NetworkStorage } from "./dialer/memory.js";
import type { ChannelEvent } from "./events.js";
import type { BackoffOptions } from "./tune/backoff.js";

/** ChannelOptions configure a Channel. It reads them once, when it is made. */
export interface ChannelOptions {
  /**
   * One transport forces it. Both (the default) begin with long-polling and go
   * over to a WebSocket once it has proved itself. Without a WebSocket class
   * only long-polling is used unless "ws" is forced.
   */
  transports?: readonly Transport[] | undefined;
  /** Open the session with the first RPC, not at once. Default: false, so that no RPC waits for it. */
  lazy?: boolean | undefined;
  /**
   * Returns the credential. It is called for each new session, and again when the
   * bridge has ended an RPC UNAUTHENTICATED because the credential had expired:
   * the new one is sent on the running session, and RPCs opened meanwhile wait
   * for it. Default: none.
   */
  auth?: (() => string | Promise<string>) | undefined;
  /** Credentials mode of the requests, as in fetch. Default: "same-origin", as fetch's. */
  credentials?: RequestCredentials | undefined;
  /**
   * Headers of every request beside the client's own, for what stands before the
   * bridge: as fetch takes them, or a function that returns them for each request;
   * what it throws counts as a failed link. The bridge must allow them for pages
   * of other origins, by --allow-header. A browser's WebSocket carries none: use
   * auth or cookies, or long-polling alone. Default: none.
   */
  headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>) | undefined;
  /** Default: the global fetch. */
  fetch?: typeof fetch | undefined;
  /** Default: the global WebSocket; Node 20 has none. */
  WebSocket?: WebSocketConstructor | undefined;
  /**
   * Send RPCs again that are marked idempotent and have one request, as the
   * adapters mark methods declared NO_SIDE_EFFECTS or IDEMPOTENT, when their
   * session was lost before any answer. They may then run twice. Default: false.
   */
  resendIdempotent?: boolean | undefined;
  /** Longest response message, in bytes; a longer one ends its RPC with RESOURCE_EXHAUSTED. Default: 16 MiB. */
  maxMessageBytes?: number | undefined;
  /** Longest time that a poll is held, in milliseconds. Default: 25,000: shorter than what proxies cut by default. */
  holdMs?: number | undefined;
  /** How long to wait before what failed is tried again. */
  backoff?: BackoffOptions | undefined;
  /**
   * Where what was learnt of the network is kept for the next page; null keeps
   * it for this channel alone. Default: the page's localStorage; none in a
   * worker and in Node.
   */
  storage?: NetworkStorage | null | undefined;
  /** Gets each event as it happens, and each RPC that has ended. Default: none; see also localStorage["pollbridge.log"]. */
  logger?: ((event: ChannelEvent) => void) | undefined;
}

const STORAGE = having("a Storage, or null", "getItem", "setItem");
const TRANSPORTS = oneOf("longpoll", "ws");

const RULES: Rules<ChannelOptions> = {
  transports: [(value: unknown) => Array.isArray(value) && value.length > 0 && value.every((one) => TRANSPORTS[0](one as never)), 'an Array of "longpoll", "ws" or both'],
  lazy: truth,
  auth: callback,
  credentials: oneOf("omit", "same-origin", "include"),
  headers: [isHeaders, "Headers, an object or pairs, as fetch takes them, or a function that returns them"],
  fetch: callback,
  WebSocket: callback,
  resendIdempotent: truth,
  maxMessageBytes: size,
  holdMs: [(value: unknown) => Number.isInteger(value) && delay[0](value as never), `whole ${delay[1]}`],
  backoff: having("an object"),
  storage: [(value: unknown) => value === null || STORAGE[0](value as never), STORAGE[1]],
  logger: callback,
};

function isHeaders(value: unknown): boolean {
  if (typeof value === "function") return true;
  try {
    return !!recordOf(value as HeadersInit);
  } catch {
    return false;
  }
}

const BACKOFF: Rules<BackoffOptions> = { leastMs: delay, mostMs: delay, idleMs: delay };

/** Returns a copy of a channel's options. Throws TypeError for one that is unknown, or not as it must be. */
export function checkChannelOptions(options: ChannelOptions): ChannelOptions {
  const given = checkOptions("option", options, RULES);
  if (given.backoff) checkOptions("option backoff", given.backoff, BACKOFF);
  return given;
}
