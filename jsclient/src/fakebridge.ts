// A bridge in memory, for tests of what uses a Channel.

import type { Bytes } from "./args.js";
import { Channel } from "./channel.js";
import type { ChannelOptions } from "./options.js";
import type { WebSocketConstructor, WebSocketLike } from "./dialer/carrier.js";
import type { FakeRPC, Script } from "./fakebridge/rpc.js";
import { FakeSession, type Link } from "./fakebridge/session.js";
import type { Metadata } from "./metadata.js";
import { Code, StatusError } from "./status.js";
import { base64, base64url, fromBase64 } from "./wire/base64.js";
import { type Batch, CODE_UNKNOWN } from "./wire/batch.js";
import { encodeBatch, newBatch, parseBatch } from "./wire/codec.js";

export type { FakeRPC };

/** Returns what a script throws to end its RPC with a gRPC status. */
export function statusError(code: Code, message: string, trailers: Metadata = []): StatusError {
  return new StatusError({ code, message, details: new Uint8Array(), trailers, origin: "backend", reason: "" });
}

/** More than promises pass on what a fetch rejects with, until the engine has it. */
const HOPS = 32;

/** What cuts a link that is up. */
type Cut = () => void;

/**
 * FakeBridge is a bridge in memory, with scripts in place of gRPC servers. The
 * Channels to it are real: they open sessions, go over to a WebSocket, repair
 * links and lose sessions, all without a network. It needs nothing of a test
 * runner; under fake timers what the client waits for waits for them.
 */
