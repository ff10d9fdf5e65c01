// Long-polling: a session's exchanges (PROTOCOL.md, section 5, L1 to L7).

import type { Batch, Close } from "../wire/batch.js";
import { encodeBatch, parseBatch } from "../wire/codec.js";
import { isRefusal, SessionError } from "../session/errors.js";
import type { Session } from "../session/session.js";
import { Backoff, type BackoffOptions, newRetry } from "./backoff.js";
import { type Carrier, OriginError, Weather } from "./carrier.js";
import { AT_ONCE, HELLO_AGAIN, HOLD_FIRST, HOLD_WITH_FRAMES, LATE, MAX_IN_FLIGHT, OWED_ACK } from "./limits.js";
import type { Network } from "./network.js";
import { type Tried, Tuning } from "./tuning.js";

type Timer = ReturnType<typeof setTimeout>;

/** What a channel says of its links. */
export interface LinkConfig {
  /** How long a poll may be held at most, in milliseconds. */
  holdMs: number;
  backoff: BackoffOptions | undefined;
  /** What was learnt, for all sessions of the channel. */
  network: Network;
}

/** One exchange in flight. */
interface Flight extends Tried {
  x: number;
  sentAt: number;
  /** The credential that it carried, if any. */
  token: string;
  /** It asks for the Welcome and nothing else. */
  hello: boolean;
  /** It was asked for, to be answered at once. */
  asked: boolean;
  timers: Timer[];
  controller: AbortController;
}

/** Exchanges schedules a session's exchanges. */
export class Exchanges {
  /** Called with each valid answer, before the next exchange is made; sentAt: when its exchange began. */
  answered: (sentAt: number) => void = () => undefined;
  /** Called when one had no answer in time. */
  overdue: () => void = () => undefined;

  readonly #session: Session;
  readonly #carrier: Carrier;
  readonly #network: Network;
  readonly #backoff: Backoff;
  readonly #empties = new Backoff(2, 0);
  /** Failures at once, in a row. */
  #atOnce = 0;
  #flights: Flight[] = [];
  #wait: Timer | undefined;
  /** An exchange is wanted that is answered at once, to see whether the network works. */
  #asked = false;
  readonly #tuning: Tuning;
  /** Exchanges in a row that had no answer in time. */
  #late = 0;

  constructor(session: Session, carrier: Carrier, config: LinkConfig) {
    this.#session = session;
    this.#carrier = carrier;
    this.#network = config.network;
    this.#backoff = newRetry(config.backoff);
    this.#tuning = new Tuning(config.network, config.holdMs);
  }

