import { MIN_HOLD, type Network } from "./network.js";
import { SHORTER } from "./hold.js";

/** The bridge pings a WebSocket that was quiet for PINGED, and the client one on which that ping did not come. */
const PINGED = 15_000;
// Times are in milliseconds, sizes in bytes.

const MAX_BATCH = 64 << 10;
const MIN_BATCH = 4 << 10;
/** How many batches must have been acked until they grow. */
const GROW_AFTER = 4;
/** How many suspicions double what a WebSocket has for its answer. */
const MAX_DOUBLINGS = 3;

/** LastingTuner learns from a session's WebSockets how long their batches may be, and how long they may be silent. */
export class LastingTuner {
  /** Most bytes of a batch. */
  batchBytes: number = MAX_BATCH;
  readonly #network: Network;
  /** WebSockets suspected since the last pong. */
  suspicions = 0;
  /** Bytes acked since batches last grew. */
  #acked = 0;

  constructor(network: Network) {
    this.#network = network;
  }

  /** How long a link may be quiet until it is pinged while no RPC is open, in milliseconds. */
  get quietMs(): number {
    return this.#network.wsQuietMs;
  }

  /** Reports whether batches are shorter than they might be, after one broke. */
  get reduced(): boolean {
    return this.batchBytes < MAX_BATCH;
  }

  /** Notes that a link was opened. */
  opened(): void {
    this.#acked = 0;
  }

  /** Notes that so many bytes were acked: batches may be longer. */
  acked(bytes: number): void {
    this.#acked += bytes;
    if (this.#acked < GROW_AFTER * this.batchBytes) return;
    this.#acked = 0;
    this.batchBytes = Math.min(MAX_BATCH, 2 * this.batchBytes);
  }

  /** Notes that a link broke with frames in flight. */
  broke(): void {
    this.batchBytes = Math.max(MIN_BATCH, this.batchBytes / 2);
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
