// Batches by fetch and WebSocket.

import { bridgeURL } from "./url.js";
import { base64, fromBase64 } from "../wire/base64.js";
import { SessionError } from "../engine/errors.js";
import { type Carrier, LinkError, OriginError, type Socket, type SocketEvents, type WebSocketConstructor, type WebSocketLike } from "./carrier.js";
import { findCause } from "./causes.js";
import { isNoBridge } from "./strangers.js";

/** The longest foreign Retry-After that is honoured, in milliseconds. */
const MAX_RETRY_AFTER = 10_000;

const SUBPROTOCOL = "pollbridge.v1";
/** The close code of a bridge that takes no new sessions any more. */
const CLOSE_DRAINING = 3503;

/** How to reach a bridge. */
export interface CarrierConfig {
  fetch?: typeof fetch | undefined;
  WebSocket?: WebSocketConstructor | undefined;
  credentials?: RequestCredentials | undefined;
  /** What requests carry besides, or returns it; a WebSocket carries none. */
  headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>) | undefined;
}

/** What was found out about links that came to nothing: "origin" if the bridge refuses the page. */
export type Explanation = LinkError | SessionError;

/** HttpCarrier carries batches by fetch and WebSocket. */
export class HttpCarrier implements Carrier {
  /** URL of the bridge with its prefix and version, and a final slash. */
  readonly base: string;
  readonly sendsOrigin: boolean = hasOrigin();
  multiplexed = false;
  /** What dial opens; without it nothing can be dialled. */
  readonly WebSocket: WebSocketConstructor | undefined;
  readonly #config: CarrierConfig;
  readonly #explained: (why: Explanation) => void;
  readonly #observer: PerformanceObserver | undefined;
  /** Any answer could be read. */
  #answered = false;
  /** Why the page may not reach the bridge, once that was found out. */
  #cause: LinkError | undefined;
  /** URLs without an answer whose cause was looked for. */
  readonly #examined = new Set<string>();

  /**
   * url is the bridge's; without a path the prefix /bridge is meant. explained
   * is called with what the browser kept back when something could not be reached.
   */
  constructor(url: string | URL, config: CarrierConfig, explained: (why: Explanation) => void) {
    this.base = `${bridgeURL(url)}/v1/`;
    this.WebSocket = config.WebSocket ?? (globalThis.WebSocket as WebSocketConstructor | undefined);
    this.#config = config;
    this.#explained = explained;
    this.#observer = this.sendsOrigin ? this.#observe() : undefined;
  }

  /** Learns what carries exchanges. The page's list of timings may be full, and is the page's; an observer is told of all. */
  #observe(): PerformanceObserver | undefined {
    if (!globalThis.PerformanceObserver) return undefined;
    const observer = new PerformanceObserver((list) => {
      for (const { name, nextHopProtocol } of list.getEntries() as PerformanceResourceTiming[]) {
        if (name.startsWith(this.base) && name.endsWith("/poll")) this.multiplexed = /^h[23]/.test(nextHopProtocol);
      }
    });
    observer.observe({ type: "resource" });
    return observer;
  }

  /** Learns no more of what carries exchanges. */
  close(): void {
    this.#observer?.disconnect();
  }

  async exchange(sid: string, batch: Uint8Array<ArrayBuffer>, signal: AbortSignal, text: boolean): Promise<Uint8Array> {
    const response = await this.#post(sid, batch, text, { signal }).catch((cause) => this.#unreached(cause, signal));
    const { status } = response;
    this.#answered = true;
    if (status !== 200) throw await refusal(response, this.base);
    try {
      return text ? bytesOf(await response.text()) : new Uint8Array(await response.arrayBuffer());
    } catch (cause) {
      throw new LinkError("network", "the answer was cut", { status, cut: true, cause });
    }
  }

  /** Throws the error of a fetch that failed without an answer; the browser does not say why. */
  #unreached(cause: unknown, signal: AbortSignal): never {
    if (cause instanceof LinkError) throw cause;
    if (!this.#answered && !signal.aborted) this.#explain(this.base);
    throw (!this.#answered && this.#cause) || unreached(cause);
  }

  /** Looks once for the cause why nothing ever came from url, an http or ws one; of a WebSocket of session sid at last by asking the bridge. */
  #explain(url: string, sid?: string): void {
    if (!(globalThis.location || sid) || this.#examined.has(url)) return;
    this.#examined.add(url);
    const look = async (): Promise<void> => {
      const found = globalThis.location && await findCause(url, this.#config.fetch ?? fetch, this.WebSocket);
      if (found) this.#explained((this.#cause = new LinkError(...found)));
      else if (sid) {
        const why = await this.#whyNoSocket(sid);
        if (why instanceof LinkError && isNoBridge(why)) this.#examined.delete(url); // it may change, or be certain at last
        this.#explained(why);
      }
    };
    look().catch(() => undefined); // looking is forbidden as well
  }

  /** Asks the bridge why no WebSocket opens, as a page sees no status of a handshake (W4), and no program a certificate. */
  async #whyNoSocket(sid: string): Promise<Explanation> {
    const response = await this.#request(`${sid}/ws`, {}).catch(unreached);
    if (response instanceof LinkError) {
      if (response.reason === "certificate") return new SessionError("unreachable", response.message); // waiting does not mend it
      throw response;
    }
    const { status } = response;
    if (status !== 405 || !response.headers.get("Pollbridge")) {
      const why = await refusal(response, this.base);
      const message = `WebSocket: ${why.message}`;
      return why instanceof OriginError ? new SessionError("origin", message) : new LinkError(why.reason, message, { status });
    }
    const proxy = "something before it keeps it from there, as a proxy does that is not told to pass WebSockets on (Vite: ws: true)";
    return new LinkError("websocket", `WebSocket: the bridge would take it; ${proxy}${this.#config.headers ? ", or wants the headers, which a WebSocket does not carry" : ""}`);
  }

  beacon(sid: string, batch: Uint8Array<ArrayBuffer>, text: boolean): void {
    // Text where a binary body would need a preflight, for which a page that goes has no time.
    text ||= this.sendsOrigin && !this.base.startsWith(globalThis.location.origin + "/");
    this.#post(sid, batch, text, { keepalive: true }).catch(() => undefined);
  }

  #post(sid: string, batch: Uint8Array<ArrayBuffer>, text: boolean, init: RequestInit): Promise<Response> {
    return this.#request(`${sid}/poll`, { body: text ? base64(batch) : batch, ...init }, text ? "text/plain" : "application/octet-stream");
  }

  async #request(path: string, init: RequestInit, type?: string): Promise<Response> {
    const { headers: given, credentials = "same-origin" } = this.#config;
    const headers = typeof given === "function" ? await returned(given) : recordOf(given);
    return (this.#config.fetch ?? fetch)(this.base + path, {
      method: "POST",
      headers: type ? { ...headers, "Content-Type": type } : headers,
      cache: "no-store",
      credentials,
      redirect: "manual", // the body holds the session's key
      ...init,
    });
  }

  dial(sid: string, events: SocketEvents): Socket {
    const url = `ws${this.base.slice("http".length)}`;
    const lost = (message: string, draining = false): void => events.lost(`WebSocket: ${message}`, draining);
    let opened = false;
    let socket: WebSocketLike;
    try {
      socket = new this.WebSocket!(`${url}${sid}/ws`, [SUBPROTOCOL]);
    } catch (cause) { // e.g. by the page's content security policy
      queueMicrotask(() => lost(String(cause)));
      return { send: () => undefined, bufferedAmount: 0, close: () => undefined };
    }
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      opened = true;
      events.opened();
    };
    // A text message is not ours: it is received as nothing.
    socket.onmessage = ({ data }: { data: unknown }) => events.received(new Uint8Array(data instanceof ArrayBuffer ? data : []));
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => {
      if (!opened) this.#explain(url, sid);
      lost(`closed: ${code} ${reason}`, code === CLOSE_DRAINING);
    };
    socket.onerror = () => undefined; // close follows and says as much
    return {
      send(batch) {
        try {
          socket.send(batch);
        } catch (cause) { // some implementations do so once they are closed
          queueMicrotask(() => lost(String(cause)));
        }
      },
      get bufferedAmount() {
        return socket.bufferedAmount;
      },
      close: () => socket.close(),
    };
  }
}