  /** Makes the exchanges that are needed now. */
  wake(): void {
    while (!this.#wait && this.#flights.length < MAX_IN_FLIGHT && !this.#flights.some((f) => f.proof) && this.#launch());
  }

  /** Makes the next exchange at once, whatever was being waited for. */
  hurry(): void {
    clearTimeout(this.#wait);
    this.#wait = undefined;
    this.wake();
  }

  /** Finds out soon whether the network works: what is parked may have died unnoticed. */
  probe(): void {
    this.#backoff.reset();
    this.ask(this.#flights.length > 0);
    this.hurry();
  }

  /** Wants an exchange that is answered at once, beside what is parked. */
  ask(wanted = true): void {
    this.#asked = wanted;
    if (wanted && this.#flights.length === MAX_IN_FLIGHT) this.#abandon(this.#flights[0]!);
  }

  /** Gives up the exchanges that carry nothing. */
  release(): void {
    this.#abandonAll((f) => !f.laden);
  }

  /** Ends all exchanges; a wake makes others. */
  close(): void {
    clearTimeout(this.#wait);
    this.#abandonAll(() => true);
  }

  /** Fails every exchange in flight, as a network would. */
  drop(): void {
    for (const f of [...this.#flights]) {
      f.controller.abort();
      this.#failed(f, new Weather("cut", "cut on request"));
    }
  }

  /** Makes one exchange if there is a need for it. */
  #launch(): boolean {
    const s = this.#session;
    if (s.lapsed()) return false;
    const { trial } = this.#tuning;
    const sendable = s.out.sendable && s.prefer === 0;
    const proof = !trial && sendable && this.#tuning.wantsProof;
    const asked = this.#asked || trial || proof;
    if (s.prefer > 0 && !asked) return false;
    const parks = asked || s.asks || this.#wantsPoll();
    if (!parks && !sendable && s.inbox.owed <= OWED_ACK) return false;

    const x = s.nextX;
    s.awaiting = this.#flights[0]?.x ?? x;
    const owed = s.inbox.owed;
    const batch = s.header(x, true);
    if (sendable && !trial && !proof) s.out.fill(batch, { x, ws: false }, s.now(), this.#network.upBytes, Infinity);
    if (batch.frames.length === 0 && !parks && owed <= OWED_ACK) {
      s.inbox.owed = owed;
      return false;
    }
    s.nextX++;
    this.#asked = false;
    this.#send(x, batch, asked, trial, proof);
    return true;
  }

  /** Tells whether a poll is to be parked, or the Welcome asked for while RPCs wait for it (O4). */
  #wantsPoll(): boolean {
    const s = this.#session;
    if (this.#flights.length === 0) return s.open > 0 || !s.welcome;
    return s.waits && !this.#flights.some((f) => f.hello);
  }

  #send(x: number, batch: Batch, asked: boolean, trial: boolean, proof: boolean): void {
    const s = this.#session;
    const laden = batch.frames.length > 0;
    const hello = !s.welcome && !laden;
    this.#tuning.leaves(laden, s.welcome?.holdMillis);
    batch.holdMillis = s.open > 0 && !asked && !hello ? Math.min(Math.max(this.#tuning.calm, Math.round(s.path.atLeast(HOLD_FIRST, 2))), this.#network.holdMs) : 0;
    batch.maxBytes = this.#network.downBytes;
    const bytes = encodeBatch(batch);
    const hold = laden ? Math.min(batch.holdMillis, HOLD_WITH_FRAMES) : batch.holdMillis;
    const f: Flight = { x, sentAt: s.now(), token: batch.token, size: bytes.length, laden, hold, hello, asked, trial, proof, timers: [], controller: new AbortController() };
    const most = s.path.atLeast(10_000, 4);
    const least = s.welcome ? Math.min(s.path.atLeast(3_000, 4) * 2 ** this.#late, most) : most;
    const limit = Math.max(least, hold + Math.min(hold, most)) + s.path.uploadTime(bytes.length, this.#tuning.rate);
    this.#after(f, limit, () => this.#timedOut(f, f.sentAt + limit + LATE));
    if (laden) this.#after(f, s.path.atLeast(500, 2), () => this.#makeRoom(f.x));
    if (!s.welcome) this.#after(f, HELLO_AGAIN, () => this.#helloAgain());
    this.#flights.push(f);
    const text = this.#network.form === "text" && !trial;
    this.#carrier.exchange(s.sid, bytes, f.controller.signal, text).then(
      (answer) => this.#arrived(f, answer),
      (error: Weather | OriginError) => this.#failed(f, error),
    );
  }

  #after(f: Flight, millis: number, what: () => void): void {
    f.timers.push(setTimeout(what, millis));
  }

  /** Takes an exchange out of the list; false if it was out already. */
  #remove(f: Flight): boolean {
    if (!this.#flights.includes(f)) return false;
    this.#flights = this.#flights.filter((other) => other !== f);
    for (const timer of f.timers) clearTimeout(timer);
    this.#session.awaiting = this.#flights[0]?.x ?? 0;
    return true;
  }

  /** Forgets an exchange, whose answer does not count any more; its frames are sent again. */
  #abandon(f: Flight): void {
    if (!this.#remove(f)) return;
    f.controller.abort();
    this.#lose(f);
  }

  /** Asks for the Welcome once more, in the other form. */
  #helloAgain(): void {
    const s = this.#session;
    if (!s.welcome && !s.error && this.#flights.length < MAX_IN_FLIGHT) {
      this.#tuning.changeForm();
      this.ask();
    }
    s.wake();
  }

  /** Aborts the parked poll that may hold up an exchange with frames: connections are few (L5). */
  #makeRoom(x: number): void {
    this.#abandonAll((f) => f.x < x && !f.laden);
  }

  #abandonAll(those: (f: Flight) => boolean): void {
    for (const f of this.#flights.filter(those)) this.#abandon(f);
  }

  #lose(f: Flight): void {
    this.#session.lose((on) => on.x === f.x);
  }

  /** A timer that runs later than that tells of a sleep: the answer may wait unread, and gets a little more time. */
  #timedOut(f: Flight, late: number): void {
    if (this.#session.now() > late) return this.#after(f, LATE, () => this.#timedOut(f, Infinity));
    f.controller.abort();
    this.#abandonAll((other) => other.x < f.x); // L5
    this.#late++;
    f.asked ||= !!this.#session.welcome && this.#session.open > 0;
    this.overdue();
    this.#failed(f, new Weather("timeout", `no answer within ${Math.round(this.#session.now() - f.sentAt)} ms`));
  }

  #failed(f: Flight, error: Weather | OriginError): void {
    if (!this.#remove(f)) return;
    this.#lose(f);
    const s = this.#session;
    if (error instanceof OriginError) {
      return s.end(new SessionError("origin", error.message));
    }
    if (f.trial) return s.wake();
    this.#asked ||= f.asked;
    const age = s.now() - f.sentAt;
    this.#tuning.failed(f, error, age);
    s.trouble(error);
    this.#atOnce = age < AT_ONCE ? this.#atOnce + 1 : 0;
    const idle = this.#atOnce > 2 || (s.open === 0 && !!s.welcome);
    this.#pause(s.shorten(Math.max(this.#backoff.next(age >= 1_000, idle), error.retryAfterMillis)));
  }

  /** Makes no further exchange for a while. */
  #pause(millis: number): void {
    clearTimeout(this.#wait);
    this.#wait = setTimeout(() => this.hurry(), millis);
  }

  #arrived(f: Flight, bytes: Uint8Array): void {
    if (!this.#flights.includes(f)) return; // abandoned
    let answer: Batch;
    try {
      answer = parseBatch(bytes);
    } catch {
      return this.#failed(f, new Weather("foreign", `not the bridge's answer: ${new TextDecoder().decode(bytes.subarray(0, 64))}`, { status: 200, cut: true }));
    }
    if (isRefusal(answer)) this.#refused(f, answer.close!);
    else if (!this.#session.isOurs(answer, f.x)) this.#failed(f, new Weather("foreign", "another exchange's answer"));
    else this.#taken(f, answer);
  }

  /** Handles a refusal that touches no session (W6). */
  #refused(f: Flight, close: Close): void {
    this.#failed(f, new Weather("refused", `refused: ${close.message}`, { status: 200 }));
    const wait = this.#tuning.refused(f, close);
    if (wait) this.#pause(wait);
  }

  #taken(f: Flight, answer: Batch): void {
    this.#remove(f);
    const s = this.#session;
    this.#late = 0;
    const elapsed = s.now() - f.sentAt;
    const held = Math.min(answer.heldMicros / 1000, elapsed);
    const rtt = elapsed - held;
    s.path.rtt(s.now(), rtt);
    const full = f.hold > 0 && held >= f.hold / 2;
    if (this.#tuning.answered(f, answer, rtt, full)) this.ask();
    const highest = f.x === s.nextX - 1;
    s.tokenTaken(f.token);
    const progress = s.receive(answer, f.sentAt, (on) => !on.ws && on.x <= f.x, held);
    if (s.error) return;
    for (const older of this.#flights.filter((other) => other.x < f.x)) {
      this.#after(older, s.path.atLeast(3_000, 4) - elapsed, () => this.#abandon(older)); // L4
    }
    this.#atOnce = 0;
    if (progress) this.#backoff.reset();
    if (progress || full) this.#empties.reset();
    this.answered(f.sentAt);
    const wait = progress || full || !highest || (f.hold === 0 && s.welcome) ? 0 : this.#empties.next();
    if (wait > 0) this.#pause(wait);
    else this.wake();
  }
}
