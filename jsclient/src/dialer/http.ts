// Batches by fetch and WebSocket.

import { bridgeURL } from "./url.js";
import { base64, fromBase64 } from "../wire/base64.js";
import { type Carrier, LinkError, OriginError, type Socket, type SocketEvents, type WebSocketConstructor, type WebSocketLike } from "./carrier.js";
import { findCause } from "./causes.js";

/** The longest foreign Retry-After that is honoured, in milliseconds. */
const MAX_RETRY_AFTER = 10_000;

const SUBPROTOCOL = "pollbridge.v1";

/** How to reach a bridge. */
export interface CarrierConfig {
  fetch?: typeof fetch | undefined;
  WebSocket?: WebSocketConstructor | undefined;
  credentials?: RequestCredentials | undefined;
}

/** HttpCarrier carries batches by fetch and WebSocket. */
export class HttpCarrier implements Carrier {
  /** URL of the bridge with its prefix and version, and a final slash. */
  readonly base: string;
  readonly sendsOrigin: boolean = hasOrigin();
  /** What dial opens; without it nothing can be dialled. */
  readonly WebSocket: WebSocketConstructor | undefined;
  readonly #config: CarrierConfig;
  readonly #explained: (why: LinkError) => void;
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
  constructor(url: string | URL, config: CarrierConfig, explained: (why: LinkError) => void) {
    this.base = `${bridgeURL(url)}/v1/`;
    this.WebSocket = config.WebSocket ?? (globalThis.WebSocket as WebSocketConstructor | undefined);
    this.#config = config;
    this.#explained = explained;
  }

  async exchange(sid: string, batch: Uint8Array<ArrayBuffer>, signal: AbortSignal, text: boolean): Promise<Uint8Array> {
    const response = await this.#post(sid, batch, text, { signal }).catch((cause) => this.#unreached(cause, signal));
    const { status } = response;
    this.#answered = true;
    if (status !== 200) throw await refusal(response);
    try {
      return text ? bytesOf(await response.text()) : new Uint8Array(await response.arrayBuffer());
    } catch (cause) {
      throw new LinkError("network", "the answer was cut", { status, cut: true, cause });
    }
  }

  /** Throws the error of a fetch that failed without an answer; the browser does not say why. */
  #unreached(cause: unknown, signal: AbortSignal): never {
    if (!this.#answered && !signal.aborted) this.#explain(this.base);
    const error = cause as (Error & { cause?: { message?: string; code?: string } }) | undefined; // Node says there what it was
    const reason = /CERT|LEAF_SIGNATURE/.test(error?.cause?.code ?? "") ? "certificate" : "network";
    throw (!this.#answered && this.#cause) || new LinkError(reason, error?.cause?.message || error?.message || String(cause), { cause });
  }

  /** Looks once for the cause why nothing ever came from url, an http or ws one. */
  #explain(url: string): void {
    if (!globalThis.location || this.#examined.has(url)) return;
    this.#examined.add(url);
    findCause(url, this.#config.fetch ?? fetch, this.WebSocket).then(
      (found) => found && this.#explained((this.#cause = new LinkError(...found))),
      () => undefined, // looking is forbidden as well
    );
  }

  beacon(sid: string, batch: Uint8Array<ArrayBuffer>, text: boolean): void {
    // Text where a binary body would need a preflight, for which a page that goes has no time.
    text ||= this.sendsOrigin && !this.base.startsWith(globalThis.location.origin + "/");
    this.#post(sid, batch, text, { keepalive: true }).catch(() => undefined);
  }

  async #post(sid: string, batch: Uint8Array<ArrayBuffer>, text: boolean, init: RequestInit): Promise<Response> {
    return (this.#config.fetch ?? fetch)(`${this.base}${sid}/poll`, {
      method: "POST",
      headers: { "Content-Type": text ? "text/plain" : "application/octet-stream" },
      body: text ? base64(batch) : batch,
      cache: "no-store",
      credentials: this.#config.credentials ?? "same-origin",
      redirect: "manual", // the body holds the session's key
      ...init,
    });
  }

  dial(sid: string, events: SocketEvents): Socket {
    const url = `ws${this.base.slice("http".length)}`;
    const lost = (message: string): void => events.lost(`WebSocket: ${message}`);
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
      if (!opened) this.#explain(url);
      lost(`closed: ${code} ${reason}`);
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

/** Reports whether this is a page or a worker of one whose origin has a name: not so in Node, nor in a file's or sandbox's page, whose Origin is null. */
function hasOrigin(): boolean {
  const { origin = "null" } = globalThis.location ?? {};
  return origin !== "null";
}

/** Returns the error that an answer with another status than 200 stands for (W4). */
async function refusal(response: Response): Promise<LinkError | OriginError> {
  const { status, headers } = response;
  if (status === 403 && headers.get("Pollbridge")) {
    const said = await response.text().catch(() => "");
    return new OriginError(`the bridge refuses this page: ${said.trim()}`);
  }
  if (response.type === "opaqueredirect" || (status >= 300 && status < 400)) {
    response.body?.cancel().catch(() => undefined);
    const to = headers.get("Location"); // which no browser tells
    return new LinkError("status", `a redirect${to ? ` to ${to}` : ""}`, { status });
  }
  response.body?.cancel().catch(() => undefined);
  const retryAfterMillis = Math.min(1000 * (Number(headers.get("Retry-After")) || 0), MAX_RETRY_AFTER);
  return new LinkError("status", `HTTP status ${status}`, { status, retryAfterMillis });
}

/** Returns the bytes that a body of base64 stands for; the body's own if it is no base64, and so not the bridge's. */
function bytesOf(text: string): Uint8Array {
  try {
    return fromBase64(text);
  } catch {
    return new TextEncoder().encode(text);
  }
}
