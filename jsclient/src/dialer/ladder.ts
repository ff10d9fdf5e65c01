// The choice of transport.

import type { SessionError } from "../engine/errors.js";
import { type Backoff, newRetry } from "../tune/backoff.js";
import { Demotion } from "../tune/demotion.js";
import { LastingTuner } from "../tune/lasting.js";
import type { Network } from "../tune/network.js";
import type { Batch } from "../wire/batch.js";
import { encodeBatch } from "../wire/codec.js";
import type { Carrier, LinkError } from "./carrier.js";
import type { Links } from "./config.js";
import { Exchanges, type LinkConfig } from "./exchanges.js";
import { LastingLink } from "./lasting.js";
import type { Session } from "./session.js";

/** Exchanges have so many milliseconds to bring the Welcome before a WebSocket is tried for it: a little less than until HELLO_AGAIN. */
const HELLO_ALONE = 2_990;

/** A kind of carriage. */
export type Transport = "longpoll" | "ws";

/**
 * Ladder gives a session its links. With both transports it begins with
 * exchanges, opens a WebSocket beside them after the Welcome, and goes over to
 * it once it has answered. One that falls silent or is lost hands back to
 * exchanges.
 */
export class Ladder implements Links {
  readonly #session: Session;
  readonly #carrier: Carrier;
  readonly #network: Network;
  /** Undefined: WebSockets alone are used. */
  readonly #exchanges: Exchanges | undefined;
  /** WebSockets are used. */
  readonly #dials: boolean;
  readonly #demotion: Demotion;
  /** What its WebSockets have learnt, one after the other. */
  readonly tuner: LastingTuner;
  /** Before another WebSocket is opened. */
  readonly #backoff: Backoff;
  #link: LastingLink | undefined;
  /** Opens beside it, to take its place if it is still suspected then. */
  #second: LastingLink | undefined;
  #redialTimer: ReturnType<typeof setTimeout> | undefined;
  /** When it runs, on the session's clock. */
  #redialAt = 0;
  /** When links were first made, on the session's clock. */
  #since: number | undefined;
  /** There are no links: the session is over, or the page put aside. */
  #halted = false;

