import { MIN_HOLD, type Network } from "./network.js";
import { SHORTER } from "./hold.js";

/** The bridge pings a WebSocket that was quiet for PINGED, and the client one on which that ping did not come. */
const PINGED = 15_000;
// Times are in milliseconds, sizes in bytes.

const MAX_BATCH = 64 << 10;
const MIN_BATCH = 4 << 10;
/** So many links in a row must break for a length to count as refused, and so many with nothing acked for care. */
const MAX_BREAKS = 3;
const MAX_BARREN = 2;
/** Batches that have to get through before what was refused is tried again: at first, and at most. */
const FIRST_RETRY_AFTER = 4;
const MAX_RETRY_AFTER = 64;
/** A link that carried so much has nothing against it. */
const MUCH = 64 << 10;
/** How many suspicions double what a WebSocket has for its answer. */
const MAX_DOUBLINGS = 3;

/** LastingTuner learns from a session's WebSockets how long their batches may be, and how long they may be silent. */
export class LastingTuner {
  /** Most bytes of a batch. */
  batchBytes: number = MAX_BATCH;
  readonly #network: Network;
  /** WebSockets suspected since the last pong. */
  suspicions = 0;
  /** Links in a row whose break a length explains, and the shortest batch that does. */
  #breaks = 0;
  #suspected = 0;
  /** The length that was refused; 0: none was. */
  #ceiling = 0;
  /** Batches that have to get through before it is tried, and that did. */
  #retryAfter = 0;
  #clean = 0;
  /** Links in a row that broke with all that was sent on them unacked. */
  #barren = 0;

  constructor(network: Network) {
    this.#network = network;
  }

  /** How long a link may be quiet until it is pinged while no RPC is open, in milliseconds. */
  get quietMs(): number {
    return this.#network.wsQuietMs;
  }

  /** Reports whether only one batch is to be in flight on a new link until something is acked on it: links broke before. */
  get careful(): boolean {
    return this.#barren >= MAX_BARREN;
  }

  /** Notes that a batch of n bytes was acked on a link on which that was so many by now. */
  passed(n: number, acked: number): void {
    if (acked >= MUCH) this.#barren = 0;
    if (n >= 0.75 * this.#suspected) this.#breaks = this.#suspected = 0;
    if (n >= 0.75 * this.#ceiling) this.#ceiling = 0;
    if (this.batchBytes === MAX_BATCH || n <= this.batchBytes / 2 || this.careful) return;
    if (this.#ceiling > 0 && (this.batchBytes >= this.#ceiling || ++this.#clean < this.#retryAfter)) return;
    this.#clean = 0;
    this.batchBytes = Math.min(MAX_BATCH, 2 * this.batchBytes);
  }

  /**
   * Notes that a link broke on which so many bytes had been acked, and on which the
   * shortest batch under way that was longer than all that had got through has n
   * bytes; 0: there was none. That alone says nothing of lengths; several times in
   * a row it does, unless batches nearly as long get through in between.
   */
  broke(acked: number, n: number): void {
    if (acked === 0 && n > 0) this.#barren++;
    if (n <= MIN_BATCH) return;
    this.#suspected = this.#suspected > 0 ? Math.min(this.#suspected, n) : n;
    const tried = this.#ceiling > 0 && n >= this.#ceiling;
    if (++this.#breaks < MAX_BREAKS && !tried) return;
    this.#retryAfter = tried ? Math.min(2 * this.#retryAfter, MAX_RETRY_AFTER) : FIRST_RETRY_AFTER;
    this.#ceiling = this.#suspected;
    this.#clean = 0;
    this.batchBytes = Math.max(Math.min(this.batchBytes, this.#suspected) >> 1, MIN_BATCH);
    this.#suspected = this.batchBytes;
  }

  /** Notes that a link was lost that had been silent for so long: it may have been dead since any time before the bridge's ping. */
  silent(millis: number): void {
    if (millis < MIN_HOLD) return;
    const quiet = Math.max(MIN_HOLD, SHORTER * Math.min(millis, PINGED));
    this.#network.wsQuietMs = Math.round(Math.min(this.#network.wsQuietMs, quiet));
  }

  /** Notes that a pong did not come in time. */
  suspected(): void {
    this.suspicions++;
  }

  /** Notes that one came. */
  answered(): void {
    this.suspicions = 0;
  }

  /** Returns how long to wait for a pong that should come within so long: longer where others came late. */
  pongWithin(millis: number): number {
    return millis * 2 ** Math.min(this.suspicions, MAX_DOUBLINGS);
  }
}
