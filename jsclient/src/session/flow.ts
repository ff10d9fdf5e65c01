// The two sides of a stream: what it has to send, and what it has received.

import { FRAME_COST, type Frame, MAX_FRAGMENT } from "../wire/batch.js";
import { Writer } from "../wire/proto.js";
import { bridgeEnd, SessionError } from "./errors.js";
import type { OutMessage, Unsent } from "./outbox.js";
import type { Stream } from "./stream.js";
import { QUEUE_BYTES, RESOURCE_EXHAUSTED, WINDOW_GROWTH } from "./limits.js";

/** Outgoing is what a stream has to send. */
export class Outgoing {
  queue: (Unsent | OutMessage)[] = [];
  /** In Outbox.turn. */
  inTurn = false;
  /** May not be sent yet: waits for the Welcome (O4) or for its half-close. */
  held = true;
  /** The peer's, in bytes: set while nothing was sent, and raised from then on. */
  limit = 0;
  /** Nothing more may be queued. */
  closed = false;
  readonly #stream: Stream;
  #bytes = 0;
  #used = 0;
  #waiting: (() => void)[] = [];

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  /** How many bytes of the head message the peer's window allows. Negative: not even its start. */
  credit(): number {
    const head = this.queue[0]!;
    const begun = "type" in head || head.started;
    return this.limit - this.#used - (begun ? 0 : FRAME_COST);
  }

  /** Tells whether the head of the queue may be sent. */
  hasCredit(): boolean {
    const head = this.queue[0];
    if (!head || "type" in head) return !!head;
    return this.credit() >= Math.min(head.bytes.length, 1);
  }

  push(item: Unsent | OutMessage): void {
    this.queue.push(item);
    if (!("type" in item)) this.#bytes += item.bytes.length;
    this.activate();
  }

  /** Puts the stream in turn if it has something that it may send. */
  activate(): void {
    const session = this.#stream.session;
    if (!session || this.inTurn || this.held || !this.hasCredit()) return;
    this.inTurn = true;
    session.out.turn.push(this.#stream);
    session.wake();
  }

  /** Takes the peer's limit, which never falls. */
  raise(limit: number): void {
    if (limit <= this.limit) return;
    this.limit = limit;
    this.activate();
  }

  /** Accounts for n bytes cut off the head message. */
  cutOff(message: OutMessage, n: number): void {
    if (!message.started) this.#used += FRAME_COST;
    message.started = true;
    message.cut += n;
    this.#used += n;
    this.#bytes -= n;
    if (message.cut === message.bytes.length) this.queue.shift();
    if (this.#bytes <= QUEUE_BYTES) this.#wake();
  }

  /** Resolves when there is room for another message. */
  room(): Promise<void> | undefined {
    if (this.#bytes <= QUEUE_BYTES) return undefined;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Forgets what was not sent. */
  drop(): void {
    this.queue = [];
    this.#bytes = 0;
    this.closed = true;
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}

/** A message being put together. */
interface InMessage {
  pieces: Writer;
  /** Its stated length. */
  length: number;
  /** Gives back what it holds of the reassembly budget, or waits for (D4). */
  release?: () => void;
}

/** Incoming is what a stream has received. */
export class Incoming {
  /** No more frames are taken. */
  ended = false;
  readonly #stream: Stream;
  readonly #first: number;
  #queue: InMessage[] = [];
  #part: InMessage | undefined;
  #taken: InMessage | undefined;
  #charged = 0;
  #consumed = 0;
  #window: number;
  #limit: number;
  #granting = false;

  constructor(stream: Stream, window: number) {
    this.#stream = stream;
    this.#first = this.#window = this.#limit = window;
  }

  /** Takes a MESSAGE frame. Throws SessionError for a breach. */
  accept({ data = new Uint8Array(), length }: Frame, longest: number): void {
    const stream = this.#stream;
    if (length! > longest) return stream.giveUp(bridgeEnd(RESOURCE_EXHAUSTED, "limit", `message of ${length} bytes, limit ${longest}`));
    const begins = length !== undefined;
    const inStep = begins === !this.#part;
    const message = (this.#part ??= { pieces: new Writer(), length: length! });
    const rest = message.length - message.pieces.length;
    this.#charged += data.length + (begins ? FRAME_COST : 0);
    if (!inStep || data.length > Math.min(rest, MAX_FRAGMENT) || (rest > 0 && data.length === 0) || this.#charged > this.#limit) {
      throw new SessionError("breach", `stream ${stream.id}: a fragment out of step, or above its limit`);
    }
    message.pieces.put(data);
    if (data.length < rest) return this.#extend();
    this.#part = undefined;
    this.#queue.push(message);
  }

  /** The next complete message, if any. The one taken before counts as consumed from now on (D3). */
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
    this.#consumed += message.length + FRAME_COST;
    if (this.#consumed + this.#window >= this.#limit + this.#window / 2) {
      this.#window = Math.min(2 * this.#window, WINDOW_GROWTH * this.#first);
      this.#grant(this.#consumed + this.#window);
    }
  }

  /** Raises the peer's limit and has it told. */
  #grant(limit: number): void {
    const { session } = this.#stream;
    if (limit <= this.#limit || this.ended || !session) return;
    this.#limit = limit;
    if (this.#granting) return;
    this.#granting = true;
    session.out.grants.push(this.#stream);
    session.wake();
  }

  /** The limit, as it is being told to the peer. */
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
    const end = this.#charged + length - part.pieces.length;
    if (end <= this.#limit) return;
    if (length + FRAME_COST <= WINDOW_GROWTH * this.#first) return this.#grant(end);
    const late = (): void => stream.giveUp(bridgeEnd(RESOURCE_EXHAUSTED, "limit", `no room for ${length} bytes`));
    part.release = stream.session!.large.reserve(length, () => this.#grant(end), late);
  }

  /** Takes nothing more. What is complete can still be taken. */
  end(): void {
    this.ended = true;
    this.#part?.release?.();
    this.#part = undefined;
  }

  /** Forgets what was not yet taken (D3). */
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
