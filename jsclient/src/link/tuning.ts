import { type Batch, type Close, CODE_BUSY, CODE_TOO_LARGE } from "../wire/batch.js";
import type { Weather } from "./carrier.js";
import { Hold } from "./hold.js";
import { DOWN_LEAST, DOWN_MOST, HOLD_WITH_FRAMES, LEAST_STATED, MEASURED, MISSES, MISSES_FIRST } from "./limits.js";
import type { Network } from "./network.js";
import { Uplink } from "./uplink.js";

/** What is learnt from of an exchange. */
export interface Tried {
  /** Length of what was sent. */
  readonly size: number;
  /** It carried frames. */
  readonly laden: boolean;
  /** How long it was to be held, in milliseconds. */
  readonly hold: number;
  /** It finds out whether the form that is not used works again. */
  readonly trial: boolean;
  /** Frames wait for it to get through. */
  readonly proof: boolean;
}

/** Tuning learns from a session's exchanges how long, how large and of which form they may be on this network. */
export class Tuning {
  /** The other form is to be tried beside the one in use. */
  trial = false;
  /** The hold to ask for, unless more was learnt: it grows while nothing comes. */
  calm = 0;
  /** What the uplink carries in bytes per millisecond; 0: not measured yet. */
  rate = 0;
  readonly #network: Network;
  readonly #hold: Hold;
  readonly #uplink: Uplink;
  /** A form has worked; failures in a row since; whether the other one was tried beside it. */
  #worked = false;
  #misses = 0;
  #tried = false;

  /** holdMs: how long a poll may be held at most. */
  constructor(network: Network, holdMs: number) {
    this.#network = network;
    this.#hold = new Hold(holdMs, network);
    this.#uplink = new Uplink(network);
  }

  /** The next exchange is to go without frames: whether it gets through tells why they do not. */
  get wantsProof(): boolean {
    return this.#uplink.wantsProof;
  }

  /** An exchange is about to be made; laden: it carries frames; longest: how long the bridge holds it at most. */
  leaves(laden: boolean, longest: number = Infinity): void {
    this.trial = false;
    this.#network.holdMs = Math.min(this.#network.holdMs, Math.max(longest, LEAST_STATED));
    if (laden) this.calm = 0;
  }

  changeForm(): void {
    this.#network.form = this.#network.form === "text" ? "binary" : "text";
    this.#worked = this.#tried = false;
  }

  /** An exchange failed, at this age in milliseconds. */
  failed(f: Tried, why: Weather, age: number): void {
    this.#miss(f);
    if (f.hold > HOLD_WITH_FRAMES) this.#hold.cut(age);
    if (f.proof) this.#uplink.proof(false);
    else if (f.laden) this.#broke(f.size, why);
    if (why.cut) this.#network.downBytes = Math.max(DOWN_LEAST, this.#network.downBytes / 2);
  }

  /** Perhaps its form is swallowed. */
  #miss(f: Tried): void {
    if (this.#worked && !f.laden) return;
    if (++this.#misses % (this.#worked ? MISSES : MISSES_FIRST) === 0) this.changeForm();
  }

  /** Takes from a failure what it says of the body's length. */
  #broke(size: number, why: Weather): void {
    if (why.status === 413) this.#uplink.refused(size);
    else if (why.reason === "network" && !why.cut) this.#uplink.broke(size);
    else this.#uplink.doubt(size);
  }

  /** The bridge refused an exchange; gives how long it wants none, in milliseconds. */
  refused({ size }: Tried, { code, limit, retryAfterMillis }: Close): number {
    if (code === CODE_TOO_LARGE) this.#uplink.over(size, limit);
    return code === CODE_BUSY ? retryAfterMillis * (1 + Math.random() / 2) : 0;
  }

  /**
   * An exchange was answered, millis after it was sent without the time that it
   * was held; full: it was held to its end. Where that was base64, whether
   * binary ones still fail is found out beside: returns whether to do so now.
   */
  answered(f: Tried, { close, frames }: Batch, millis: number, full: boolean): boolean {
    const network = this.#network;
    if (f.proof) this.#uplink.proof(true);
    if (f.laden) {
      if (f.size >= MEASURED) this.rate = f.size / Math.max(millis, 1);
      this.#uplink.took(f.size, millis);
    }
    if (frames.length > 0) this.calm = 0;
    else if (full) this.calm = Math.max(this.calm, 2 * f.hold);
    if (full && f.hold >= network.holdMs) this.#hold.answered();
    if (!close) network.downBytes = Math.min(DOWN_MOST, 2 * network.downBytes);
    return this.#hit(f);
  }

  #hit(f: Tried): boolean {
    if (f.trial) this.#network.form = "binary";
    if (!this.#worked || f.laden) this.#misses = 0;
    this.#worked = true;
    if (this.#network.form === "binary" || this.#tried) return false;
    return (this.#tried = this.trial = true);
  }
}
