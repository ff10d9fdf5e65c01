/** The clock on the wall has jumped ahead, or the machine slept, if it is ahead by so much. */
const JUMP = 5_000;

/** For how long after the bridge was heard an RPC goes there without asking whether it still is: one that stops serves for 2 s what is on its way (E3). */
const QUIET = 1_000;

/** Expiry watches for how long no link was answered (E1). Times are in milliseconds. */
export class Expiry {
  /** When the bridge last had a link for sure, by the steady clock. */
  #answered = performance.now();
  /** When it was heard last. */
  #heard = performance.now();
  /** By how much the clock on the wall is ahead of the steady one, as far as is known. */
  #ahead = ahead();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Calls look after a while, and again until it is stopped. */
  watch(millis: number, look: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(look, Math.max(millis, 100));
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  /** Notes that the bridge had a link so long ago. */
  answered(age = 0): void {
    this.#heard = performance.now();
    this.#answered = Math.max(this.#answered, this.#heard - age);
  }

  /** Returns for how long no link was answered. The clock on the wall decides nothing: it can be set. */
  unanswered(): number {
    return performance.now() - this.#answered;
  }

  /** Reports whether the bridge may have gone since it was heard. */
  get quiet(): boolean {
    return performance.now() >= this.#heard + QUIET;
  }

  /** Reports, once, that the clock on the wall went ahead of the steady one, which stands still on some machines while they sleep. */
  jumped(): boolean {
    const before = this.#ahead;
    this.#ahead = ahead();
    return this.#ahead - before >= JUMP;
  }
}

function ahead(): number {
  return Date.now() - performance.now();
}
