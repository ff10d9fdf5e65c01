// How batches reach a bridge: fetch and WebSocket. No rule of the protocol is
// known here.

import { base64, fromBase64 } from "../wire/base64.js";
import { MAX_RETRY_AFTER } from "./limits.js";

/**
 * Why a link failed, for a program: "network": the browser does not say why;
 * "mixed_content": a page by https may not call a bridge by http; "csp": the
 * page's Content-Security-Policy forbids it; "cors": the server answers, but
 * not for this page; "timeout"; "status": an HTTP status that is not the
 * bridge's; "foreign": an answer that is not the bridge's; "refused" by the
 * bridge, for now; "cut" on request.
 */
export type WeatherReason = "network" | "mixed_content" | "csp" | "cors" | "timeout" | "status" | "foreign" | "refused" | "cut";

/** Weather is anything but a batch of ours: it never ends a session (W2). */
export class Weather extends Error {
  override name = "Weather";
  readonly reason: WeatherReason;
  /** HTTP status, where there was one. */
  readonly status: number | undefined;
  /** The answer began and was cut. */
  readonly cut: boolean;
  /** A foreign Retry-After, in milliseconds. */
  readonly retryAfterMillis: number;

  constructor(reason: WeatherReason, message: string, seen: { status?: number; cut?: boolean; retryAfterMillis?: number; cause?: unknown } = {}) {
    super(message, { cause: seen.cause });
    this.reason = reason;
    this.status = seen.status;
    this.cut = seen.cut ?? false;
    this.retryAfterMillis = seen.retryAfterMillis ?? 0;
  }
}

/** OriginError tells that the bridge itself refused this page's origin: final (W4). */
export class OriginError extends Error {
  override name = "OriginError";
}

/** What happens on a WebSocket. After close, or once it is lost, nothing of it counts any more. */
export interface SocketEvents {
  opened(): void;
  received(message: Uint8Array): void;
  /** The socket is gone, or could not be opened. */
  lost(why: Weather): void;
}

/** One WebSocket. */
export interface Socket {
  send(batch: Uint8Array<ArrayBuffer>): void;
  /** Bytes that wait to leave. */
  readonly bufferedAmount: number;
  /** Closes without waiting. */
  close(): void;
}

/** Carrier is how a session reaches its bridge. */
export interface Carrier {
  /**
   * Sends one batch by POST and resolves with what the answer's body holds,
   * whatever that is; rejects with Weather or OriginError. text: both bodies
   * are base64.
   */
  exchange(sid: string, batch: Uint8Array<ArrayBuffer>, signal: AbortSignal, text: boolean): Promise<Uint8Array>;
  /** Sends one batch that outlives the page; nobody learns of its answer. */
  beacon(sid: string, batch: Uint8Array<ArrayBuffer>, text: boolean): void;
  /** Opens a WebSocket. */
  dial(sid: string, events: SocketEvents): Socket;
}

/** What HttpCarrier needs of a WebSocket class; every implementation of the standard has it. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

/** The part of a WebSocket that is used. */
export interface WebSocketLike {
  binaryType: string;
  readonly bufferedAmount: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: Uint8Array<ArrayBuffer>): void;
  close(): void;
}

/** Where a bridge is and how to reach it. */
export interface CarrierConfig {
  /** URL of the bridge; without a path the prefix /bridge is meant. */
  url: string | URL;
  fetch?: typeof fetch | undefined;
  WebSocket?: WebSocketConstructor | undefined;
  credentials?: RequestCredentials | undefined;
}

const SUBPROTOCOL = "pollbridge.v1";

/** HttpCarrier carries batches by fetch and WebSocket. */
export class HttpCarrier implements Carrier {
  readonly #origin: string;
  /** URL of the bridge with its prefix and version, and a final slash. */
  readonly base: string;
  readonly #fetch: typeof fetch;
  readonly #WebSocket: WebSocketConstructor | undefined;
  readonly #credentials: RequestCredentials;
  /** Any answer could be read. */
  #answered = false;
  /** Why the page may not reach the bridge. */
  #forbidden: Weather | undefined;

  constructor(config: CarrierConfig) {
    const url = new URL(config.url, globalThis.location?.href);
    if (!/^https?:$/.test(url.protocol)) throw new TypeError(`bridge URL ${url.href}: must be http or https`);
    const path = url.pathname.replace(/\/+$/, "");
    this.#origin = url.origin;
    this.base = url.origin + (path || "/bridge") + "/v1/";
    this.#fetch = config.fetch ?? ((input, init) => fetch(input, init));
    this.#WebSocket = config.WebSocket ?? (globalThis.WebSocket as WebSocketConstructor | undefined);
    this.#credentials = config.credentials ?? "same-origin";
  }

  /** Tells whether dial can work at all. */
  get hasWebSocket(): boolean {
    return this.#WebSocket !== undefined;
  }

