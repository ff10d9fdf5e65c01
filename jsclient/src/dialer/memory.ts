import { believe, type Network } from "../tune/network.js";

/** Where a channel keeps what it has learnt of the network: the part of a Storage that is used. */
export interface NetworkStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** Memory keeps what was learnt for the sessions of a channel and, where there is storage, for those of the next page. */
export class Memory {
  readonly network: Network;
  readonly #key: string;
  readonly #storage: NetworkStorage | undefined;
  readonly #holdMs: number;
  #saved = "";

  /** holdMs: how long a poll may be held at most. */
  constructor(key: string, storage: NetworkStorage | undefined, holdMs: number) {
    this.#key = key;
    this.#storage = storage;
    this.#holdMs = holdMs;
    let kept: unknown;
    try {
      kept = JSON.parse(storage!.getItem(key)!);
    } catch {} // there is none, or whatever stands there is not ours
    this.network = believe(kept, Date.now(), holdMs);
    this.save();
  }

  /** Forgets what is too old. */
  expire(): void {
    const believed = believe(this.network, Date.now(), this.#holdMs);
    if (believed.since !== this.network.since) Object.assign(this.network, believed);
  }

  /** Stores what was learnt, and reports whether it has changed. */
  save(): boolean {
    const learnt = JSON.stringify(this.network);
    if (learnt === this.#saved) return false;
    this.#saved = learnt;
    try {
      this.#storage?.setItem(this.#key, learnt);
    } catch {} // full, or forbidden
    return true;
  }
}

/** Returns the page's storage, where it has one and may use it; a worker has none. */
export function pageStorage(): NetworkStorage | undefined {
  try {
    return "document" in globalThis ? (globalThis as { localStorage?: NetworkStorage }).localStorage : undefined;
  } catch {
    return undefined;
  }
}
