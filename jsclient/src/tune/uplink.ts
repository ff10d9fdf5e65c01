import { MAX_UP, MIN_UP, type Network } from "./network.js";

// Times are in milliseconds, sizes in bytes.

/** An answer within this time lets bodies grow. */
const QUICK = 1_000;
/** The shortest body that one break proves too long. */
const PLAIN_BREAK = 32 << 10;
/** After so many failures in a row an exchange goes without frames. */
const MAX_SUSPECTS = 3;
/** How often in a row a frame must fail, and an exchange without frames get through, before its length is certainly the cause: on a bad network it happens by chance. */
const MAX_INFERRED = 8;
/** Bodies that have to get through before what was refused is tried again: at first, and at most. */
const FIRST_RETRY_AFTER = 8;
const MAX_RETRY_AFTER_BODIES = 64;
/** A body is as long as another that is longer by less than this part of itself. */
const AS_LONG = 1 / 8;

/**
 * Uplink learns how long the bodies may be that this network lets up. A length
 * is refused if an answer said so, or if a body broke without any and is longer
 * than what got through; any other failure counts only in a row, and only where
 * exchanges without frames get through.
 */
export class Uplink {
  readonly #network: Network;
  #max = MAX_UP;
  /** The longest that got through. */
  #passed = 0;
  /** The length that was refused; 0: none was. */
  #ceiling = 0;
  /** Bodies that have to get through before the ceiling is tried, and that did. */
  #retryAfter = 0;
  #clean = 0;
  /** Failures in a row that may be due to the length, one more once an exchange without frames got through. */
  #suspects = 0;
  /** The shortest of them. */
  #suspected = 0;
  /** Times in a row that a frame longer than bodies should be was found too long so. */
  #inferred = 0;

  constructor(network: Network) {
    this.#network = network;
  }

  /** Most bytes of a body. */
  get size(): number {
    return this.#network.upBytes;
  }

  /** Notes that a body of n bytes was acked after so many milliseconds. */
  passed(n: number, millis: number): void {
    this.#passed = Math.max(this.#passed, n);
    if (n + AS_LONG * n >= this.#suspected) this.#suspects = this.#inferred = 0;
    if (n <= this.size / 2 || millis >= QUICK) return;
    if (this.#trying()) {
      if (n <= 0.75 * this.size) return;
      this.#ceiling = 0;
    } else if (this.#ceiling > 0) {
      if (++this.#clean < this.#retryAfter) return;
      this.#clean = 0;
    }
    this.#network.upBytes = Math.min(2 * this.size, this.#max);
  }

  /** Only one body is to be in flight, since lengths are suspected or tried: two that fail together tell no more than one. */
  get alone(): boolean {
    return this.#suspects > 0 || this.#trying();
  }

  /** Reports whether bodies may be as long as one that was refused. */
  #trying(): boolean {
    return this.#ceiling > 0 && this.size >= this.#ceiling;
  }

  /** Notes that n bytes were too many. */
  refused(n: number): void {
    this.#suspects = 0;
    const half = Math.max(n >> 1, MIN_UP);
    if (half >= this.size) return;
    this.#retryAfter = this.#trying() ? Math.min(2 * this.#retryAfter, MAX_RETRY_AFTER_BODIES) : FIRST_RETRY_AFTER;
    if (n <= this.#passed) this.#passed = 0; // on another network
    this.#network.upBytes = half;
    this.#ceiling = 2 * half;
    this.#clean = 0;
  }

  /** Notes that n bytes broke without any answer. */
  broke(n: number): void {
    if (n - AS_LONG * n > this.#passed && (n > PLAIN_BREAK || this.#trying())) this.refused(n);
    else this.failed(n);
  }

  /** Notes that n bytes failed in a way that says nothing of their length. Reports whether they are certainly too many. */
  failed(n: number): boolean {
    if (n <= MIN_UP) return false;
    if (this.#suspects > MAX_SUSPECTS) return this.#infer(n);
    this.#suspected = this.#suspects > 0 ? Math.min(this.#suspected, n) : n;
    if (!this.wantsProof) this.#suspects++;
    return false;
  }

  /** Takes it that n bytes are too many. Reports whether that is certain: one frame is longer than bodies should be, and failed time and again while exchanges without frames got through in between. */
  #infer(n: number): boolean {
    const again = n > this.size;
    this.refused(n);
    if (!again) return false;
    const certain = ++this.#inferred === MAX_INFERRED;
    if (certain) this.#inferred = 0;
    else this.#suspects = MAX_SUSPECTS;
    return certain;
  }

  /** Reports whether the next exchange is to go without frames: if that gets through and they again do not, they are too long. */
  get wantsProof(): boolean {
    return this.#suspects === MAX_SUSPECTS;
  }

  /** Takes the outcome of that exchange. */
  proof(ok: boolean): void {
    if (ok) this.#suspects = MAX_SUSPECTS + 1;
    else this.#suspects = this.#inferred = 0; // nothing gets through
  }

  /** Notes that n bytes were too many for the bridge, which takes limit; 0: it did not say. */
  overLimit(n: number, limit: number): void {
    if (limit <= 0 || n <= limit) return this.refused(n);
    this.#suspects = 0;
    this.#max = this.#network.upBytes = Math.max(MIN_UP, limit);
  }
}
