// Times are in milliseconds, sizes in bytes.

/** How long what was learnt counts. */
const LIFE = 14_400_000;
const FIRST_UP = 64 << 10;
export const MAX_UP: number = 1 << 20;
export const MIN_UP: number = 1 << 10;
const FIRST_DOWN = 1 << 20;
export const MAX_DOWN: number = 2 << 20;
/** The same where more than two exchanges may be in flight. */
export const MAX_SHARED: number = 1 << 20;
export const MIN_DOWN: number = 4 << 10;
export const MIN_HOLD = 5_000;
const MAX_QUIET = 20_000;
export const MAX_DEMOTION = 600_000;

/** What a channel has learnt of the network between it and its bridge; forgotten 4 hours after it began. */
export interface Network {
  /** Since when, in milliseconds since 1970. */
  since: number;
  /** How long a poll may be held, in milliseconds. */
  holdMs: number;
  /** Most bytes of a request. */
  upBytes: number;
  /** Most bytes wanted in an answer. */
  downBytes: number;
  /** Form of requests by POST: "text", which is base64, where binary ones are swallowed. */
  form: "binary" | "text";
  /** How long a WebSocket was put off when one failed, in milliseconds; 0: none has failed since one worked. */
  wsPauseMs: number;
  /** No WebSocket is tried before, in milliseconds since 1970. */
  wsAfter: number;
  /** How the WebSocket failed that is put off, as far as a browser tells; empty: none is. */
  wsWhy: string;
  /** How long a WebSocket may be quiet until the client pings it, in milliseconds: 20,000, and the bridge has pinged before; less after one died of silence. */
  wsQuietMs: number;
}

/** Returns the valid part of kept, with defaults for the rest; defaults alone if kept is too old. now is in milliseconds since 1970. */
export function believe(kept: unknown, now: number, holdMs: number): Network {
  const within = (n: unknown, least: number, most: number, otherwise: number): number => (typeof n === "number" && n >= least && n <= most ? n : otherwise);
  const since = within((kept as Partial<Network> | undefined)?.since, now - LIFE + 1, now, NaN);
  const known = (since >= 0 ? kept : {}) as Record<keyof Network, unknown>;
  return {
    since: since >= 0 ? since : now,
    holdMs: within(known.holdMs, MIN_HOLD, holdMs, holdMs),
    upBytes: within(known.upBytes, MIN_UP, MAX_UP, FIRST_UP),
    downBytes: within(known.downBytes, MIN_DOWN, MAX_DOWN, FIRST_DOWN),
    form: known.form === "text" ? "text" : "binary",
    wsPauseMs: within(known.wsPauseMs, 0, MAX_DEMOTION, 0),
    wsAfter: within(known.wsAfter, 0, now + MAX_DEMOTION, 0),
    wsWhy: typeof known.wsWhy === "string" ? known.wsWhy : "",
    wsQuietMs: within(known.wsQuietMs, MIN_HOLD, MAX_QUIET, MAX_QUIET),
  };
}
