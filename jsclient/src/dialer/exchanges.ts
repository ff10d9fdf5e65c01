// Long-polling: a session's exchanges (PROTOCOL.md, section 5, L1 to L7).

import { isRefusal, SessionError } from "../engine/errors.js";
import { Backoff, type BackoffOptions, newRetry } from "../tune/backoff.js";
import { type Attempt, ExchangeTuner, HOLD_WITH_FRAMES } from "../tune/exchanges.js";
import type { Network } from "../tune/network.js";
import { type Bodies, MIN_BODIES } from "../tune/pace.js";
import { uploadTime } from "../tune/path.js";
import { type Batch, type Close, CODE_BUSY, CODE_TOO_LARGE, type Frame } from "../wire/batch.js";
import { encodeBatch, parseBatch } from "../wire/codec.js";
import { isBatch } from "../wire/envelope.js";
import { type Carrier, LinkError, OriginError } from "./carrier.js";
import type { Session } from "./session.js";

// Times are in milliseconds, sizes in bytes.

/** How many are in flight at most, where they share a connection. */
const MAX_EXCHANGES = 8;
/** A failure within this time is one at once. */
const QUICK_FAILURE = 200;
/** An ack alone is worth an exchange above so many bytes. */
const ACK_ALONE = 64 << 10;
/** A Hello unanswered for so long gets another beside it. */
const HELLO_AGAIN = 3_000;
/** By how much a timer must be late to tell of a sleep. */
const LATE = 2_000;
/** So often a session that a bridge has no room for looks for another at once, and so long it waits between. */
const MAX_MOVES = 8;
const MOVE_WAIT = 250;
/** The least hold that is asked for while something is expected. */
const FIRST_HOLD = 1_500;
/** How long readers have for what came, until an exchange goes for credit's sake alone, without the rest of what they are about to give. */
const CREDIT_WAIT = 1;
/** How long senders have for another full body, until what the last one left goes as a short one, in the place of a full one. */
const REFILL_WAIT = 1;

/** Bounds what a batch is long without its frames, and without a token. */
const HEADER = 160;

type Timer = ReturnType<typeof setTimeout>;

/** What a channel says of its links. */
export interface LinkConfig {
  /** How long a poll may be held at most, in milliseconds. */
  holdMs: number;
  backoff: BackoffOptions | undefined;
  /** What was learnt, for all sessions of the channel. */
  network: Network;
}

/** What exchanges tell the ladder. */
export interface ExchangesEvents {
  /** A valid answer came, to an exchange that began at sentAt; the next one is not made yet. */
  answered(sentAt: number): void;
  /** One had no answer in time. */
  timedOut(): void;
}

/** One exchange in flight. */
interface Exchange extends Attempt {
  number: number;
  sentAt: number;
  /** The credential that it carried, if any. */
  token: string;
  /** It asks for the Welcome and nothing else. */
  hello: boolean;
  /** It is to be answered at once, to see whether the network works. */
  probe: boolean;
  /** It travels as base64. */
  text: boolean;
  timers: Timer[];
  controller: AbortController;
}

/** Exchanges schedules a session's exchanges. */
export class Exchanges {
  readonly #session: Session;
  readonly #carrier: Carrier;
  readonly #network: Network;
  readonly #events: ExchangesEvents;
  readonly #tuner: ExchangeTuner;
  readonly #backoff: Backoff;
  readonly #emptyBackoff = new Backoff(2, 0);
  #inFlight: Exchange[] = [];
  /** Until the next one may be made; and when that is, on the session's clock. */
  #pauseTimer: Timer | undefined;
  #pausedUntil = 0;
  /** Until readers or senders have had their moment; and when they have, on the session's clock. */
  #dueTimer: Timer | undefined;
  #creditAt = 0;
  #refillAt = 0;
  /** The pong to the last ping of an answer; 0: none came. */
  #pong = 0;
  /** An exchange is wanted that is answered at once, to see whether the network works. */
  #probeNow = false;
  /** How often the session moved on from a bridge that was busy. */
  #moves = 0;
  /** Failures at once, in a row. */
  #quickFailures = 0;
  /** Exchanges in a row that had no answer in time. */
  #timeouts = 0;

