// What a session is made of, and what it says to whom.

import type { SessionError } from "../engine/errors.js";
import type { Stream } from "../engine/stream.js";

/** What a session tells the one who made it. */
export interface SessionEvents {
  /** Phase, preferred link or last error have changed. */
  changed(): void;
  /** The session is over, and with it so many RPCs; orphans are others that can go on another one, most of them unsent (E2). */
  over(why: SessionError, orphans: Stream[], ended: number): void;
  /** The bridge takes no RPC on the token any more (O5). */
  tokenExpired(): void;
  /** The bridge has said that it looks at no token, and there is one. */
  tokenIgnored(): void;
  /** The bridge wants new RPCs on another session, opened within so many milliseconds (E3). */
  goAway(spreadMillis: number): void;
}

/** SessionConfig configures a session. */
export interface SessionConfig {
  /** The bridge's, for errors. */
  url: string;
  /** There was a bridge at that URL: one that is gone is waited for. */
  known: boolean;
  /** Stated in the Hello, e.g. "pollbridge-js/0.1.0". */
  release: string;
  /** Credential for the first batch; empty: none (O5). */
  token: string;
  /** First window of a stream towards here, in bytes. */
  streamWindow: number;
  /** Longest message taken, in bytes. */
  maxMessageBytes: number;
}

/** What a client's session is doing. */
export type Phase = "connecting" | "open" | "retrying" | "closed";

/** What a session asks of its links. */
export interface Links {
  /** Sends what there is to send. */
  wake(): void;
  /** Asks the bridge for a sign of life, beside what is parked. */
  ask(): void;
  /** Finds out at once whether links work. newNetwork: the network may be another. */
  retryNow(newNetwork: boolean): void;
  /** Ends every link. */
  halt(): void;
  /** A lasting link that has proved itself gets new frames. */
  readonly carries: boolean;
  /** Lowest number of an exchange that is waited for; undefined: none (L2). */
  readonly awaiting: number | undefined;
  /** A WebSocket is on its way, or open, beside exchanges. */
  readonly dialing: boolean;
  /** How long until what has failed is tried again, in milliseconds; 0: it is tried. */
  readonly nextTryIn: number;
}
