// A session's WebSocket (PROTOCOL.md, section 6, L3).

import type { LinkID } from "../engine/link.js";
import type { LastingTuner } from "../tune/lasting.js";
import { type Path, uploadTime } from "../tune/path.js";
import { type Batch, CODE_BUSY, type Frame } from "../wire/batch.js";
import { encodeBatch, parseBatch } from "../wire/codec.js";
import { type Carrier, LinkError, type LinkErrorReason, type Socket } from "./carrier.js";
import type { Session } from "./session.js";

// Times are in milliseconds, sizes in bytes.

const ACK_DELAY = 20;
const ACK_BYTES = 16 << 10;
/** How many acks go alone in a round trip at most. */
const ACKS_PER_TRIP = 16;
const MAX_BUFFERED = 128 << 10;
const DRAIN = 5;
/** The least time for an answer to the dial. */
const PROBE_TIMEOUT = 3_000;
/** A WebSocket is given up so long after a ping without a pong. */
const DEAD = 10_000;
/** What a late look leaves for answers that wait unread. */
const UNREAD = 1_000;

/** How often a frame is sent again in a batch longer than any should be before that is certain: on a bad network it may be lost by chance. */
const MAX_VAIN = 6;

/** What the second ping of a probe carries: every value of a byte, over and over. */
const PADDING: Uint8Array = new Uint8Array(4_096).map((_, i) => 37 * i);

/** What a lasting link tells the ladder. */
export interface LastingEvents {
  opened(): void;
  /** The probe came back: the link works. */
  proven(): void;
  /** A pong is overdue, or came after all: see LastingLink.suspectedAt. */
  suspected(): void;
  lost(why: LinkError): void;
}

/** LastingLink is one WebSocket of a session. */
export class LastingLink {
  readonly id: LinkID;
  opened = false;
  proven = false;
  /** Frames or acks came on it. */
  useful = false;
  /** Since when a pong is overdue, on the session's clock; 0: none is. */
  suspectedAt = 0;

  readonly #session: Session;
  readonly #tuner: LastingTuner;
  /** It proves itself by a probe of two pings; else by any answer. */
  readonly #mustProbe: boolean;
  readonly #events: LastingEvents;
  readonly #socket: Socket;
  /** The session's ID when it was dialled. */
  readonly #sid: string;
  /** Links broke before with nothing acked. */
  readonly #careful: boolean;
  /** Its first batch was sent. */
  #started = false;
  #closed = false;
  /** Padded pings that the probe still has to send. */
  #paddedPings: number;
  /** What must come back with the pong. */
  #padding: Uint8Array | undefined;
  /** The pong to be sent; 0: none. */
  #pong = 0;
  /** The ping that is out; 0: none is. */
  #ping = 0;
  /** What went with it. */
  #token = "";
  /** The last frame sent before it; none was unacked: Infinity. */
  #pingedBehind = Infinity;
  /** When the latest ping was sent, and the latest that was answered. */
  #pingedAt: number;
  #answeredAt = 0;
  /** When the latest batch came. */
  #heardAt: number;
  /** The next look is far off, because nothing is expected. */
  #idle = false;
  #drainTimer: ReturnType<typeof setTimeout> | undefined;
  #ackTimer: ReturnType<typeof setTimeout> | undefined;
  #watchTimer: ReturnType<typeof setTimeout> | undefined;

  /** Dials. The link must prove itself in time: by a probe, or by any answer. */
  constructor(session: Session, carrier: Carrier, tuner: LastingTuner, mustProbe: boolean, events: LastingEvents) {
    this.#session = session;
    this.#tuner = tuner;
    this.#mustProbe = mustProbe;
    this.#events = events;
    this.#paddedPings = mustProbe ? 1 : 0;
    this.id = { number: session.newLink(), kind: "lasting" };
    this.#pingedAt = this.#heardAt = session.endpoint.now();
    this.#careful = tuner.careful;
    this.#watch(session.endpoint.path.atLeast(PROBE_TIMEOUT, 4));
    this.#sid = session.sid;
    this.#socket = carrier.dial(session.sid, {
      opened: () =>
        session.guard(() => {
          this.opened = true;
          events.opened();
          this.wake();
        }),
      received: (message) => session.guard(() => this.#received(message)),
      lost: (message, draining) =>
        session.guard(() => {
          if (draining && !this.#closed) session.bridgeDrains();
          this.#lose("network", message);
        }),
    });
  }

  /** Sends what there is to send. */
  wake(): void {
    if (!this.opened || this.#closed) return;
    do {
      if (this.#socket.bufferedAmount >= MAX_BUFFERED) return this.#wakeLater();
    } while (this.#sendOne());
  }

  /** Looks again when the socket may have drained: no event tells. */
  #wakeLater(): void {
    this.#drainTimer ??= this.#session.after(DRAIN, () => {
      this.#drainTimer = undefined;
      this.wake();
    });
  }

  /** Closes the link without a word to the ladder. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#ackTimer);
    clearTimeout(this.#watchTimer);
    clearTimeout(this.#drainTimer);
    this.#socket.close();
  }

  /** Cuts the link, as a network would. */
  drop(): void {
    this.#lose("cut", "cut on request");
  }

