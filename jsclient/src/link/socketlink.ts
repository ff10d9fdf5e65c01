// A session's WebSocket (PROTOCOL.md, section 6, L3).

import type { Batch } from "../wire/batch.js";
import { encodeBatch, parseBatch } from "../wire/codec.js";
import { isRefusal } from "../session/errors.js";
import type { Session } from "../session/session.js";
import { type Carrier, type Socket, Weather } from "./carrier.js";
import { ACK_DELAY, ACK_OWED, DEAD, DEAD_FORCED, DRAIN, MAX_BATCH, MAX_BUFFERED, MUTE, PING_APART, QUIET, QUIET_IDLE, UNREAD } from "./limits.js";

/** What the second ping of a probe carries: every value of a byte, over and over. */
const PADDING: Uint8Array = new Uint8Array(4_096).map((_, i) => 37 * i);

/** What a WebSocket tells the ladder. */
export interface SocketLinkEvents {
  /** The probe came back: the socket works. */
  proven(): void;
  /** A ping went unanswered for a while (true), or something came again (false). */
  mute(mute: boolean): void;
  lost(why: Weather): void;
}

/** SocketLink is one WebSocket of a session. */
export class SocketLink {
  readonly x: number;
  proven = false;
  readonly openedAt: number;

  readonly #session: Session;
  readonly #events: SocketLinkEvents;
  readonly #socket: Socket;
  #opened = false;
  #first = true;
  #closed = false;
  /** Pings that the probe still has to send beside the first; -1: there is no probe. */
  #probes: number;
  readonly #forced: boolean;
  /** What must come back with the pong. */
  #padding: Uint8Array | undefined;
  #pong = 0;
  /** What went with the ping that is out. */
  #token = "";
  #pingSentAt = 0;
  /** The ping that is out; 0: none is. */
  #pinged = 0;
  /** Since when the bridge owes an answer, to frames or a ping; -1: it owes none. */
  #owedSince = -1;
  /** What it owes does not come. */
  mute = false;
  #heardAt: number;
  #drainTimer: ReturnType<typeof setTimeout> | undefined;
  #ackTimer: ReturnType<typeof setTimeout> | undefined;
  #watchTimer: ReturnType<typeof setTimeout> | undefined;

