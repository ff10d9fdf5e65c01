import type { Session } from "../session/session.js";
import { Weather } from "./carrier.js";
import type { Ladder } from "./ladder.js";
import { DEMOTED, HELLO_ALONE, WS_PAUSE_MOST } from "./limits.js";
import { SocketLink } from "./socketlink.js";
import { SocketPath } from "./socketpath.js";

/** Sockets opens a session's WebSockets, and moves it to one and back to exchanges: the upper rungs of a Ladder. */
export class Sockets {
  readonly #ladder: Ladder;
  readonly #session: Session;
  readonly #path: SocketPath;
  #socket: SocketLink | undefined;
  /** Opens beside it, to take its place if it is in doubt still. */
  #spare: SocketLink | undefined;
  #redial: ReturnType<typeof setTimeout> | undefined;

  constructor(ladder: Ladder) {
    this.#ladder = ladder;
    this.#session = ladder.session;
    this.#path = new SocketPath(ladder.session.path);
    ladder.session.sockets = this.#path;
    ladder.exchanges.answered = (sentAt) => this.#pollAnswered(sentAt);
    ladder.exchanges.overdue = () => this.#dialNow();
  }

  /** Whether new frames go on one. */
  get carry(): boolean {
    return this.#session.prefer > 0 && !!this.#socket?.proven;
  }

  /** Opens one, at once or when it is not put off any more; does nothing where there is one. */
  dialWhenDue(): void {
    if (this.#socket || this.#redial) return;
    const rest = this.#ladder.polls ? this.#ladder.network.wsAfter - Date.now() : 0;
    if (rest > 0) this.#dialIn(rest);
    else this.#dial();
  }

  /** Sends what there is to send. */
  wake(): void {
    this.#socket?.wake();
  }

  /** Ends them all; a wake opens another one. */
  close(): void {
    clearTimeout(this.#redial);
    this.#redial = undefined;
    this.#socket?.close();
    this.#spare?.close();
    this.#socket = this.#spare = undefined;
  }

  /** Cuts them at once, as a network would. */
  drop(): void {
    this.#spare?.drop();
    this.#socket?.drop();
  }

  /** Tries at once what was put off, and whether the one there is works; network: the network may be another. */
  hurry(network: boolean): void {
    if (network) this.#works();
    if (this.#ladder.network.wsPauseMs === 0) this.#dialNow();
    this.#socket?.probe();
  }

  /** A WebSocket that fails now is not put off for long: one has worked, or the network is another. */
  #works(): void {
    this.#ladder.network.wsPauseMs = this.#ladder.network.wsAfter = 0;
    this.#ladder.network.wsWhy = "";
  }

  /** Puts off no WebSocket any longer. */
  #dialNow(): void {
    this.#ladder.network.wsAfter = 0;
    clearTimeout(this.#redial);
    this.#redial = undefined;
    this.#session.wake();
  }

  #dial(): void {
    const s = this.#session;
    if (s.lapsed()) return;
    const socket = new SocketLink(s, this.#path, this.#ladder.carrier, !this.#ladder.polls, this.#ladder.network, {
      opened: () => this.#opened(socket),
      proven: () => this.#proven(socket),
      doubted: () => this.#doubted(socket),
      lost: (reason, message) => this.#lost(socket, new Weather(reason, message)),
    });
    if (this.#socket) this.#spare = socket;
    else this.#attach(socket);
  }

  /** Makes it the session's: what went on another one is sent again. */
  #attach(socket: SocketLink | undefined): void {
    const s = this.#session;
    this.#socket = socket;
    this.#spare = undefined;
    s.prefer = (!this.#ladder.polls && socket?.x) || 0;
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
    this.#ladder.network.wsWhy = "";
    this.#prefer(socket.x);
    this.#ladder.exchanges.release();
  }

  /** A WebSocket in doubt gets another link beside it; one that answers after all is preferred again. */
  #doubted(socket: SocketLink): void {
    if (!socket.mute) this.#prefer(socket.x);
    else if (this.#ladder.polls) this.#ladder.exchanges.ask();
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
      this.#ladder.wake();
    }, millis);
  }

  /** How long to wait before another WebSocket: one that never worked is demoted when there is another way. */
  #delay(socket: SocketLink, why: Weather): number {
    const s = this.#session;
    const well = socket.proven && !socket.mute;
    if (well) {
      this.#ladder.backoff.reset();
      this.#works();
    }
    if (this.#ladder.polls && !s.welcome) return HELLO_ALONE;
    if (!this.#ladder.polls || well) return s.shorten(this.#ladder.backoff.next(socket.useful && !this.#ladder.polls, s.open === 0));
    const network = this.#ladder.network;
    network.wsPauseMs = Math.min(WS_PAUSE_MOST, 2 * network.wsPauseMs || DEMOTED);
    network.wsAfter = Date.now() + network.wsPauseMs;
    network.wsWhy = why.message;
    return network.wsPauseMs;
  }
}
