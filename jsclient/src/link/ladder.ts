// The choice of transport.

import type { Session } from "../session/session.js";
import type { Batch } from "../wire/batch.js";
import { encodeBatch } from "../wire/codec.js";
import { type Backoff, newRetry } from "./backoff.js";
import type { Carrier } from "./carrier.js";
import { Exchanges, type LinkConfig } from "./exchanges.js";
import { HELLO_ALONE } from "./limits.js";
import type { Network } from "./network.js";
import { Sockets } from "./sockets.js";

/** A kind of carriage. */
export type Transport = "longpoll" | "ws";

/**
 * Ladder gives a session its links. With both transports it begins with
 * exchanges, opens a WebSocket beside them after the Welcome, and goes over to
 * it once it has answered. A mute or lost one hands back to exchanges.
 */
export class Ladder {
  /** There are no links: the session is over, or the page put aside. */
  off = false;
  readonly session: Session;
  readonly carrier: Carrier;
  readonly exchanges: Exchanges;
  /** Whether exchanges carry the session, or may. */
  readonly polls: boolean;
  readonly network: Network;
  /** Before another WebSocket is opened. */
  readonly backoff: Backoff;
  readonly #sockets: Sockets | undefined;
  /** When links were first made, on the session's clock. */
  #since: number | undefined;

  constructor(session: Session, carrier: Carrier, transports: readonly Transport[], config: LinkConfig) {
    this.session = session;
    this.carrier = carrier;
    this.polls = transports.includes("longpoll");
    this.network = config.network;
    this.backoff = newRetry(config.backoff);
    this.exchanges = new Exchanges(session, carrier, config);
    if (transports.includes("ws")) this.#sockets = new Sockets(this);
  }

  /** What carries new frames; undefined while nothing does. */
  get transport(): Transport | undefined {
    if (this.#sockets?.carry) return "ws";
    return this.polls && this.session.welcome ? "longpoll" : undefined;
  }

  /** Does what there is to do, on whatever link there is. */
  wake(): void {
    if (this.off) return;
    if (this.#mayDial()) this.#sockets?.dialWhenDue();
    if (this.off) return;
    if (this.polls) this.exchanges.wake();
    this.#sockets?.wake();
  }

  /**
   * Reports whether a WebSocket may be opened: after the Welcome, or for it where
   * exchanges have not brought it in time. Whatever fails by then wakes the
   * ladder, as does a Hello that is asked for again.
   */
  #mayDial(): boolean {
    const s = this.session;
    this.#since ??= s.now();
    return !this.polls || !!s.welcome || s.now() >= this.#since + HELLO_ALONE;
  }

  /** Ends every link, and opens no more until it is to hurry. */
  halt(): void {
    this.off = true;
    this.exchanges.close();
    this.#sockets?.close();
  }

  /** Sends one last batch, which no answer is awaited to. */
  beacon(batch: Batch): void {
    this.carrier.beacon(this.session.sid, encodeBatch(batch), this.network.form === "text");
  }

  /** The page is back, or the network may be: tries at once what was put off, and whether links work. */
  hurry(network: boolean): void {
    if (this.session.lapsed()) return;
    this.off = false;
    this.#sockets?.hurry(network);
    if (this.polls) this.exchanges.probe();
    this.session.wake();
  }

  /** Cuts every link at once, as a network would. */
  drop(): void {
    this.exchanges.drop();
    this.#sockets?.drop();
  }
}
