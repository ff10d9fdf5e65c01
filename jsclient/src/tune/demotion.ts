import { MAX_DEMOTION, type Network } from "./network.js";

/** In milliseconds, doubled with each failure up to MAX_DEMOTION. */
const FIRST_DEMOTION = 30_000;

/** Demotion puts WebSockets off that do not work on this network. Times are in milliseconds since 1970. */
export class Demotion {
  readonly #network: Network;

  constructor(network: Network) {
    this.#network = network;
  }

  /** Returns how long no WebSocket is to be tried. */
  left(now: number): number {
    const { wsAfter, wsPauseMs } = this.#network;
    return Math.max(0, Math.min(wsAfter - now, wsPauseMs)); // the clock may have been set back
  }

  /** Reports whether one failed since one worked. */
  get demoted(): boolean {
    return this.#network.wsPauseMs > 0;
  }

  /** Lets the next one be tried at once; the one after it is put off for as long as without. */
  skip(): void {
    this.#network.wsAfter = 0;
  }

  /** Notes that one is at work. */
  proven(): void {
    this.#network.wsWhy = "";
  }

  /** Forgets failures: one has worked well, or the network is another. */
  reset(): void {
    this.#network.wsPauseMs = this.#network.wsAfter = 0;
    this.#network.wsWhy = "";
  }

  /** Notes that one failed. Returns for how long the next is put off: twice as long each time. */
  failed(now: number, why: string): number {
    const network = this.#network;
    network.wsPauseMs = Math.min(MAX_DEMOTION, 2 * network.wsPauseMs || FIRST_DEMOTION);
    network.wsAfter = now + network.wsPauseMs;
    network.wsWhy = why;
    return network.wsPauseMs;
  }
}
