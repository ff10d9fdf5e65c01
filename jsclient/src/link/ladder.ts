// The choice of transport.

import type { Session } from "../session/session.js";
import { type Backoff, newRetry } from "./backoff.js";
import type { Batch } from "../wire/batch.js";
import { encodeBatch } from "../wire/codec.js";
import type { Carrier, Weather } from "./carrier.js";
import { Exchanges, type LinkConfig } from "./exchanges.js";
import type { Network } from "./network.js";
import { SocketLink } from "./socketlink.js";
import { DEMOTED, HELLO_ALONE, WS_PAUSE_MOST } from "./limits.js";

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
  readonly #session: Session;
  readonly #carrier: Carrier;
  readonly #exchanges: Exchanges;
  readonly #polls: boolean;
  readonly #sockets: boolean;
  readonly #backoff: Backoff;
  readonly #network: Network;
  #socket: SocketLink | undefined;
  /** Opens beside it, to take its place if it is in doubt still. */
  #spare: SocketLink | undefined;
  #redial: ReturnType<typeof setTimeout> | undefined;
  /** Ends the time that exchanges have for bringing the Welcome. */
  #alone: ReturnType<typeof setTimeout> | undefined;
  #late = false;

  constructor(session: Session, carrier: Carrier, transports: readonly Transport[], config: LinkConfig) {
    this.#session = session;
    this.#carrier = carrier;
    this.#polls = transports.includes("longpoll");
    this.#sockets = transports.includes("ws");
    this.#network = config.network;
    this.#backoff = newRetry(config.backoff);
    this.#exchanges = new Exchanges(session, carrier, config);
    this.#exchanges.answered = (sentAt) => this.#pollAnswered(sentAt);
    this.#exchanges.overdue = () => this.#dialNow();
  }

  /** What carries new frames; undefined while nothing does. */
  get transport(): Transport | undefined {
    if (this.#session.prefer > 0 && this.#socket?.proven) return "ws";
    return this.#polls && this.#session.welcome ? "longpoll" : undefined;
  }

  /** Does what there is to do, on whatever link there is. */
  wake(): void {
    if (this.off) return;
    if (this.#sockets && !this.#socket && !this.#redial) this.#dialWhenDue();
    if (this.off) return;
    this.#exchanges.active = this.#polls;
    this.#exchanges.wake();
    this.#socket?.wake();
  }

  /** Ends every link, and opens no more until it is to hurry. */
  halt(): void {
    this.off = true;
    clearTimeout(this.#redial);
    clearTimeout(this.#alone);
    this.#redial = this.#alone = undefined;
    this.#exchanges.close();
    this.#socket?.close();
    this.#spare?.close();
    this.#socket = this.#spare = undefined;
  }

  /** Sends one last batch, which no answer is awaited to. */
  beacon(batch: Batch): void {
    this.#carrier.beacon(this.#session.sid, encodeBatch(batch), this.#network.form === "text");
  }

  /** The page is back, or the network may be: tries at once what was put off, and whether links work. */
  hurry(network: boolean): void {
    if (this.#session.lapsed()) return;
    this.off = false;
    if (network) this.#works();
    if (this.#network.wsPauseMs === 0) this.#dialNow();
    this.#socket?.probe();
    this.#exchanges.probe();
    this.#session.wake();
  }

  /** Cuts every link at once, as a network would. */
  drop(): void {
    this.#exchanges.drop();
    this.#spare?.drop();
    this.#socket?.drop();
  }

  /** A WebSocket that fails now is not put off for long: one has worked, or the network is another. */
  #works(): void {
    this.#network.wsPauseMs = this.#network.wsAfter = 0;
    this.#network.wsWhy = "";
  }

  /** Puts off no WebSocket any longer. */
  #dialNow(): void {
    this.#network.wsAfter = 0;
    clearTimeout(this.#redial);
    this.#redial = undefined;
    this.#session.wake();
  }

  #dialWhenDue(): void {
    const s = this.#session;
    const rest = this.#polls ? this.#network.wsAfter - Date.now() : 0;
    if (rest > 0) return this.#dialIn(rest);
    if (s.welcome || !this.#polls || this.#late) return this.#dial();
    this.#alone ??= setTimeout(() => {
      this.#late = true;
      this.wake();
    }, HELLO_ALONE);
  }

  #dial(): void {
    const s = this.#session;
    if (s.lapsed()) return;
    const socket = new SocketLink(s, this.#carrier, !this.#polls, {
      opened: () => this.#opened(socket),
      proven: () => this.#proven(socket),
      doubted: () => this.#doubted(socket),
      lost: (why) => this.#lost(socket, why),
    });
    if (this.#socket) this.#spare = socket;
    else this.#attach(socket);
  }

  /** Makes it the session's: what went on another one is sent again. */
  #attach(socket: SocketLink | undefined): void {
    const s = this.#session;
    this.#socket = socket;
    this.#spare = undefined;
    s.prefer = (!this.#polls && socket?.x) || 0;
    s.lose((on) => on.ws);
  }

  /** One that opened beside another takes its place if that is in doubt still. */
  #opened(socket: SocketLink): void {
    const old = this.#socket!;
    if (old === socket) return;
    this.#spare = undefined;
    if (!old.mute) return socket.close();
    old.close();
    this.#attach(socket);
  }

  #proven(socket: SocketLink): void {
    this.#network.wsWhy = "";
    this.#prefer(socket.x);
    this.#exchanges.release();
  }

  /** A WebSocket in doubt gets another link beside it; one that answers after all is preferred again. */
  #doubted(socket: SocketLink): void {
    if (!socket.mute) this.#prefer(socket.x);
    else if (this.#polls) this.#exchanges.ask();
    else if (!this.#spare) this.#dial();
    this.#session.wake();
  }

  /** Moves new frames to the WebSocket x, or to exchanges (L3). */
  #prefer(x: number): void {
    const s = this.#session;
    s.prefer = x;
    s.restate = true;
    s.note(undefined);
  }

  /** An exchange was answered that began when the WebSocket was in doubt: frames move to exchanges (L3). */
  #pollAnswered(sentAt: number): void {
    const socket = this.#socket;
    if (!socket?.mute || sentAt < socket.mute || this.#session.prefer === 0 || socket.excused()) return;
    this.#session.lose((on) => on.ws);
    this.#prefer(0);
  }

  #lost(socket: SocketLink, why: Weather): void {
    if (socket === this.#spare) return void (this.#spare = undefined);
    const s = this.#session;
    const preferred = s.prefer === socket.x;
    this.#attach(this.#spare);
    if (!this.#socket) this.#dialIn(this.#delay(socket, why));
    if (preferred) s.trouble(why);
    else s.note(socket.proven ? why : s.lastError ?? why); // of one that never worked nobody learns why
    s.wake();
  }

  #dialIn(millis: number): void {
    this.#redial = setTimeout(() => {
      this.#redial = undefined;
      this.wake();
    }, millis);
  }

  /** How long to wait before another WebSocket: one that never worked is demoted when there is another way. */
  #delay(socket: SocketLink, why: Weather): number {
    const s = this.#session;
    const well = socket.proven && !socket.mute;
    if (well) {
      this.#backoff.reset();
      this.#works();
    }
    if (this.#polls && !s.welcome) return HELLO_ALONE;
    if (!this.#polls || well) return s.shorten(this.#backoff.next(socket.useful && !this.#polls, s.open === 0));
    const network = this.#network;
    network.wsPauseMs = Math.min(WS_PAUSE_MOST, 2 * network.wsPauseMs || DEMOTED);
    network.wsAfter = Date.now() + network.wsPauseMs;
    network.wsWhy = why.message;
    return network.wsPauseMs;
  }
}