  /** Dials. The socket must prove itself within so many milliseconds: by a probe, or where it is forced by any answer. */
  constructor(session: Session, carrier: Carrier, within: number, forced: boolean, events: SocketLinkEvents) {
    this.#session = session;
    this.#events = events;
    this.#forced = forced;
    this.#probes = forced ? -1 : 1;
    this.x = session.nextX;
    session.takeX(this.x);
    this.openedAt = this.#heardAt = session.now();
    this.#watchTimer = setTimeout(() => this.#lose(new Weather("timeout", `WebSocket: no answer within ${within} ms`)), within);
    this.#socket = carrier.dial(session.sid, {
      opened: () => {
        this.#opened = true;
        this.wake();
      },
      received: (message) => this.#received(message),
      lost: (why) => this.#lose(why),
    });
  }

  /** Sends what there is to send. */
  wake(): void {
    if (!this.#opened || this.#closed) return;
    do {
      if (this.#socket.bufferedAmount >= MAX_BUFFERED) return this.#wakeLater();
    } while (this.#sendOne());
  }

  /** Looks again when the socket may have drained: no event tells. */
  #wakeLater(): void {
    this.#drainTimer ??= setTimeout(() => {
      this.#drainTimer = undefined;
      this.wake();
    }, DRAIN);
  }

  /** Closes the socket without telling the ladder. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#ackTimer);
    clearTimeout(this.#watchTimer);
    clearTimeout(this.#drainTimer);
    this.#socket.close();
  }

  /** Cuts the socket, as a network would. */
  drop(): void {
    this.#lose(new Weather("cut", "cut on request"));
  }

  /** Sends one batch if there is a need for it; true if there may be more. */
  #sendOne(): boolean {
    const s = this.#session;
    const carries = s.prefer === this.x;
    const needed = this.#first || this.#pong > 0 || s.restate || (carries && s.asks);
    const owed = s.inbox.owed;
    if (!needed && !(carries && (s.out.sendable || owed >= ACK_OWED))) return this.#sendAckLater();
    const batch = s.header(this.x, this.#first);
    if (carries) {
      const room = s.path.bound() - s.out.flyingOn(this.x);
      s.out.fill(batch, { x: this.x, ws: true }, s.now(), { max: MAX_BATCH, room });
    }
    const frames = batch.frames.length > 0;
    if (!frames && !needed && owed < ACK_OWED) {
      s.inbox.owed = owed;
      return this.#sendAckLater();
    }
    if (this.#first || batch.token || (frames && s.now() - this.#pingSentAt > PING_APART)) this.#ping(batch);
    this.#send(batch);
    return frames;
  }

  #sendAckLater(): false {
    const s = this.#session;
    if (s.inbox.owed === 0 || s.prefer !== this.x) return false;
    this.#ackTimer ??= setTimeout(() => {
      this.#ackTimer = undefined;
      if (s.inbox.owed > 0) this.#send(s.header(this.x, false));
    }, ACK_DELAY);
    return false;
  }

  #send(batch: Batch): void {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    batch.pong = this.#pong;
    this.#pong = 0;
    this.#first = false;
    this.#socket.send(encodeBatch(batch));
    if (batch.frames.length > 0 || batch.ping > 0) this.#expect();
  }

  /** Watches for the answer to what was just sent. */
  #expect(): void {
    if (this.#owedSince >= 0) return;
    this.#owedSince = this.#session.now();
    if (this.proven) this.#watch(this.#session.path.atLeast(MUTE, 3));
  }

  /** Finds out soon whether the socket lives, whatever is known of it. */
  probe(): void {
    if (!this.proven) return;
    this.#pinged = 0;
    this.#ask();
  }

  #ask(padding?: Uint8Array): void {
    const batch = this.#session.header(this.x, false);
    if (padding) {
      batch.padding = this.#padding = padding;
      this.#probes--;
    }
    this.#ping(batch);
    this.#send(batch);
  }

  /** Tells whether a pong brings back what its ping carried. */
  #echoes(padding: Uint8Array | undefined): boolean {
    const sent = this.#padding;
    this.#padding = undefined;
    return !sent || (padding?.length === sent.length && sent.every((b, i) => b === padding[i]));
  }

  /** Asks for a sign of life, which also measures the round trip. */
  #ping(batch: Batch): void {
    if (this.#pinged) return;
    this.#pingSentAt = this.#session.now();
    this.#token = batch.token;
    this.#pinged = batch.ping = Math.max(1, Math.round(1000 * this.#pingSentAt));
  }

  /** Looks after a while whether anything has come. No timer decides alone: see #look. */
  #watch(millis: number): void {
    clearTimeout(this.#watchTimer);
    this.#watchTimer = setTimeout(() => this.#look(), millis);
  }

  #look(): void {
    const s = this.#session;
    if (this.#owedSince < 0) {
      const rest = (s.open > 0 ? QUIET : QUIET_IDLE) - (s.now() - this.#heardAt);
      return rest > 0 ? this.#watch(rest) : this.#ask();
    }
    const since = s.now() - this.#owedSince;
    const mute = s.path.atLeast(MUTE, 3);
    if (since < mute) return this.#watch(mute - since);
    const dead = this.#forced ? s.path.atLeast(DEAD_FORCED, 4) : DEAD;
    // A look after a sleep comes late, and answers may wait unread: it takes another to decide.
    if (this.mute && since >= dead) return this.#lose(new Weather("timeout", `WebSocket: no answer within ${Math.round(since)} ms`));
    this.#setMute(true);
    this.#watch(Math.max(dead - since, UNREAD));
  }

  #setMute(mute: boolean): void {
    if (this.mute === mute) return;
    this.mute = mute;
    this.#events.mute(mute);
  }

  #received(message: Uint8Array): void {
    if (this.#closed) return;
    const s = this.#session;
    let batch: Batch;
    try {
      batch = parseBatch(message);
    } catch {
      return this.#lose(new Weather("foreign", "WebSocket: not the bridge's answer"));
    }
    if (isRefusal(batch) || !s.isOurs(batch, this.x)) {
      return this.#lose(new Weather("refused", `WebSocket: refused: ${batch.close?.message ?? "another session's"}`));
    }
    const now = s.now();
    this.#heardAt = now;
    this.#owedSince = -1;
    this.#setMute(false);
    const pong = batch.pong > 0 && batch.pong === this.#pinged;
    if (pong) {
      if (!this.#echoes(batch.padding)) return this.#lose(new Weather("foreign", "WebSocket: changed bytes"));
      this.#pinged = 0;
      s.tokenTaken(this.#token);
      s.path.rtt(now, now - this.#pingSentAt);
    }
    if (batch.ping > 0) this.#pong = batch.ping;
    s.receive(batch, now, (_, at) => at <= now - s.path.smooth);
    if (s.error || this.#closed) return;
    if (this.#pinged || s.out.flyingOn(this.x) > 0) this.#expect();
    if (!this.proven && this.#probes > 0) {
      if (pong) this.#ask(PADDING);
      return;
    }
    if (!this.proven && (this.#forced || !this.#pinged)) {
      this.proven = true;
      this.#owedSince = -1;
      this.#watch(QUIET);
      this.#events.proven();
    }
    s.wake();
  }

  #lose(why: Weather): void {
    if (this.#closed) return;
    this.close();
    this.#events.lost(why);
  }
}
