// The two sides of a stream: what it has to send, and what it has received.

import { FRAME_COST, type Frame, MAX_FRAGMENT } from "../wire/batch.js";
import { bridgeEnd, SessionError } from "./errors.js";
import type { OutMessage } from "./outbox.js";
import { Queue } from "./queue.js";
import type { Stream } from "./stream.js";
import { QUEUE_BYTES, RESOURCE_EXHAUSTED, WINDOW_GROWTH } from "./limits.js";

/** Outgoing is what a stream has to send. */
export class Outgoing {
  readonly queue: Queue<Frame | OutMessage> = new Queue();
  /** In Outbox.turn. */
  inTurn = false;
  /** May not be sent yet: waits for the Welcome (O4) or for its half-close. */
  held = true;
  /** Nothing more may be queued. */
  closed = false;
  readonly #stream: Stream;
  #bytes = 0;
  #limit = 0;
  #used = 0;
  #waiting: (() => void)[] = [];

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  /** How many bytes of the head message the peer's window allows. Negative: not even its start. */
  credit(): number {
    const head = this.queue.at(0)!;
    const begun = "type" in head || head.started;
    return this.#limit - this.#used - (begun ? 0 : FRAME_COST);
  }

  /** Tells whether the head of the queue may be sent. */
  hasCredit(): boolean {
    const head = this.queue.at(0);
    if (!head || "type" in head) return head !== undefined;
    return this.credit() >= (head.bytes.length === 0 ? 0 : 1);
  }

  push(item: Frame | OutMessage): void {
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

  /** Sets the peer's limit while nothing was sent. */
  begin(limit: number): void {
    this.#limit = limit;
  }

  /** Takes the peer's limit, which never falls. */
  raise(limit: number): void {
    if (limit <= this.#limit) return;
    this.#limit = limit;
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
    this.queue.clear();
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
  pieces: Uint8Array[];
  length: number;
  got: number;
  /** Bytes of the reassembly budget that it holds (D4). */
  reserved: number;
}

/** Incoming is what a stream has received. */
export class Incoming {
  /** No more frames are taken. */
  ended = false;
  readonly #stream: Stream;
  readonly #first: number;
  readonly #queue: Queue<InMessage> = new Queue();
  #part: InMessage | undefined;
  #taken: InMessage | undefined;
  #charged = 0;
  #consumed = 0;
  #window: number;
  #limit: number;
  #granting = false;
  #reserving = false;

  constructor(stream: Stream, window: number) {
    this.#stream = stream;
    this.#first = this.#window = this.#limit = window;
  }

  /** Takes a MESSAGE frame. Throws SessionError for a breach. */
  accept(frame: Frame, longest: number): void {
    const data = frame.data ?? new Uint8Array(0);
    if ((frame.length !== undefined) !== (this.#part === undefined)) throw this.#breach("fragment out of step");
    if (data.length > MAX_FRAGMENT) throw this.#breach(`fragment of ${data.length} bytes, limit ${MAX_FRAGMENT}`);
    if (frame.length !== undefined) {
      this.#charged += FRAME_COST;
      if (frame.length > longest) {
        const message = `message of ${frame.length} bytes, limit ${longest}`;
        this.#stream.giveUp(bridgeEnd(RESOURCE_EXHAUSTED, "limit", message));
        return;
      }
      this.#part = { pieces: [], length: frame.length, got: 0, reserved: 0 };
    }
    this.#charged += data.length;
    if (this.#charged > this.#limit) throw this.#breach(`${this.#charged} bytes, limit ${this.#limit}`);
    this.#append(this.#part!, data);
  }

  #append(message: InMessage, data: Uint8Array): void {
    const rest = message.length - message.got;
    if (data.length > rest || (data.length === 0 && rest > 0)) throw this.#breach("fragment out of step");
    message.pieces.push(data);
    message.got += data.length;
    if (message.got === message.length) {
      this.#part = undefined;
      this.#queue.push(message);
    } else {
      this.#extend();
    }
  }

  #breach(what: string): SessionError {
    return new SessionError("breach", `stream ${this.#stream.id}: ${what}`);
  }

  /** The next complete message, if any. The one taken before counts as consumed from now on (D3). */
  take(): Uint8Array | undefined {
    this.#consume();
    this.#taken = this.#queue.shift();
    this.#extend();
    return this.#taken && join(this.#taken);
  }

  #consume(): void {
    const message = this.#taken;
    if (!message) return;
    this.#taken = undefined;
    this.#consumed += message.length + FRAME_COST;
    this.#release(message);
    if (this.#consumed + this.#window >= this.#limit + this.#window / 2) {
      this.#window = Math.min(2 * this.#window, WINDOW_GROWTH * this.#first);
      this.#grant(this.#consumed + this.#window);
    }
  }

  /** Raises the peer's limit and has it told. */
  #grant(limit: number): void {
    const session = this.#stream.session;
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
    if (!part || this.#queue.length > 0 || part.reserved > 0 || this.#reserving || this.ended) return;
    const end = this.#charged + part.length - part.got;
    if (end <= this.#limit) return;
    if (part.length + FRAME_COST <= WINDOW_GROWTH * this.#first) {
      this.#grant(end);
      return;
    }
    this.#reserving = true;
    this.#stream.session?.large.reserve(this.#stream, part.length, () => {
      this.#reserving = false;
      part.reserved = part.length;
      this.#grant(end);
    });
  }

  /** Takes nothing more. What is complete can still be taken. */
  end(): void {
    this.ended = true;
    const large = this.#stream.session?.large;
    large?.withdraw(this.#stream);
    if (this.#part) this.#release(this.#part);
    this.#part = undefined;
  }

  /** Forgets what was not yet taken (D3). */
  drop(): void {
    this.settle();
    this.#queue.clear();
    this.#taken = undefined;
  }

  /** Gives back what complete messages hold of the budget, and leaves them to be read. */
  settle(): void {
    if (this.#taken) this.#release(this.#taken);
    for (let i = 0; i < this.#queue.length; i++) this.#release(this.#queue.at(i)!);
  }

  #release(message: InMessage): void {
    const n = message.reserved;
    message.reserved = 0;
    this.#stream.session?.large.give(n);
  }
}

function join(message: InMessage): Uint8Array {
  if (message.pieces.length === 1) return message.pieces[0]!.slice();
  const bytes = new Uint8Array(message.length);
  let at = 0;
  for (const piece of message.pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}