  constructor(session: Session, carrier: Carrier, transports: readonly Transport[], config: LinkConfig) {
    this.#session = session;
    this.#carrier = carrier;
    this.#network = config.network;
    this.#demotion = new Demotion(config.network);
    this.tuner = new LastingTuner(config.network);
    this.#backoff = newRetry(config.backoff);
    this.#dials = transports.includes("ws");
    if (!transports.includes("longpoll")) return;
    this.#exchanges = new Exchanges(session, carrier, config, {
      answered: (sentAt) => this.#exchangeAnswered(sentAt),
      timedOut: () => this.#dialNow(),
    });
  }

  /** The transport that carries new frames; undefined while none does. */
  get transport(): Transport | undefined {
    if (this.carries) return "ws";
    return this.#exchanges && this.#session.welcome ? "longpoll" : undefined;
  }

  get carries(): boolean {
    return this.#session.preferred > 0 && !!this.#link?.proven;
  }

  get awaiting(): number | undefined {
    return this.#exchanges?.awaiting;
  }

  get dialing(): boolean {
    return !!this.#exchanges && !!this.#link;
  }

  get nextTryIn(): number {
    const dialIn = this.#redialTimer ? this.#redialAt - this.#session.endpoint.now() : 0;
    return this.#exchanges?.nextTryIn ?? Math.max(0, dialIn);
  }

  wake(): void {
    if (this.#halted) return;
    this.#exchanges?.wake(); // first: a page waits for its answer, and for no WebSocket
    if (this.#halted) return; // the session has expired
    this.#dialWhenDue();
    this.#link?.wake();
  }

  ask(): void {
    this.#exchanges?.probe();
  }

  halt(): void {
    this.#halted = true;
    this.#exchanges?.close();
    clearTimeout(this.#redialTimer);
    this.#redialTimer = undefined;
    this.#link?.close();
    this.#second?.close();
    this.#link = this.#second = undefined;
    this.#session.prefer(0);
  }

  /** Ends every link for a page that is put aside and may come back, and asks the bridge to wait (L6). */
  pause(): void {
    if (this.#halted) return;
    this.halt();
    this.#beacon(this.#session.pause());
  }

  /** Closes the session of a page that goes for good, with a last batch. */
  leave(why: SessionError): void {
    this.halt();
    this.#beacon(this.#session.leave(why));
  }

  /** Sends one last batch, whose answer is not awaited. */
  #beacon(batch: Batch | undefined): void {
    if (batch) this.#carrier.beacon(this.#session.sid, encodeBatch(batch), this.#network.form === "text");
  }

  /** Tries at once what was put off, and whether links work, for a page that is back. newNetwork: the network may be another. */
  retryNow(newNetwork: boolean): void {
    if (this.#session.expired()) return;
    this.#halted = false;
    if (newNetwork) this.#demotion.reset();
    if (!this.#demotion.demoted) this.#dialNow();
    this.#link?.probe();
    this.#exchanges?.retryNow();
    this.#session.endpoint.wake();
  }

  /** Cuts every link at once, as a network would. */
  drop(): void {
    this.#exchanges?.drop();
    this.#second?.drop();
    this.#link?.drop();
  }

  /**
   * Opens a WebSocket, at once or when it is not put off any more: after the
   * Welcome, or for it where exchanges have not brought it in time. Whatever fails
   * by then wakes the ladder, as does a Hello that is asked for again. Where there
   * are exchanges it is opened in a task of its own, as that takes milliseconds:
   * what their answers bring goes first.
   */
  #dialWhenDue(ownTask = !this.#exchanges): void {
    const s = this.#session;
    const now = s.endpoint.now();
    this.#since ??= now;
    const early = !!this.#exchanges && !s.welcome && !s.strangers.any && now < this.#since + HELLO_ALONE;
    if (!this.#dials || this.#link || this.#redialTimer || early) return;
    const wait = this.#exchanges ? this.#demotion.left(Date.now()) : 0;
    if (wait > 0 || !ownTask) this.#dialIn(wait);
    else this.#dial();
  }

  #dialIn(millis: number): void {
    this.#redialAt = this.#session.endpoint.now() + millis;
    this.#redialTimer = this.#session.after(millis, () => {
      this.#redialTimer = undefined;
      if (!this.#halted) this.#dialWhenDue(true);
    });
  }

  /** Puts off no WebSocket any longer. */
  #dialNow(): void {
    if (!this.#dials) return;
    this.#demotion.skip();
    clearTimeout(this.#redialTimer);
    this.#redialTimer = undefined;
    this.#session.endpoint.wake();
  }

  #dial(): void {
    if (this.#session.expired()) return;
    const link = new LastingLink(this.#session, this.#carrier, this.tuner, !!this.#exchanges, {
      opened: () => this.#opened(link),
      proven: () => this.#proven(link),
      suspected: () => this.#suspected(link),
      lost: (why) => this.#lost(link, why),
    });
    if (this.#link) this.#second = link;
    else this.#attach(link);
  }

  /** Makes a link the session's, or none: what was sent on another one is sent again. */
  #attach(link: LastingLink | undefined): void {
    this.#link = link;
    this.#second = undefined;
    this.#session.prefer((!this.#exchanges && link?.id.number) || 0);
    this.#loseLasting();
  }

  #loseLasting(): void {
    this.#session.lose((on) => on.kind === "lasting");
  }

  /** Puts a link that opened beside another in its place if that is still suspected; else closes it. */
  #opened(link: LastingLink): void {
    const old = this.#link!;
    if (old === link) return;
    this.#second = undefined;
    if (!old.suspectedAt) return link.close();
    old.close();
    this.#attach(link);
  }

  #proven(link: LastingLink): void {
    this.#demotion.proven();
    this.#prefer(link.id.number);
    this.#exchanges?.release();
  }

  /** Opens another link beside one that is suspected; prefers one again that answers after all. */
  #suspected(link: LastingLink): void {
    if (!link.suspectedAt) this.#prefer(link.id.number);
    else if (this.#exchanges) this.#exchanges.probe();
    else if (!this.#second) this.#dial();
    this.#session.endpoint.wake();
  }

  /** Moves new frames to a lasting link, or to exchanges (L3). */
  #prefer(number: number): void {
    this.#session.prefer(number);
    this.#session.note();
  }

  /** Moves frames to exchanges when one was answered that began while the link was suspected (L3). */
  #exchangeAnswered(sentAt: number): void {
    const link = this.#link;
    if (!link?.suspectedAt || sentAt < link.suspectedAt || this.#session.preferred === 0 || link.excused()) return;
    this.#loseLasting();
    this.#prefer(0);
  }

  #lost(link: LastingLink, why: LinkError): void {
    if (link === this.#second) return void (this.#second = undefined);
    const s = this.#session;
    const preferred = s.preferred === link.id.number;
    this.#attach(this.#second);
    if (!this.#exchanges && !this.#link && !link.opened) s.moveOn(); // nothing went with this ID, for which a balancer may reach no bridge
    if (!this.#link) this.#dialIn(this.#delay(link, why));
    if (preferred) s.linkFailed(why);
    else s.note(link.proven ? why : s.lastError ?? why); // of one that never worked nobody learns why
    s.endpoint.wake();
  }

  /** Returns how long to wait before another WebSocket: one that never worked is demoted where there are exchanges. */
  #delay(link: LastingLink, why: LinkError): number {
    const s = this.#session;
    const well = link.proven && !link.suspectedAt;
    if (well) {
      this.#backoff.reset();
      this.#demotion.reset();
    }
    if (this.#exchanges && !s.welcome) return HELLO_ALONE;
    if (!this.#exchanges || well) return s.shorten(this.#backoff.next(link.useful && !this.#exchanges, s.endpoint.numStreams === 0));
    return this.#demotion.failed(Date.now(), why.message);
  }
}
