// What was learnt of the way to a bridge.

import { DOWN_LEAST, DOWN_MOST, HOLD_LEAST, LIFE, QUIET_MOST, UP_FIRST, UP_LEAST, UP_MOST, WS_PAUSE_MOST } from "./limits.js";

/** What a channel has learnt of the network between it and its bridge; forgotten 4 hours after it began. */
export interface Network {
  /** Since when, in milliseconds since 1970. */
  since: number;
  /** How long a poll may be held, in milliseconds. */
  holdMs: number;
  /** Most bytes of a request, and wanted in an answer. */
  upBytes: number;
  downBytes: number;
  /** Form of requests by POST: "text", which is base64, where binary ones are swallowed. */
  form: "binary" | "text";
  /** How long a WebSocket was put off when one failed, in milliseconds: 0 if none did since one worked. */
  wsPauseMs: number;
  /** No WebSocket is tried before, in milliseconds since 1970. */
  wsAfter: number;
  /** How the WebSocket failed that is put off, as far as a browser tells; empty: none is. */
  wsWhy: string;
  /** How long a WebSocket may be quiet until the client pings it, in milliseconds: 20,000, and the bridge has pinged before; less after one died of silence. */
  wsQuietMs: number;
}

/** Where a channel keeps what it has learnt of the network: of a Storage, all that is needed. */
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
    this.network = this.#check(kept);
    this.save();
  }

  /** What of kept can be believed: nothing that is too old. */
  #check(kept: unknown): Network {
    const now = Date.now();
    const within = (n: unknown, least: number, most: number, otherwise: number): number => (typeof n === "number" && n >= least && n <= most ? n : otherwise);
    const since = within((kept as Partial<Network> | undefined)?.since, now - LIFE + 1, now, NaN);
    const { holdMs, upBytes, downBytes, form, wsPauseMs, wsAfter, wsWhy, wsQuietMs } = (since >= 0 ? kept : {}) as Record<keyof Network, unknown>;
    return {
      since: since >= 0 ? since : now,
      holdMs: within(holdMs, HOLD_LEAST, this.#holdMs, this.#holdMs),
      upBytes: within(upBytes, UP_LEAST, UP_MOST, UP_FIRST),
      downBytes: within(downBytes, DOWN_LEAST, DOWN_MOST, DOWN_MOST),
      form: form === "text" ? form : "binary",
      wsPauseMs: within(wsPauseMs, 0, WS_PAUSE_MOST, 0),
      wsAfter: within(wsAfter, 0, now + WS_PAUSE_MOST, 0),
      wsWhy: typeof wsWhy === "string" ? wsWhy : "",
      wsQuietMs: within(wsQuietMs, HOLD_LEAST, QUIET_MOST, QUIET_MOST),
    };
  }

  /** Forgets what is too old. */
  expire(): void {
    const believed = this.#check(this.network);
    if (believed.since !== this.network.since) Object.assign(this.network, believed);
  }

  /** Stores what was learnt; false if it is what it was. */
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

/** The page's storage, where it has one and may use it; a worker has none. */
export function pageStorage(): NetworkStorage | undefined {
  try {
    return "document" in globalThis ? (globalThis as { localStorage?: NetworkStorage }).localStorage : undefined;
  } catch {
    return undefined;
  }
}
