import { MAX_DOWN, MIN_DOWN, type Network } from "./network.js";

// Times are in milliseconds, sizes in bytes.

/** An answer within so long has the next one be longer. */
const QUICK = 1_000;
/** So many failures in a row have a short answer asked for, and how long that is. */
const SUSPECTS = 3;
const SHORT = 4 << 10;
/** A length that was refused is tried again after so many answers; after twice as many each time it is refused again. */
const FIRST_WAIT = 8;
const MAX_WAIT = 64;

/**
 * Downlink learns how long the answers may be that a network lets down. A length
 * counts as refused when an answer was cut; after any other failure only in a row,
 * and only where a short answer then gets through with more to come.
 */
export class Downlink {
  readonly #network: Network;
  /** In a row that may be due to the length, each of an exchange that began after the last; and when that was. */
  #failures = 0;
  #failedAt = 0;
  /** The length that was refused so; Infinity: none was. */
  #ceiling = Infinity;
  /** Answers that have to get through before the ceiling is tried, and those that did. */
  #wait = 0;
  #clean = 0;

  constructor(network: Network) {
    this.#network = network;
  }

  /** How long the next answer may be: short where the length is suspected. */
  get ask(): number {
    return this.#failures >= SUSPECTS ? SHORT : this.#network.downBytes;
  }

  /** Notes that an answer began and was cut. */
  cut(): void {
    this.#network.downBytes = Math.max(MIN_DOWN, this.#network.downBytes / 2);
  }

  /** Notes that an exchange that was sent then had no answer, whatever came in its place. */
  failed(sentAt: number, now: number): void {
    if (this.#failures > 0 && sentAt < this.#failedAt) return;
    this.#failures++;
    this.#failedAt = now;
  }

  /** Notes that an answer came from which the bridge had kept back a long frame: it is no proof that those come which have it. */
  proof(): void {
    if (this.#failures < SUSPECTS) return;
    const { downBytes } = this.#network;
    this.#failures = this.#clean = 0;
    this.#wait = downBytes >= this.#ceiling ? Math.min(2 * this.#wait, MAX_WAIT) : FIRST_WAIT;
    this.#ceiling = downBytes;
    this.cut();
  }

  /** Notes that an answer of so many bytes came after so long; more: it brought frames, or some wait. */
  passed(bytes: number, millis: number, more: boolean): void {
    if (more && this.#failures >= SUSPECTS) return this.proof();
    const { downBytes } = this.#network;
    const trying = downBytes >= this.#ceiling;
    this.#failures = 0;
    if (bytes <= downBytes * (trying ? 0.75 : 0.5) || millis >= QUICK) return;
    if (trying) this.#ceiling = Infinity;
    else if (this.#ceiling < Infinity && ++this.#clean < this.#wait) return;
    this.#clean = 0;
    this.#network.downBytes = Math.min(MAX_DOWN, 2 * downBytes);
  }
}