  constructor(session: Session, carrier: Carrier, { network, holdMs, backoff }: LinkConfig, events: ExchangesEvents) {
    this.#session = session;
    this.#carrier = carrier;
    this.#network = network;
    this.#events = events;
    this.#tuner = new ExchangeTuner(network, holdMs, carrier.sendsOrigin);
    this.#backoff = newRetry(backoff);
  }

  /** The lowest number of those in flight; undefined: there are none. */
  get awaiting(): number | undefined {
    return this.#inFlight[0]?.number;
  }

  /** How long until the next one may be made, in milliseconds. */
  get nextTryIn(): number {
    return this.#pauseTimer ? Math.max(0, this.#pausedUntil - this.#session.endpoint.now()) : 0;
  }

  /** Makes the exchanges that are needed now. */
  wake(): void {
    while (!this.#pauseTimer && this.#hasRoom && !this.#inFlight.some((x) => x.proof) && this.#launch());
  }

  /** Makes the next exchange at once, whatever was being waited for. */
  #resume(): void {
    clearTimeout(this.#pauseTimer);
    this.#pauseTimer = undefined;
    this.wake();
  }

  /** Finds out soon whether the network works: what is parked may have died unnoticed. */
  retryNow(): void {
    this.#backoff.reset();
    this.probe(this.#inFlight.length > 0);
    this.#resume();
  }

  /** Wants an exchange that is answered at once, beside what is parked. */
  probe(wanted = true): void {
    this.#probeNow = wanted;
    if (wanted && !this.#hasRoom) this.#abandon(this.#inFlight[0]!);
  }

  /** Gives up the exchanges that carry nothing. */
  release(): void {
    this.#abandonAll((x) => !x.frames);
  }

  /** Ends all exchanges; a wake makes others. */
  close(): void {
    clearTimeout(this.#pauseTimer);
    clearTimeout(this.#dueTimer);
    this.#abandonAll(() => true);
  }

  /** Fails every exchange in flight, as a network would. */
  drop(): void {
    for (const x of [...this.#inFlight]) {
      x.controller.abort();
      this.#failed(x, new LinkError("cut", "cut on request"));
    }
  }

  /** Makes one exchange if there is a need for it. */
  #launch(): boolean {
    const s = this.#session;
    if (s.expired()) return false;
    const { out, inbox } = s.endpoint;
    const { trial } = this.#tuner;
    const sendable = out.sendable && s.preferred === 0;
    const proof = !trial && sendable && this.#tuner.wantsProof;
    const probe = this.#probeNow || trial || proof;
    if (s.preferred > 0 && !probe) return false;
    if (this.#tuner.alone && this.#inFlight.some((x) => x.frames)) return false;
    const beside = this.#tuner.pipelineNext && !!s.welcome;
    const needed = probe || s.endpoint.asks || this.#wantsPoll() || ((beside || inbox.ackPending > ACK_ALONE) && this.#creditDue());
    if (!needed && !(sendable && this.#sendDue())) return false;

    const link = { number: s.latestLink + 1, kind: "oneShot" } as const;
    const frames = sendable && !trial && !proof ? out.fill(link, s.endpoint.now(), this.#body() - HEADER, Infinity) : [];
    if (frames.length === 0 && !needed) return false;
    if (frames.length > 0 && out.turn.length > 0) this.#refillAt = s.endpoint.now() + REFILL_WAIT; // full: senders may have waited for the room that it makes
    this.#probeNow = false;
    this.#send(s.newLink(), frames, { probe, trial, proof });
    return true;
  }

  /** Returns how long the next body may be, and how many to have in flight, each way: more than two where they share a connection, since others are few, and the bridge takes them. */
  get #bodies(): { up: Bodies; down: Bodies } {
    const { welcome, endpoint } = this.#session;
    const most = this.#carrier.multiplexed ? Math.max(Math.min(welcome?.maxExchanges ?? 0, MAX_EXCHANGES), MIN_BODIES) : MIN_BODIES;
    return this.#tuner.bodies(endpoint.path, most);
  }

  /** One more exchange may be in flight: more than two where the path needs them to carry the bodies of either direction. */
  get #hasRoom(): boolean {
    const { length } = this.#inFlight;
    if (length < MIN_BODIES) return true;
    const { up, down } = this.#bodies;
    return length < Math.max(up.n, down.n);
  }

  /** Returns how long the next body may be. */
  #body(): number {
    const { endpoint } = this.#session;
    endpoint.bodyBytes = this.#bodies.up.length;
    endpoint.bodies = Math.max(this.#inFlight.length + 1, MIN_BODIES);
    endpoint.followPath();
    return endpoint.bodyBytes;
  }

  /** Reports whether an exchange may go with what is to be sent. */
  #sendDue(): boolean {
    const { out, bodyBytes } = this.#session.endpoint;
    if (out.urgent) return true;
    if (out.turn.length === 0) return this.#creditDue();
    return out.unsent >= bodyBytes || this.#isDue(this.#refillAt);
  }

  /** Reports whether an exchange may go for credit's sake. */
  #creditDue(): boolean {
    return this.#session.endpoint.unread === 0 || this.#isDue(this.#creditAt);
  }

  /** Reports whether that time has come; sees to it that exchanges are made then. */
  #isDue(at: number): boolean {
    const { endpoint } = this.#session;
    const wait = at - endpoint.now();
    if (wait <= 0) return true;
    this.#dueTimer ??= this.#session.after(wait, () => {
      this.#dueTimer = undefined;
      this.wake();
    });
    return false;
  }

  /** Reports whether a poll is to be parked, or the Welcome asked for while RPCs wait for it (O4). */
  #wantsPoll(): boolean {
    const s = this.#session;
    if (this.#inFlight.length === 0) return s.endpoint.numStreams > 0 || !s.welcome;
    return s.waitsForWelcome && !this.#inFlight.some((x) => x.hello);
  }

  #send(number: number, frames: Frame[], purpose: { probe: boolean; trial: boolean; proof: boolean }): void {
    const s = this.#session;
    const { endpoint } = s;
    const { path } = endpoint;
    const hello = !s.welcome && frames.length === 0;
    this.#tuner.starts(frames.length > 0, s.welcome?.holdMillis);
    const batch = s.header(number, true, true);
    batch.frames = frames;
    const paced = frames.length > 0 && endpoint.out.sendable; // its ack is waited for
    if (endpoint.numStreams > 0 && !purpose.probe && !hello && !paced) {
      batch.holdMillis = Math.min(Math.max(this.#tuner.adaptiveHold, Math.round(path.atLeast(FIRST_HOLD, 2))), this.#network.holdMs);
    }
    batch.maxBytes = this.#bodies.down.length;
    batch.pong = this.#pong;
    const bytes = encodeBatch(batch);
    if (frames.length > 0) endpoint.out.sentIn(bytes.length, Infinity);
    const now = endpoint.now();
    const x: Exchange = {
      ...purpose,
      ...this.#tuner.passages(now, this.#inFlight.length === 0),
      number,
      sentAt: now,
      token: batch.token,
      size: bytes.length,
      frames: frames.length > 0,
      only: frames.length === 1 ? frames[0]!.seq : undefined,
      hold: frames.length > 0 ? Math.min(batch.holdMillis, HOLD_WITH_FRAMES) : batch.holdMillis,
      hello,
      text: this.#network.form === "text" && !purpose.trial,
      timers: [],
      controller: new AbortController(),
    };
    this.#inFlight.push(x);
    this.#watch(x);
    this.#carrier.exchange(s.sid, bytes, x.controller.signal, x.text).then(
      (answer) => s.guard(() => this.#arrived(x, answer)),
      (error: unknown) => s.guard(() => (error instanceof OriginError ? this.#notAdmitted(x, error) : this.#failed(x, linkError(error)))),
    );
  }

  /** Sets the timers of an exchange. */
  #watch(x: Exchange): void {
    const s = this.#session;
    const { path } = s.endpoint;
    const longest = path.atLeast(10_000, 4);
    const least = s.welcome ? Math.min(path.atLeast(3_000, 4) * 2 ** this.#timeouts, longest) : longest;
    const limit = Math.max(least, x.hold + Math.min(x.hold, longest)) + uploadTime(x.size, this.#tuner.uploadRate);
    this.#after(x, limit, () => this.#timedOut(x, x.sentAt + limit + LATE));
    if (x.frames) this.#after(x, path.atLeast(500, 2), () => this.#makeRoom(x.number));
    if (!s.welcome) this.#after(x, HELLO_AGAIN, () => this.#helloAgain());
  }

  #after(x: Exchange, millis: number, what: () => void): void {
    x.timers.push(this.#session.after(millis, what));
  }

  /** Takes an exchange out of the list; false if it was out already. */
  #remove(x: Exchange): boolean {
    if (!this.#inFlight.includes(x)) return false;
    this.#inFlight = this.#inFlight.filter((other) => other !== x);
    for (const timer of x.timers) clearTimeout(timer);
    return true;
  }

  /** Forgets an exchange, whose answer does not count any more; its frames are sent again. */
  #abandon(x: Exchange): void {
    if (!this.#remove(x)) return;
    x.controller.abort();
    this.#lose(x);
  }

  /** Asks for the Welcome once more, in the other form. */
  #helloAgain(): void {
    const s = this.#session;
    if (!s.welcome && !s.error && this.#hasRoom) {
      this.#tuner.changeForm();
      this.probe();
    }
    s.endpoint.wake();
  }

  /** Aborts the parked poll that may hold up an exchange with frames: connections are few (L5). Where there are more than two, none does. */
  #makeRoom(number: number): void {
    if (this.#inFlight.length === MIN_BODIES) this.#abandonAll((x) => x.number < number && !x.frames);
  }

  #abandonAll(those: (x: Exchange) => boolean): void {
    for (const x of this.#inFlight.filter(those)) this.#abandon(x);
  }

  #lose({ number }: Exchange): void {
    this.#session.lose((on) => on.number === number);
  }

  /** Fails an exchange that had no answer in time. A timer that runs after latest tells of a sleep: the answer may wait unread, and gets a little more time. */
  #timedOut(x: Exchange, latest: number): void {
    const { endpoint, welcome } = this.#session;
    const now = endpoint.now();
    if (now > latest) return this.#after(x, LATE, () => this.#timedOut(x, Infinity));
    x.controller.abort();
    this.#abandonAll((other) => other.number < x.number); // L5
    this.#timeouts++;
    x.probe ||= !!welcome && endpoint.numStreams > 0;
    this.#events.timedOut();
    this.#failed(x, new LinkError("timeout", `no answer within ${Math.round(now - x.sentAt)} ms`));
  }

  /** Ends a session that never was admitted; a form that is not, or a session that was before, goes on (W4). */
  #notAdmitted(x: Exchange, { message }: OriginError): void {
    const s = this.#session;
    if (!this.#inFlight.includes(x)) return; // abandoned
    if (!x.text && !s.welcome) return s.end(new SessionError("origin", message));
    this.#failed(x, new LinkError("status", message, { status: 403 }));
    if (x.text) this.#tuner.textRefused();
  }

  #failed(x: Exchange, error: LinkError): void {
    if (!this.#remove(x)) return;
    this.#lose(x);
    const s = this.#session;
    if (error.reason === "certificate" && !s.welcome) return s.end(new SessionError("unreachable", `cannot reach ${s.url}: ${error.message}`)); // waiting does not mend it
    if (x.trial) return s.endpoint.wake();
    this.#probeNow ||= x.probe;
    const now = s.endpoint.now();
    const age = now - x.sentAt;
    if (this.#tuner.failed(x, error, now, age)) this.#tooLong(x, error.message);
    this.#quickFailures = age < QUICK_FAILURE ? this.#quickFailures + 1 : 0;
    const idle = this.#quickFailures > 2 || (s.endpoint.numStreams === 0 && !!s.welcome);
    this.#pause(s.shorten(Math.max(this.#backoff.next(age >= 1_000, idle), error.retryAfterMillis)));
    s.linkFailed(error);
    if (error.status === 502 || error.status === 503) this.#lookElsewhere(); // a balancer reaches no bridge for this ID
  }

  /** Makes no further exchange for a while. */
  #pause(millis: number): void {
    clearTimeout(this.#pauseTimer);
    this.#pausedUntil = this.#session.endpoint.now() + millis;
    this.#pauseTimer = this.#session.after(millis, () => this.#resume());
  }

  #arrived(x: Exchange, bytes: Uint8Array): void {
    if (!this.#inFlight.includes(x)) return; // abandoned
    let answer: Batch;
    try {
      answer = parseBatch(bytes);
    } catch {
      const ours = isBatch(bytes);
      const what = ours ? "the answer was changed" : `not the bridge's answer: ${new TextDecoder().decode(bytes.subarray(0, 64))}`;
      return this.#failed(x, new LinkError(ours ? "network" : "foreign", what, { status: 200, cut: true }));
    }
    if (isRefusal(answer)) this.#refused(x, answer.close!);
    else if (!this.#session.isOurs(answer, x.number)) this.#failed(x, new LinkError("foreign", "the answer of another exchange"));
    else this.#answered(x, answer, bytes.length);
  }

  /** Ends the RPC whose one frame is too long to get through. */
  #tooLong({ only, size }: Exchange, why: string): void {
    if (only !== undefined) this.#session.endpoint.frameRefused(only, size, why);
  }

  /** Takes another ID, before the Welcome: the bridge of this one is away. Reports whether it did. */
  #lookElsewhere(): boolean {
    const elsewhere = !this.#session.welcome;
    if (elsewhere) {
      this.#abandonAll(() => true);
      this.#session.moveOn();
    }
    return elsewhere;
  }

  /** Handles a refusal that touches no session (W6). */
  #refused(x: Exchange, close: Close): void {
    this.#failed(x, new LinkError("refused", `refused: ${close.message}`, { status: 200 }));
    if (close.code === CODE_TOO_LARGE) this.#tooLong(x, close.message);
    const wait = this.#tuner.refused(x, close);
    const elsewhere = close.code === CODE_BUSY && this.#lookElsewhere();
    if (elsewhere && ++this.#moves <= MAX_MOVES) this.#pause(this.#moves > 1 ? Math.random() * MOVE_WAIT : 0);
    else if (wait) this.#pause(wait);
  }

  #answered(x: Exchange, answer: Batch, bytes: number): void {
    this.#remove(x);
    const s = this.#session;
    const { path } = s.endpoint;
    this.#timeouts = 0;
    const now = s.endpoint.now();
    const elapsed = now - x.sentAt;
    const held = Math.min(answer.heldMicros / 1000, elapsed);
    path.rtt(now, elapsed - held);
    path.bodyPassed(now, Math.max(x.size, bytes));
    if (answer.frames.length > 0) this.#creditAt = now + CREDIT_WAIT;
    const full = x.hold > 0 && held >= x.hold / 2;
    if (this.#tuner.answered(x, answer, bytes, now, elapsed - held, full)) this.probe();
    const latest = x.number === s.latestLink;
    s.tokenTaken(x.token);
    if (answer.ping > 0) this.#pong = answer.ping;
    const progress = s.receive(answer, x.sentAt, (on) => on.kind === "oneShot" && on.number <= x.number, held) || answer.ping > 0;
    if (s.error) return;
    for (const older of this.#inFlight.filter((other) => other.number < x.number)) {
      this.#after(older, path.atLeast(3_000, 4) - elapsed, () => this.#abandon(older)); // L4
    }
    this.#quickFailures = 0;
    if (progress) this.#backoff.reset();
    if (progress || full) this.#emptyBackoff.reset();
    this.#events.answered(x.sentAt);
    const wait = progress || full || !latest || (x.hold === 0 && s.welcome) ? 0 : this.#emptyBackoff.next();
    if (wait > 0) this.#pause(wait);
    else this.wake();
  }
}

/** Returns why an exchange failed: a carrier may reject with anything. */
function linkError(error: unknown): LinkError {
  return error instanceof LinkError ? error : new LinkError("network", String(error), { cause: error });
}
