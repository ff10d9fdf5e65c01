import { type Batch, type Close, CODE_BUSY, CODE_TOO_LARGE } from "../wire/batch.js";
import { Downlink } from "./downlink.js";
import { Hold } from "./hold.js";
import { MAX_SHARED, type Network } from "./network.js";
import { type Bodies, LONG_BODY, MIN_BODIES, Pace, type Passage } from "./pace.js";
import type { Path } from "./path.js";
import { Uplink } from "./uplink.js";

// Times are in milliseconds, sizes in bytes.

/** The bridge holds an exchange that carried frames no longer. */
export const HOLD_WITH_FRAMES = 2_000;
/** The least hold that a bridge is taken at its word for. */
const MIN_STATED_HOLD = 1_000;
/** The other form is tried after so many failures in a row: of one that never worked, and of one that did. */
const FIRST_MISSES = 2;
const MISSES = 4;
/** The shortest body that the uplink's rate is measured by. */
const MEASURED = 16 << 10;

/** What is learnt from of an exchange. */
export interface Attempt {
  /** Length of what was sent, in bytes. */
  readonly size: number;
  /** It carried frames. */
  readonly frames: boolean;
  /** It carried one, which no smaller batch can. */
  readonly only: number | undefined;
  /** How long it was to be held, in milliseconds. */
  readonly hold: number;
  /** It finds out whether the form that is not used works again. */
  readonly trial: boolean;
  /** Frames wait for it to get through. */
  readonly proof: boolean;
  /** What had got through each way when it was sent. */
  readonly up: Passage;
  readonly down: Passage;
}

/** What is learnt from of a failure. */
export interface Failure {
  readonly reason: string;
  /** HTTP status, where there was one. */
  readonly status: number | undefined;
  /** The answer began and was cut. */
  readonly cut: boolean;
}

/** ExchangeTuner learns from a session's exchanges how long, how large and of which form they may be on this network. */
export class ExchangeTuner {
  /** The other form is to be tried beside the one in use. */
  trial = false;
  /** The hold to ask for, in milliseconds, unless more was learnt: it grows while nothing comes. */
  adaptiveHold = 0;
  /** What the uplink carries in bytes per millisecond; 0: not measured yet. */
  uploadRate = 0;
  /** One long answer after another is to come: the next exchange goes beside. */
  pipelineNext = false;
  readonly #network: Network;
  /** Both forms can be admitted; else binary alone. */
  #bothForms: boolean;
  readonly #hold: Hold;
  readonly #uplink: Uplink;
  readonly #downlink: Downlink;
  readonly #up = new Pace();
  readonly #down = new Pace();
  /** The form in use has worked. */
  #worked = false;
  /** Failures in a row since. */
  #misses = 0;
  /** The other form was tried beside it. */
  #tried = false;

  /** holdMs: how long a poll may be held at most. bothForms: the bridge may admit text from here. */
  constructor(network: Network, holdMs: number, bothForms: boolean) {
    this.#network = network;
    this.#bothForms = bothForms;
    if (!bothForms) network.form = "binary";
    this.#hold = new Hold(network, holdMs);
    this.#uplink = new Uplink(network);
    this.#downlink = new Downlink(network);
  }

  /** Reports whether the next exchange is to go without frames: whether it gets through tells why they do not. */
  get wantsProof(): boolean {
    return this.#uplink.wantsProof;
  }

  /** Only one body is to be in flight. */
  get alone(): boolean {
    return this.#uplink.alone;
  }