  async exchange(sid: string, batch: Uint8Array<ArrayBuffer>, signal: AbortSignal, text: boolean): Promise<Uint8Array> {
    let status: number | undefined;
    try {
      const response = await this.#post(sid, batch, text, { signal });
      status = response.status;
      this.#answered = true;
      if (status !== 200) throw await refusal(response);
      return text ? bytesOf(await response.text()) : new Uint8Array(await response.arrayBuffer());
    } catch (cause) {
      if (cause instanceof Weather || cause instanceof OriginError) throw cause;
      if (status !== undefined) throw new Weather("network", "the answer was cut", { status, cut: true, cause });
      throw await this.#explain(cause, signal);
    }
  }

  /** Notes that the page's policy forbids to connect to a URL; gives what that means if it is the bridge's. */
  forbid(url: string): Weather | undefined {
    const socket = url.startsWith("ws");
    const bridge = socket ? `ws${this.#origin.slice(4)}` : this.#origin;
    if (!url.startsWith(bridge)) return undefined;
    const why = new Weather("csp", `Content-Security-Policy: add ${bridge} to connect-src`);
    if (socket) return why;
    return (this.#forbidden = why);
  }

  /** What can be told of a fetch that failed without an answer: browsers do not say why. */
  async #explain(cause: unknown, signal: AbortSignal): Promise<Weather> {
    const page = globalThis.location as { origin: string; protocol: string } | undefined;
    if (this.#forbidden) return this.#forbidden;
    if (page?.protocol === "https:" && !this.base.startsWith("https") && !/\/\/(localhost|127\.|\[::1)/.test(this.base)) {
      return new Weather("mixed_content", `mixed content at ${this.#origin}: give the bridge https, by --tls-cert or a proxy`);
    }
    if (page && page.origin !== this.#origin && !this.#answered && !signal.aborted && (await this.#reachable(signal))) {
      return new Weather("cors", `${this.#origin} answers without CORS headers for this page: give the bridge --allow-origin ${page.origin}`);
    }
    return new Weather("network", cause instanceof Error ? cause.message : String(cause), { cause });
  }

  /** Tells whether the server answers at all, though the page may not see what. */
  #reachable(signal: AbortSignal): Promise<boolean> {
    return this.#fetch(this.base, { mode: "no-cors", cache: "no-store", credentials: "omit", signal }).then(() => true, () => false);
  }

  beacon(sid: string, batch: Uint8Array<ArrayBuffer>, text: boolean): void {
    // Text where a binary body would need a preflight, for which a page that goes has no time.
    text ||= this.#origin !== globalThis.location?.origin;
    this.#post(sid, batch, text, { keepalive: true }).catch(() => undefined);
  }

  #post(sid: string, batch: Uint8Array<ArrayBuffer>, text: boolean, init: RequestInit): Promise<Response> {
    return this.#fetch(`${this.base}${sid}/poll`, {
      method: "POST",
      headers: { "Content-Type": text ? "text/plain" : "application/octet-stream" },
      body: text ? base64(batch) : batch,
      cache: "no-store",
      credentials: this.#credentials,
      redirect: "error", // the body holds the session's key
      ...init,
    });
  }

  dial(sid: string, events: SocketEvents): Socket {
    const lost = (reason: WeatherReason, message: string): void => events.lost(new Weather(reason, message));
    let socket: WebSocketLike;
    try {
      socket = new this.#WebSocket!(`ws${this.base.slice("http".length)}${sid}/ws`, [SUBPROTOCOL]);
    } catch (cause) { // e.g. by the page's content security policy
      queueMicrotask(() => lost("network", `WebSocket: ${String(cause)}`));
      return { send: () => undefined, bufferedAmount: 0, close: () => undefined };
    }
    socket.binaryType = "arraybuffer";
    socket.onopen = events.opened;
    socket.onmessage = ({ data }: { data: unknown }) => {
      if (data instanceof ArrayBuffer) events.received(new Uint8Array(data));
      else lost("foreign", "WebSocket: a text message came");
    };
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => lost("network", `WebSocket: closed: ${code} ${reason}`);
    socket.onerror = () => undefined; // close follows and says as much
    return socket;
  }
}

/** The bytes that a body of text stands for: its own where it is no base64, and so not the bridge's. */
function bytesOf(text: string): Uint8Array {
  try {
    return fromBase64(text);
  } catch {
    return new TextEncoder().encode(text);
  }
}

/** What an answer with another status than 200 means (W4). */
async function refusal(response: Response): Promise<Weather | OriginError> {
  const { status, headers } = response;
  if (status === 403 && headers.get("Pollbridge")) {
    return new OriginError(`the bridge refuses this origin: --allow-origin admits it (${(await response.text()).trim()})`);
  }
  await response.body?.cancel();
  const retryAfterMillis = Math.min(1000 * (Number(headers.get("Retry-After")) || 0), MAX_RETRY_AFTER);
  return new Weather("status", `HTTP status ${status}`, { status, retryAfterMillis });
}
