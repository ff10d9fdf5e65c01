/** Expiry watches for how long no link was answered (E1). Times are in milliseconds. */
export class Expiry {
  /** When the bridge last had a link for sure, by each clock. */
  #answered = clocks();
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
    const then = clocks().map((now) => now - age);
    if (then[0]! >= this.#answered[0]!) this.#answered = then;
  }

  /** Returns for how long no link was answered, by the larger of the clocks. */
  unanswered(): number {
    return Math.max(...clocks().map((now, i) => now - this.#answered[i]!));
  }
}

/** Returns the times of a steady clock and of the one on the wall: either may stand still while the machine sleeps. */
function clocks(): number[] {
  return [performance.now(), Date.now()];
}
