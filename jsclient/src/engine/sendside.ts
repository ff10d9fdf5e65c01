import { FRAME_COST } from "../wire/batch.js";
import type { OutMessage, Unsent } from "./outbox.js";
import type { Stream } from "./stream.js";

/** Bytes that a stream queues before send waits, at least. */
const QUEUE_BYTES = 64 << 10;
/** How many times the last step of credit are queued: the next one will be larger. */
const STEPS_QUEUED = 4;
/** How many bodies are queued at least: the next ones will be longer, and two may leave at once. */
const MIN_BODIES_QUEUED = 2;

/** SendSide is what a stream has to send. */
export class SendSide {
  queue: (Unsent | OutMessage)[] = [];
  /** In Outbox.turn. */
  inTurn = false;
  /** May not be sent yet: waits for the Welcome (O4), its half-close or another token (O5). */
  waits = true;
  /** The peer's limit in bytes; set while nothing was sent, and raised from then on. */
  limit = 0;
  /** Nothing more may be queued. */
  closed = false;
  /** Bytes of messages queued. */
  bytes = 0;
  readonly #stream: Stream;
  /** The part of limit that was used. */
  #used = 0;
  /** By how much the limit grew last. */
  #step = 0;
  #stalled: (() => void)[] = [];

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  /** Returns how many bytes of the head message the peer's window allows. Negative: not even its start. */
  credit(): number {
    const head = this.queue[0]!;
    const started = "type" in head || head.started;
    return this.limit - this.#used - (started ? 0 : FRAME_COST);
  }

  /** Reports whether the head of the queue may be sent. */
  hasCredit(): boolean {
    const head = this.queue[0];
    if (!head || "type" in head) return !!head;
    return this.credit() >= Math.min(head.bytes.length, 1);
  }

  push(item: Unsent | OutMessage): void {
    this.queue.push(item);
    if (!("type" in item)) this.bytes += item.bytes.length;
    this.update();
  }

  /** Puts the stream in turn if it has something that it may send. */
  update(): void {
    const { endpoint } = this.#stream;
    if (!endpoint || this.inTurn || this.waits || !this.hasCredit()) return;
    this.inTurn = true;
    endpoint.out.turn.push(this.#stream);
    endpoint.wake();
  }

  /** Takes the peer's limit, which never falls. */
  raise(limit: number): void {
    if (limit <= this.limit) return;
    this.#step = limit - this.limit;
    this.limit = limit;
    this.update();
    if (this.#roomy) this.#wakeStalled();
  }

  /** Reports whether there is room for another message: as much is queued as bodies take, where the peer gives credit in large steps. */
  get #roomy(): boolean {
    const { bodies = 0, bodyBytes = 0 } = this.#stream.endpoint ?? {};
    return this.bytes <= Math.max(QUEUE_BYTES, Math.min(STEPS_QUEUED * this.#step, Math.max(bodies - 1, MIN_BODIES_QUEUED) * bodyBytes));
  }

  /** Accounts for n bytes cut off the head message. */
  cutOff(message: OutMessage, n: number): void {
    if (!message.started) this.#used += FRAME_COST;
    message.started = true;
    message.cut += n;
    this.#used += n;
    this.bytes -= n;
    if (message.cut === message.bytes.length) this.queue.shift();
    if (this.#roomy) this.#wakeStalled();
  }

  /** Resolves when there is room for another message. */
  room(): Promise<void> | undefined {
    if (this.#roomy) return undefined;
    return new Promise((resolve) => this.#stalled.push(resolve));
  }

  /** Drops what was not sent, and closes. */
  drop(): void {
    this.queue = [];
    this.bytes = 0;
    this.closed = true;
    this.#wakeStalled();
  }

  #wakeStalled(): void {
    const stalled = this.#stalled;
    this.#stalled = [];
    for (const resolve of stalled) resolve();
  }
}
