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
    this.network = this.#check({ since: Date.now() });
    try {
      const kept = JSON.parse(storage?.getItem(key) ?? "{}") as Record<string, unknown>;
      if (isFresh(Number(kept["since"]))) Object.assign(this.network, this.#check(kept));
    } catch {} // whatever stands there is not ours
    this.save();
  }

  /** What of kept can be believed. */
  #check(kept: Record<string, unknown>): Network {
    const within = (name: keyof Network, least: number, most: number, otherwise: number): number => {
      const n = kept[name];
      return typeof n === "number" && n >= least && n <= most ? n : otherwise;
    };
    const why = kept["wsWhy"];
    return {
      since: within("since", 0, Infinity, 0),
      holdMs: within("holdMs", HOLD_LEAST, this.#holdMs, this.#holdMs),
      upBytes: within("upBytes", UP_LEAST, UP_MOST, UP_FIRST),
      downBytes: within("downBytes", DOWN_LEAST, DOWN_MOST, DOWN_MOST),
      form: kept["form"] === "text" ? "text" : "binary",
      wsPauseMs: within("wsPauseMs", 0, WS_PAUSE_MOST, 0),
      wsAfter: within("wsAfter", 0, Date.now() + WS_PAUSE_MOST, 0),
      wsWhy: typeof why === "string" ? why : "",
      wsQuietMs: within("wsQuietMs", HOLD_LEAST, QUIET_MOST, QUIET_MOST),
    };
  }

  /** Forgets what is too old. */
  expire(): void {
    if (!isFresh(this.network.since)) Object.assign(this.network, this.#check({ since: Date.now() }));
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

function isFresh(since: number): boolean {
  const age = Date.now() - since;
  return age >= 0 && age < LIFE;
}

/** The page's storage, where it has one and may use it; a worker has none. */
export function pageStorage(): NetworkStorage | undefined {
  try {
    return "document" in globalThis ? (globalThis as { localStorage?: NetworkStorage }).localStorage : undefined;
  } catch {
    return undefined;
  }
}