/** Returns headers but for Content-Type, as an object. Throws TypeError for what is none. */
export function recordOf(headers: HeadersInit | undefined): Record<string, string> {
  const { "content-type": _, ...record } = Object.fromEntries(new Headers(headers));
  return record;
}

/** Returns the headers that a function gives. Rejects with LinkError where there are none. */
async function returned(headers: () => HeadersInit | Promise<HeadersInit>): Promise<Record<string, string>> {
  try {
    return recordOf(await headers());
  } catch (cause) {
    throw new LinkError("headers", `no headers: ${String(cause)}`, { cause });
  }
}

/** Reports whether this is a page or a worker of one whose origin has a name: not so in Node, nor in a file's or sandbox's page, whose Origin is null. */
function hasOrigin(): boolean {
  const { origin = "null" } = globalThis.location ?? {};
  return origin !== "null";
}

/** Returns the error of a fetch that was not answered. Node says in the cause what it was. */
function unreached(cause: unknown): LinkError {
  const error = cause as (Error & { cause?: { message?: string; code?: string } }) | undefined;
  const reason = /CERT|LEAF_SIGNATURE/.test(error?.cause?.code ?? "") ? "certificate" : "network";
  return new LinkError(reason, error?.cause?.message || error?.message || String(cause), { cause });
}

/** Returns the error that an answer with another status than 200 stands for, of the bridge whose paths begin with base (W4). */
async function refusal(response: Response, base: string): Promise<LinkError | OriginError> {
  const { status, headers } = response;
  if (status === 403 && headers.get("Pollbridge")) {
    const said = await response.text().catch(() => "");
    return new OriginError(`the bridge at ${base.slice(0, -"/v1/".length)} refuses this page: ${said.trim()}`);
  }
  if (response.type === "opaqueredirect" || (status >= 300 && status < 400)) {
    response.body?.cancel().catch(() => undefined);
    const to = headers.get("Location"); // which no browser tells
    return new LinkError("foreign", `a redirect${to ? ` to ${to}` : ""}`, { status });
  }
  response.body?.cancel().catch(() => undefined);
  const retryAfterMillis = Math.min(1000 * (Number(headers.get("Retry-After")) || 0), MAX_RETRY_AFTER);
  return new LinkError(response.ok ? "foreign" : "status", `HTTP status ${status}`, { status, retryAfterMillis });
}

/** Returns the bytes that a body of base64 stands for; the body's own if it is no base64, and so not the bridge's. */
function bytesOf(text: string): Uint8Array {
  try {
    return fromBase64(text);
  } catch {
    return new TextEncoder().encode(text);
  }
}
