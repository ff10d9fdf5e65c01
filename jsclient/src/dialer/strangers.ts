import type { LinkError } from "./carrier.js";

/**
 * What is no bridge has to say so as often as that, and for so long, before a
 * first Welcome is not waited for any more: what swallows requests of one form or
 * kind may let others pass, which are tried in that time.
 */
const TIMES = 5;
const MILLIS = 700;

/** Reports whether what answered knows nothing of a bridge at its URL: a page, a redirect, or status 404 or 405. */
export function isNoBridge({ reason, status }: LinkError): boolean {
  return status === 404 || status === 405 || (reason === "foreign" && status !== undefined);
}

/** Strangers counts what has answered in place of the first Welcome. */
export class Strangers {
  #answers = 0;
  #since = 0;

  /** Whether one has answered. */
  get any(): boolean {
    return this.#answers > 0;
  }

  /** Notes a failed link; reports whether it is certain now that no bridge is there. */
  certain(error: LinkError, now: number): boolean {
    if (!isNoBridge(error)) return false;
    if (this.#answers++ === 0) this.#since = now;
    return this.#enough(now);
  }

  /** Returns how long the next try may wait, so that it is certain in time. */
  shorten(millis: number, now: number): number {
    return this.any && !this.#enough(now) ? Math.min(millis, MILLIS / 2) : millis;
  }

  #enough(now: number): boolean {
    return this.#answers >= TIMES && now >= this.#since + MILLIS;
  }
}