export class FakeBridge {
  /** The URL under which fetch and WebSocket answer, as they do under any other. */
  readonly url = "http://bridge.test/bridge";
  /** For the option fetch of a Channel that channel has not made. */
  readonly fetch: typeof fetch = (url, init) => this.#fetch(String(url), init);
  /** For the option WebSocket of a Channel that channel has not made. */
  readonly WebSocket: WebSocketConstructor = socketTo((socket) => this.#dial(socket));
  readonly #scripts = new Map<string, Script>();
  readonly #sessions = new Map<string, FakeSession>();
  readonly #channels = new Set<Channel>();
  readonly #exchanges = new Set<Cut>();
  readonly #sockets = new Set<Cut>();
  #offline = false;
  #webSocket = true;
  /** Names this life of the bridge, in the upper half; the lower one names a session's. */
  #incarnation = 1n << 32n;

  /** Returns a Channel to this bridge. The options are a Channel's; nothing is kept in a page's storage unless they say so. */
  channel(options: ChannelOptions = {}): Channel {
    const channel = new Channel(this.url, { storage: null, fetch: this.fetch, WebSocket: this.WebSocket, ...options });
    this.#channels.add(channel);
    return channel;
  }

  /**
   * Scripts a unary method, "/package.Service/Method": answer gets the request
   * and returns the response, or throws a statusError; whatever else it throws
   * is UNKNOWN. A method without a script is UNIMPLEMENTED.
   */
  unary(method: string, answer: (request: Uint8Array, rpc: FakeRPC) => Bytes | Promise<Bytes>): void {
    this.stream(method, async function* (requests, rpc) {
      const { value } = await requests.next();
      if (!value) throw statusError(Code.Unimplemented, `${method}: no request message`);
      yield await answer(value, rpc);
    });
  }

  /** Scripts a method of any kind: answer gets the requests and yields the responses. Else as unary. */
  stream(method: string, answer: (requests: AsyncIterableIterator<Uint8Array>, rpc: FakeRPC) => AsyncIterable<Bytes>): void {
    this.#scripts.set(method, answer);
  }

  /** Number of sessions that clients have open. */
  get sessions(): number {
    return this.#sessions.size;
  }

  /** Begins an outage: every link is cut and none comes up. Or ends it: the channels that channel has made try at once, others when their backoff says so. */
  setOffline(offline: boolean): void {
    this.#offline = offline;
    if (offline) this.#cut(this.#exchanges, this.#sockets);
    else void this.#retryNow();
  }

  /** Forbids WebSockets, as some proxies do: channels go on by long-polling. Or allows them again. */
  setWebSocket(allowed: boolean): void {
    this.#webSocket = allowed;
    if (!allowed) this.#cut(this.#sockets);
    else void this.#retryNow();
  }

  /** Forgets every session, as a bridge does that is restarted: their RPCs end UNAVAILABLE with the reason "bridge_restarted". */
  restart(): void {
    this.#incarnation = ((this.#incarnation >> 32n) + 1n) << 32n;
    for (const session of this.#sessions.values()) session.end();
    this.#sessions.clear();
    this.#cut(this.#exchanges, this.#sockets);
    if (!this.#offline) void this.#retryNow();
  }

  /** Closes the channels that channel has made, and forgets every session: nothing is left running. */
  close(): void {
    for (const channel of this.#channels) channel.close();
    this.#channels.clear();
    this.restart();
  }

  /** Has channels try at once; what failed before they hear of first. */
  async #retryNow(): Promise<void> {
    for (let hop = 0; hop < HOPS; hop++) await undefined;
    for (const channel of this.#channels) channel.retryNow();
  }

  #cut(...links: Set<Cut>[]): void {
    for (const kind of links) for (const cut of [...kind]) cut();
  }

  #scriptOf(method: string): Script {
    const script = this.#scripts.get(method);
    if (script) return script;
    return async function* () {
      throw statusError(Code.Unimplemented, `${method}: the fake bridge has no script for it`);
    };
  }

  /** Returns the session of a batch; a new one for a Hello; undefined for one that is not known. */
  #sessionOf({ session: id, hello, incarnation }: Batch): FakeSession | undefined {
    const sid = base64url(id!);
    const known = this.#sessions.get(sid);
    if (known || !hello || incarnation !== 0n) return incarnation === 0n || incarnation === this.#incarnation ? known : undefined;
    const session = new FakeSession((method) => this.#scriptOf(method));
    this.#sessions.set(sid, session);
    return session;
  }

  /** Has the session of a batch take it, or refuses it. */
  #take(batch: Batch, link: Link, how: (session: FakeSession) => void): FakeSession | undefined {
    const session = this.#sessionOf(batch);
    if (!session) link.say({ close: { code: CODE_UNKNOWN, message: "no such session", retryAfterMillis: 0, limit: 0 } });
    else how(session);
    if (session?.closed) this.#sessions.delete(base64url(batch.session!));
    return session;
  }

  /** Returns the answer to a batch, encoded. */
  #encode({ session, x }: Batch, fields: Partial<Batch>): Uint8Array<ArrayBuffer> {
    return encodeBatch({ ...newBatch(), session: session!, x, incarnation: this.#incarnation, ...fields });
  }

  async #fetch(url: string, { body, signal }: RequestInit = {}): Promise<Response> {
    if (this.#offline) throw new TypeError(`${url}: the fake bridge is offline`);
    if (!body) return new Response(null, { status: 405, headers: { Pollbridge: "1" } }); // asks why no WebSocket opens
    const text = typeof body === "string";
    const batch = parseBatch(text ? fromBase64(body) : new Uint8Array(body as ArrayBuffer).slice());
    return new Promise((resolve, reject) => {
      const cut = (): void => {
        this.#exchanges.delete(cut);
        session?.cut(batch.x);
        reject(new TypeError("the link was cut"));
      };
      const say = (fields: Partial<Batch>): void => {
        this.#exchanges.delete(cut);
        const bytes = this.#encode(batch, fields);
        resolve(new Response(text ? base64(bytes) : bytes));
      };
      this.#exchanges.add(cut);
      signal?.addEventListener("abort", cut); // even of one that was answered, which the client may not have read
      const link = { number: batch.x, say };
      const session = this.#take(batch, link, (of) => of.exchange(batch, link));
    });
  }

  #dial(socket: Far): void {
    if (this.#offline || !this.#webSocket) return socket.lost();
    let session: FakeSession | undefined;
    let number = 0;
    const gone = (): void => {
      this.#sockets.delete(cut);
      session?.cut(number);
    };
    const cut = (): void => {
      gone();
      socket.lost();
    };
    this.#sockets.add(cut);
    socket.closed = gone;
    socket.came = (bytes) => {
      const batch = parseBatch(bytes);
      number = batch.x;
      const link = { number, say: (fields: Partial<Batch>) => socket.say(this.#encode(batch, fields)) };
      session = this.#take(batch, link, (of) => of.message(batch, link));
    };
    socket.opened();
  }
}

/** The bridge's end of a WebSocket. */
interface Far {
  opened(): void;
  say(bytes: Uint8Array<ArrayBuffer>): void;
  lost(): void;
  came: (bytes: Uint8Array) => void;
  closed: () => void;
}

/** Returns a WebSocket class whose sockets dial. What happens on them happens in microtasks, in order. */
function socketTo(dial: (far: Far) => void): WebSocketConstructor {
  return class implements WebSocketLike {
    binaryType = "";
    readonly bufferedAmount = 0;
    onopen: WebSocketLike["onopen"] = null;
    onmessage: WebSocketLike["onmessage"] = null;
    onclose: WebSocketLike["onclose"] = null;
    onerror: WebSocketLike["onerror"] = null;
    #gone = false;
    readonly #far: Far = {
      opened: () => this.#later(() => this.onopen?.({} as never)),
      say: ({ buffer }) => this.#later(() => this.onmessage?.({ data: buffer } as never)),
      lost: () =>
        this.#later(() => {
          this.#gone = true;
          this.onclose?.({ code: 1006, reason: "" } as never);
        }),
      came: () => undefined,
      closed: () => undefined,
    };

    constructor() {
      queueMicrotask(() => this.#gone || dial(this.#far));
    }

    send(data: Uint8Array<ArrayBuffer>): void {
      const bytes = data.slice();
      this.#later(() => this.#far.came(bytes));
    }

    close(): void {
      this.#later(() => {
        this.#gone = true;
        this.#far.closed();
      });
    }

    /** Does what happens on a socket that is not gone. */
    #later(what: () => void): void {
      queueMicrotask(() => this.#gone || what());
    }
  };
}
