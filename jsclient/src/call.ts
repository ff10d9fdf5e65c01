import { type Bytes, checkOptions, copyBytes, having, type Rules, shown, truth } from "./args.js";
import type { CallLike } from "./like.js";
import { fromWire, type Metadata, type MetadataInit, toWire } from "./metadata.js";
import { bridgeEnd, CANCELLED, DEADLINE_EXCEEDED } from "./engine/errors.js";
import { Stream } from "./engine/stream.js";
import { type Status, StatusError, toStatus } from "./status.js";
import type { Open } from "./wire/batch.js";

/** The longest delay of a timer, in milliseconds. */
const MAX_DELAY = 0x7fffffff;

/** CallOptions are the options of one RPC. */
export interface CallOptions {
  /** Request metadata: pairs, an object, Headers or a Map. Default: none. */
  metadata?: MetadataInit | undefined;
  /** Time allowed for the whole RPC, in milliseconds, from now on. Default, and for what is over 285 years: no deadline. */
  timeoutMs?: number | undefined;
  /** Cancels the RPC when it aborts. */
  signal?: AbortSignal | undefined;
  /** Compression of messages towards the gRPC server, e.g. "gzip". Default: none. */
  compression?: string | undefined;
  /**
   * The RPC may run twice without harm, so that it need not wait until the
   * session is open: it saves a round trip. Default: false.
   */
  idempotent?: boolean | undefined;
  /** Exactly one message will be sent: it leaves with the opening and the half-close, in one exchange. Default: false. */
  singleRequest?: boolean | undefined;
  /**
   * Exactly one message is to be received: it is yielded once the RPC has ended
   * OK. An RPC with none, or with a second one, ends with UNIMPLEMENTED, as
   * gRPC has it for unary and client-streaming methods. Default: false.
   */
  singleResponse?: boolean | undefined;
  /** Wait until the gRPC server can be reached instead of failing soon. Default: false. */
  waitForReady?: boolean | undefined;
}

/** The slash before a method's path may be missing. */
const METHOD = /^\/?([a-z_]\w*(?:\.\w+)*\/[a-z_]\w*)$/i;
/** The longest path of a method, in characters. */
const MAX_METHOD = 4_096;

const RULES: Rules<CallOptions> = {
  metadata: [() => true, ""], // toWire looks at it
  timeoutMs: [(value: unknown) => typeof value === "number" && value >= 0, "0 or more milliseconds"],
  signal: having("an AbortSignal", "addEventListener", "removeEventListener"),
  compression: [(value: unknown) => typeof value === "string" && /^[!-~]{0,64}$/.test(value), "the name of a compression"],
  idempotent: truth,
  singleRequest: truth,
  singleResponse: truth,
  waitForReady: truth,
};

/** Builds the Open of an RPC. Throws TypeError for what gRPC forbids, and for options of another type. */
export function newOpen(path: string, options: CallOptions): Open {
  const method = typeof path === "string" && path.length <= MAX_METHOD ? METHOD.exec(path)?.[1] : undefined;
  if (!method) throw new TypeError(`method ${shown(path)}: must be /package.Service/Method, of ${MAX_METHOD} characters at most`);
  const { timeoutMs = Infinity, metadata = [], idempotent: early, ...rest } = checkOptions("option", options, RULES);
  const micros = Math.round(1000 * timeoutMs);
  const timeoutMicros = micros <= Number.MAX_SAFE_INTEGER ? micros : undefined;
  return { ...rest, method: "/" + method, metadata: toWire(metadata), timeoutMicros, createdMicros: 0, early };
}

/** Call is one RPC, of any of the four kinds. */
export class Call implements CallLike {
  /** Resolves with the response headers as soon as they came; with none if the RPC ends without any. Never rejects. */
  readonly headers: Promise<Metadata>;
  /** Resolves when the RPC is over. Never rejects. */
  readonly status: Promise<Status>;
  /**
   * The response messages, in order; to be iterated once. Ends with a
   * StatusError unless the status is OK. Leaving the loop early cancels the
   * RPC. What is not read is not sent for: reading slowly slows the server.
   */
  readonly messages: AsyncIterableIterator<Uint8Array>;
  readonly #stream: Stream;

  /** Made by Channel.open. */
  constructor(stream: Stream, options: CallOptions) {
    this.#stream = stream;
    this.headers = stream.headers.then(fromWire);
    this.status = stream.ended.then(toStatus);
    this.messages = this.#iterate(stream.request.singleResponse);
    this.#watch(options);
  }

  /**
   * Sends one message. Resolves when there is room for the next: await it, and
   * a slow network or server slows the sender. The bytes are copied. Throws
   * TypeError at once for what is no bytes. Rejects with a StatusError if the
   * RPC has ended otherwise than OK; after OK, what is sent goes nowhere, as in
   * gRPC.
   */
  send(bytes: Bytes): Promise<void> {
    const sent = this.#send(copyBytes("message", bytes));
    sent.catch(() => undefined); // who does not await learns it from status
    return sent;
  }

  async #send(bytes: Uint8Array): Promise<void> {
    await this.#stream.send(bytes);
    const end = this.#stream.status;
    if (end?.status) throw new StatusError(toStatus(end));
  }

  /** Half-closes the RPC: no more messages follow. */
  closeSend(): void {
    this.#stream.closeSend();
  }

  /** Cancels the RPC. Its status is CANCELLED unless it had ended before. */
  cancel(): void {
    this.#stream.giveUp(bridgeEnd(CANCELLED, "cancelled", "cancelled by the caller"));
  }

  async *#iterate(single?: boolean): AsyncGenerator<Uint8Array, void, undefined> {
    let only: Uint8Array | undefined;
    let message: Uint8Array | undefined;
    try {
      while ((message = await this.#stream.recv())) {
        if (single) only = message;
        else yield message;
      }
    } finally {
      this.cancel();
    }
    const status = await this.status;
    if (status.code) throw new StatusError(status, await this.headers);
    if (only) yield only;
  }

  /** Ends the RPC at its deadline or when its signal aborts. */
  #watch({ timeoutMs, signal }: CallOptions): void {
    const stream = this.#stream;
    const abort = (): void => this.cancel();
    if (signal?.aborted) return abort();
    signal?.addEventListener("abort", abort);
    const expire = (): void => stream.giveUp(bridgeEnd(DEADLINE_EXCEEDED, "deadline", `deadline of ${Math.round(timeoutMs!)} ms exceeded`));
    const timer = timeoutMs! <= MAX_DELAY ? setTimeout(expire, timeoutMs) : undefined;
    void stream.ended.then(() => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    });
  }
}
