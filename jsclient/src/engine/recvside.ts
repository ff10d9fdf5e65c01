import { FRAME_COST, type Frame, MAX_FRAGMENT } from "../wire/batch.js";
import { Writer } from "../wire/proto.js";
import { Window } from "../tune/window.js";
import { bridgeEnd, RESOURCE_EXHAUSTED, violation } from "./errors.js";
import type { Stream } from "./stream.js";

/** How many first windows a message may be long that needs no room in the budget for long ones (D4). */
const SHORT_IN_WINDOWS = 4;

/** A message being put together. */
interface InMessage {
  pieces: Writer;
  /** Its stated length. */
  length: number;
  /** Gives back what it holds of the reassembly budget, or ends its wait for it (D4). */
  release?: () => void;
}

/** RecvSide is what a stream has received. */
export class RecvSide {
  /** No more frames are taken. */
  ended = false;
  readonly #stream: Stream;
  /** The first window, in bytes. */
  readonly #first: number;
  #queue: InMessage[] = [];
  #part: InMessage | undefined;
  /** The message that was taken last. */
  #taken: InMessage | undefined;
  /** What the peer has used of #limit. */
  #used = 0;
  #consumed = 0;
  readonly #window: Window;
  #limit: number;
  /** Messages that came and were not consumed, while the RPC goes on. */
  #unread = 0;
  /** In Outbox.grants. */
  #granting = false;

  constructor(stream: Stream, window: number) {
    this.#stream = stream;
    this.#first = this.#limit = window;
    this.#window = new Window(window);
  }

  /** Takes a MESSAGE frame. Throws SessionError for a protocol violation. */
  accept({ data = new Uint8Array(), length }: Frame, maxMessageBytes: number): void {
    const stream = this.#stream;
    if (length! > maxMessageBytes) return stream.giveUp(bridgeEnd(RESOURCE_EXHAUSTED, "limit", `message of ${length} bytes, limit ${maxMessageBytes}`));
    const begins = length !== undefined;
    if (begins === !!this.#part) throw violation(`stream ${stream.id}: ${begins ? "a message within another" : "a fragment of no message"}`);
    const message = (this.#part ??= { pieces: new Writer(), length: length! });
    const left = message.length - message.pieces.length;
    this.#used += data.length + (begins ? FRAME_COST : 0);
    if (data.length > Math.min(left, MAX_FRAGMENT) || (left > 0 && data.length === 0)) throw violation(`stream ${stream.id}: a fragment of ${data.length} bytes where ${left} are left of the message`);
    if (this.#used > this.#limit) throw violation(`stream ${stream.id}: ${this.#used} bytes sent, limit ${this.#limit}`);
    message.pieces.put(data);
    if (data.length < left) return this.#extend();
    this.#part = undefined;
    this.#queue.push(message);
    this.#count(1);
  }

  /** Counts messages that came, and less than 0, that were consumed. */
  #count(n: number): void {
    this.#unread += n;
    const { endpoint } = this.#stream;
    if (endpoint && (endpoint.unread += n) === 0) endpoint.wake();
  }

  /** Returns the next complete message, if any. The one taken before counts as consumed from now on (D3). */
  take(): Uint8Array | undefined {
    this.#consume();
    this.#taken = this.#queue.shift();
    this.#extend();
    return this.#taken?.pieces.bytes();
  }

  #consume(): void {
    const message = this.#taken;
    if (!message) return;
    message.release?.();
    if (this.#unread > 0) this.#count(-1);
    this.#consumed += message.length + FRAME_COST;
    const { endpoint } = this.#stream;
    const window = this.#window;
    if (!endpoint || this.#consumed + window.size < this.#limit + window.step) return;
    const size = window.next(performance.now(), endpoint.path.smoothedRTT, this.#consumed);
    if (endpoint.widen(size - window.size)) window.size = size;
    this.#grant(this.#consumed + window.size);
  }

  /** Raises the peer's limit, and queues the WINDOW that says so. */
  #grant(limit: number): void {
    const { endpoint } = this.#stream;
    if (limit <= this.#limit || this.ended || !endpoint) return;
    this.#limit = limit;
    if (this.#granting) return;
    this.#granting = true;
    endpoint.out.grants.push(this.#stream);
    endpoint.wake();
  }

  /** Returns the limit for the WINDOW that is about to be sent. */
  granted(): number {
    this.#granting = false;
    return this.#limit;
  }

  /** Lets the rest of a message come that goes beyond the limit, when nothing complete waits (D4). */
  #extend(): void {
    const part = this.#part;
    const stream = this.#stream;
    if (!part || this.#queue.length > 0 || part.release || this.ended) return;
    const { length } = part;
    const end = this.#used + length - part.pieces.length;
    if (end <= this.#limit) return;
    if (length + FRAME_COST <= Math.max(SHORT_IN_WINDOWS * this.#first, this.#window.size)) return this.#grant(end);
    const timedOut = (): void => stream.giveUp(bridgeEnd(RESOURCE_EXHAUSTED, "limit", `no room for a message of ${length} bytes`));
    part.release = stream.endpoint!.reassembly.reserve(length, () => this.#grant(end), timedOut);
  }

  /** Takes nothing more. What is complete can still be taken. */
  end(): void {
    this.ended = true;
    this.#count(-this.#unread);
    this.#stream.endpoint?.widen(this.#first - this.#window.size);
    this.#window.size = this.#first;
    this.#part?.release?.();
    this.#part = undefined;
  }

  /** Drops what was not yet taken (D3). */
  drop(): void {
    this.settle();
    this.#queue = [];
    this.#taken = undefined;
  }

  /** Gives back what complete messages hold of the budget, and leaves them to be read. */
  settle(): void {
    for (const message of [this.#taken, ...this.#queue]) message?.release?.();
  }
}