  /** Reports whether it gets new frames. */
  get #preferred(): boolean {
    return this.#session.preferred === this.id.number;
  }

  /** Sends one batch if there is a need for it. Returns whether there may be more. */
  #sendOne(): boolean {
    const { headerDue, endpoint } = this.#session;
    const preferred = this.#preferred;
    const needed = !this.#started || this.#pong > 0 || headerDue || (preferred && (endpoint.asks || (endpoint.inbox.ackPending >= ACK_BYTES && this.#untilAck() <= 0)));
    const frames = preferred && (needed || endpoint.out.sendable) ? this.#fill() : [];
    if (!needed && frames.length === 0) this.#sendAckLater();
    else this.#send({ frames });
    return frames.length > 0;
  }

  #fill(): Frame[] {
    const { endpoint } = this.#session;
    const { out, path } = endpoint;
    const inFlight = out.inFlightOn(this.id.number);
    if (this.#careful && inFlight > 0 && out.throughOn(this.id.number).acked === 0) return [];
    const most = path.maxInFlight();
    endpoint.bodyBytes = most / 4;
    const frames = out.fill(this.id, endpoint.now(), Math.min(this.#tuner.batchBytes, endpoint.bodyBytes), most - inFlight);
    if (out.sendable && out.inFlightOn(this.id.number) >= most) path.rate.filled = true;
    return frames;
  }

  /** Returns how long until another ack may go alone, in milliseconds. */
  #untilAck(): number {
    const { inbox, path } = this.#session.endpoint;
    return inbox.ackedAt + Math.min(path.smoothedRTT / ACKS_PER_TRIP, ACK_DELAY) - this.#session.endpoint.now();
  }

  #clearAckTimer(): void {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
  }

  #sendAckLater(): void {
    const { inbox } = this.#session.endpoint;
    if (inbox.ackPending === 0 || !this.#preferred) return;
    const wait = inbox.ackPending < ACK_BYTES ? ACK_DELAY : this.#untilAck();
    if (wait < ACK_DELAY) this.#clearAckTimer();
    this.#ackTimer ??= this.#session.after(wait, () => {
      this.#ackTimer = undefined;
      if (inbox.ackPending > 0) this.#send({});
    });
  }

  /** Sends a batch, with a ping if that is wanted; the first one and one with a token have one. */
  #send({ frames = [], ping = false, padding }: { frames?: Frame[]; ping?: boolean; padding?: Uint8Array }): void {
    this.#clearAckTimer();
    const batch = this.#session.header(this.id.number, !this.#started);
    batch.frames = frames;
    if (padding) batch.padding = this.#padding = padding;
    if (ping || !this.#started || batch.token) this.#addPing(batch);
    batch.pong = this.#pong;
    this.#pong = 0;
    this.#started = true;
    const bytes = encodeBatch(batch);
    if (frames.length > 0) this.#session.endpoint.out.sentIn(bytes.length, this.#tuner.batchBytes);
    this.#socket.send(bytes);
    if (!this.#watchTimer || this.#idle) this.#look();
  }

  /** Finds out soon whether the link works, whatever is known of it. */
  probe(): void {
    if (!this.proven) return;
    this.#ping = 0;
    this.#send({ ping: true });
  }

  /** Asks for a sign of life, which also measures the round trip; does nothing while a ping is out. */
  #addPing(batch: Batch): void {
    if (this.#ping) return;
    const { out, path } = this.#session.endpoint;
    this.#pingedAt = this.#session.endpoint.now();
    this.#token = batch.token;
    this.#pingedBehind = out.lastSeq > out.acked ? out.lastSeq : Infinity;
    this.#ping = batch.ping = Math.max(1, Math.round(1000 * this.#pingedAt));
    if (this.proven) this.#watch(pingLimit(path));
  }

  /** Reports whether the pong only waits in a queue: something came since the ping, and what was unacked then got through. */
  excused(): boolean {
    if (this.#session.endpoint.out.acked < this.#pingedBehind || this.#heardAt <= this.#pingedAt) return false;
    this.#pingAnswered();
    return true;
  }

  /** Notes that the ping was answered, or that it might as well have been: the link keeps order. */
  #pingAnswered(): void {
    this.#answeredAt = this.#pingedAt;
    this.#ping = this.suspectedAt = 0;
    if (this.proven) this.#look();
  }

  /** Looks after a while whether anything has come. No timer decides alone: see #look. */
  #watch(millis: number): void {
    clearTimeout(this.#watchTimer);
    this.#watchTimer = this.#session.after(millis, () => this.#look());
  }

  #look(): void {
    clearTimeout(this.#watchTimer);
    this.#watchTimer = undefined;
    if (this.proven && !this.#ping) this.#pingWhenDue();
    else this.#judge();
  }

  /** Sends the next ping, or looks again when it is due. */
  #pingWhenDue(): void {
    const { endpoint } = this.#session;
    const { path, out } = endpoint;
    const now = endpoint.now();
    const timeout = pingLimit(path);
    const sentAt = this.#preferred ? Math.max(out.sent[0]?.at ?? Infinity, this.#answeredAt) : Infinity;
    const quiet = endpoint.numStreams > 0 ? timeout : this.#tuner.quietMs;
    const due = Math.min(this.#heardAt + quiet, sentAt + timeout);
    this.#idle = due > now + timeout;
    if (due > now) this.#watch(due - now);
    else this.#send({ ping: true });
  }

  /** Suspects a link whose answer is overdue, or gives it up. */
  #judge(): void {
    const { endpoint } = this.#session;
    const { path, out } = endpoint;
    const now = endpoint.now();
    const waited = now - this.#pingedAt - uploadTime(out.inFlightOn(this.id.number), path.rate.value);
    // A look after a sleep comes late, and answers may wait unread: it takes another to decide.
    if (this.suspectedAt ? waited >= DEAD : !this.proven && this.#mustProbe) {
      return this.#lose("timeout", `WebSocket: no answer within ${Math.round(now - this.#pingedAt)} ms`);
    }
    const limit = this.proven ? this.#tuner.pongWithin(pingLimit(path)) : path.atLeast(PROBE_TIMEOUT, 4);
    if (!this.suspectedAt && waited < limit) return this.#watch(limit - waited);
    this.#watch(Math.max(DEAD - waited, UNREAD));
    if (this.suspectedAt) return;
    this.suspectedAt = now;
    this.#tuner.suspected();
    this.#events.suspected();
  }

  #received(message: Uint8Array): void {
    if (this.#closed) return;
    const s = this.#session;
    const { out, path } = s.endpoint;
    if (s.sid !== this.#sid) return this.#lose("refused", "WebSocket: another bridge is looked for");
    let batch: Batch;
    try {
      batch = parseBatch(message);
    } catch {
      return this.#lose("foreign", "WebSocket: not the bridge's answer");
    }
    if (batch.close?.code === CODE_BUSY) s.moveOn();
    if (!s.isOurs(batch, this.id.number)) return this.#lose("refused", `WebSocket: refused: ${batch.close?.message ?? "another session's"}`);
    const now = (this.#heardAt = s.endpoint.now());
    const suspected = this.suspectedAt > 0;
    const pong = batch.pong > 0 && batch.pong === this.#ping;
    if (pong && !this.#takePong(batch, now)) return;
    if (batch.ping > 0) this.#pong = batch.ping;
    const { acked } = out.throughOn(this.id.number);
    this.useful = s.receive(batch, now, (_, at) => at <= now - path.smoothedRTT) || this.useful;
    if (s.error || this.#closed) return;
    const through = out.throughOn(this.id.number);
    if (through.acked > acked) this.#tuner.passed(through.passed, through.acked);
    if (!this.proven) this.#prove(pong);
    else if (suspected && !this.suspectedAt) this.#events.suspected();
    s.endpoint.wake();
  }

  /** Takes the pong of the ping that is out. False if it does not bring back what the ping carried, and the link is lost. */
  #takePong({ padding }: Batch, now: number): boolean {
    const sent = this.#padding;
    this.#padding = undefined;
    if (sent && !(padding?.length === sent.length && sent.every((b, i) => b === padding[i]))) {
      this.#lose("foreign", "WebSocket: changed bytes");
      return false;
    }
    this.#tuner.answered();
    this.#session.tokenTaken(this.#token);
    this.#session.endpoint.path.rtt(now, now - this.#pingedAt);
    this.#pingAnswered();
    return true;
  }

  /** Goes on with the probe, or ends it; pong: its ping came back. */
  #prove(pong: boolean): void {
    if (this.#mustProbe && !pong) return;
    if (this.#paddedPings-- > 0) return this.#send({ ping: true, padding: PADDING });
    this.proven = true;
    this.suspectedAt = 0;
    this.#look();
    this.#events.proven();
  }

  /** Ends the RPC of which request metadata, or a part of a message that has its number, does not get through (D5). */
  #giveUpLong(): void {
    const { endpoint } = this.#session;
    const long = endpoint.out.sent.find(({ on, frame, vain }) => on.number === this.id.number && (frame.open || frame.data) && vain >= MAX_VAIN);
    if (long) endpoint.frameRefused(long.frame.seq, long.ends, `it was sent again ${long.vain} times`);
  }

  #lose(reason: LinkErrorReason, message: string): void {
    if (this.#closed) return;
    const { endpoint } = this.#session;
    if (this.proven) this.#tuner.silent((this.#ping ? this.#pingedAt : endpoint.now()) - this.#heardAt);
    const { acked, passed } = endpoint.out.throughOn(this.id.number);
    this.#tuner.broke(acked, endpoint.out.shortestOn(this.id.number, passed));
    this.close();
    this.#giveUpLong();
    this.#events.lost(new LinkError(reason, message));
  }
}

/** Returns the time until a ping, and the time for its pong, in milliseconds. */
function pingLimit(path: Path): number {
  return (path.atLeast(2_000, 3) - path.smoothedRTT / 2) / 2;
}