  /** Returns how long the next body may be, and how many to have in flight, most at most, each way. */
  bodies(path: Path, most: number): { up: Bodies; down: Bodies } {
    return { up: this.#up.bodies(this.#network.upBytes, most, path), down: this.#down.bodies(Math.min(this.#downlink.ask, most > MIN_BODIES ? MAX_SHARED : Infinity), most, path) };
  }

  /** Returns what got through so far, each way; first: nothing else is in flight, and what got through before took no time of what is sent now. */
  passages(now: number, first: boolean): { up: Passage; down: Passage } {
    const since = (pace: Pace): Passage => ({ total: pace.passage.total, at: first ? now : pace.passage.at });
    return { up: since(this.#up), down: since(this.#down) };
  }

  /** Notes that an exchange is about to be made. maxHold: how long the bridge holds it at most, in milliseconds. */
  starts(frames: boolean, maxHold: number = Infinity): void {
    this.trial = false;
    this.#network.holdMs = Math.min(this.#network.holdMs, Math.max(maxHold, MIN_STATED_HOLD));
    if (frames) this.adaptiveHold = 0;
  }

  /** Goes over to the other form, if that can be admitted. */
  changeForm(): void {
    if (!this.#bothForms) return;
    this.#network.form = this.#network.form === "text" ? "binary" : "text";
    this.#worked = this.#tried = false;
  }

  /** Notes that the bridge admits no text from here: it goes back to binary for good. */
  textRefused(): void {
    this.#network.form = "binary";
    this.#bothForms = this.#worked = false;
    this.#misses = 0;
  }

  /** Notes that an exchange failed now, at this age in milliseconds. Reports whether that was because of its length. */
  failed(attempt: Attempt, why: Failure, now: number, age: number): boolean {
    this.#miss(attempt);
    if (attempt.hold > HOLD_WITH_FRAMES) this.#hold.cut(age);
    if (why.cut) this.#downlink.cut();
    else this.#downlink.failed(now - age, now);
    if (attempt.proof) this.#uplink.proof(false);
    return attempt.frames && this.#bodyFailed(attempt, why);
  }

  /** Counts a failure against the form: perhaps something swallows it. */
  #miss(attempt: Attempt): void {
    if (this.#worked && !attempt.frames) return;
    if (++this.#misses % (this.#worked ? MISSES : FIRST_MISSES) === 0) this.changeForm();
  }

  /** Takes from a failure what it says of the body's length; a break says too little to end the RPC of one frame. */
  #bodyFailed({ size, only }: Attempt, why: Failure): boolean {
    if (why.status === 413) this.#uplink.refused(size);
    else if (only !== undefined || why.reason !== "network" || why.cut) return this.#uplink.failed(size);
    else this.#uplink.broke(size);
    return why.status === 413;
  }

  /** Notes that the bridge refused an exchange. Returns how long it wants none, in milliseconds. */
  refused({ size }: Attempt, { code, limit, retryAfterMillis }: Close): number {
    if (code === CODE_TOO_LARGE) this.#uplink.overLimit(size, limit);
    return code === CODE_BUSY ? retryAfterMillis * (1 + Math.random() / 2) : 0;
  }

  /**
   * Notes that an exchange was answered, so many milliseconds after it was sent
   * without the time that it was held, by so many bytes; full: it was held to its end. Returns
   * whether an exchange is to be made now: where base64 works, whether binary
   * bodies still fail is found out beside.
   */
  answered(attempt: Attempt, { close, frames, waitingBytes, ping }: Batch, bytes: number, now: number, millis: number, full: boolean): boolean {
    const network = this.#network;
    this.#up.passed(now, attempt.size, attempt.up);
    this.#down.passed(now, bytes, attempt.down);
    this.pipelineNext = waitingBytes > LONG_BODY;
    if (attempt.proof) this.#uplink.proof(true);
    if (attempt.frames) {
      if (attempt.size >= MEASURED) this.uploadRate = attempt.size / Math.max(millis, 1);
      this.#uplink.passed(attempt.size, millis);
    }
    if (frames.length > 0) this.adaptiveHold = 0;
    else if (full) this.adaptiveHold = Math.max(this.adaptiveHold, 2 * attempt.hold);
    if (full && attempt.hold >= network.holdMs) this.#hold.kept();
    if (ping > 0) this.#downlink.proof();
    else if (!close) this.#downlink.passed(bytes, millis, frames.length > 0 || waitingBytes > 0);
    return this.#hit(attempt);
  }

  #hit(attempt: Attempt): boolean {
    if (attempt.trial) this.#network.form = "binary";
    if (!this.#worked || attempt.frames) this.#misses = 0;
    this.#worked = true;
    if (this.#network.form === "binary" || this.#tried) return false;
    return (this.#tried = this.trial = true);
  }
}
