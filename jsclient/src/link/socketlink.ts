// A session's WebSocket (PROTOCOL.md, section 6, L3).

import type { Batch } from "../wire/batch.js";
import { encodeBatch, parseBatch } from "../wire/codec.js";
import type { Session } from "../session/session.js";
import type { Carrier, Socket, WeatherReason } from "./carrier.js";
import type { Network } from "./network.js";
import { flying, type SocketPath } from "./socketpath.js";
import { ACK_DELAY, ACK_OWED, BATCH_LEAST, BATCH_MOST, DEAD, DOUBLED, DRAIN, GROW_AFTER, HOLD_LEAST, MAX_BUFFERED, PINGED, PROOF, SHORTER, UNREAD } from "./limits.js";

/** What the second ping of a probe carries: every value of a byte, over and over. */
const PADDING: Uint8Array = new Uint8Array(4_096).map((_, i) => 37 * i);

/** What a WebSocket tells the ladder. */
export interface SocketLinkEvents {
  opened(): void;
  /** The probe came back: the socket works. */
  proven(): void;
  /** An answer is in doubt, or came after all: see SocketLink.mute. */
  doubted(): void;
  lost(reason: WeatherReason, message: string): void;
}

/** SocketLink is one WebSocket of a session. */
export class SocketLink {
  readonly x: number;
  proven = false;
  /** Frames or acks came on it. */
  useful = false;

  readonly #session: Session;
  readonly #path: SocketPath;
  readonly #events: SocketLinkEvents;
  readonly #socket: Socket;
  #opened = false;
  #first = true;
  #closed = false;
  /** Pings that the probe still has to send beside the first; -1: there is no probe. */
  #probes: number;
  readonly #forced: boolean;
  readonly #network: Network;
  /** The next look is far off, because nothing is expected. */
  #idle = false;
  /** What must come back with the pong. */
  #padding: Uint8Array | undefined;
  #pong = 0;
  /** What went with the ping that is out. */
  #token = "";
  /** When the latest ping went, and the latest that was answered. */
  #pingedAt: number;
  #clearedAt = 0;
  /** The ping that is out; 0: none is. */
  #pinged = 0;
  /** The last frame before it; none was unacked: Infinity. */
  #behind = Infinity;
  /** Since when an answer is in doubt; 0: none is. */
  mute = 0;
  #heardAt: number;
  /** Bytes acked since batches last grew. */
  #acked = 0;
  #drainTimer: ReturnType<typeof setTimeout> | undefined;
  #ackTimer: ReturnType<typeof setTimeout> | undefined;
  #watchTimer: ReturnType<typeof setTimeout> | undefined;

  /** Dials. The socket must prove itself in time: by a probe, or where it is forced by any answer. */
  constructor(session: Session, path: SocketPath, carrier: Carrier, forced: boolean, network: Network, events: SocketLinkEvents) {
    this.#session = session;
    this.#network = network;
    this.#path = path;
    this.#events = events;
    this.#forced = forced;
    this.#probes = forced ? -1 : 1;
    this.x = session.nextX++;
    this.#pingedAt = this.#heardAt = session.now();
    this.#watch(session.path.atLeast(PROOF, 4));
    this.#socket = carrier.dial(session.sid, {
      opened: () => {
        this.#opened = true;
        events.opened();
        this.wake();
      },
      received: (message) => this.#received(message),
      lost: (message) => this.#lose("network", message),
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
    this.#lose("cut", "cut on request");
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
      const max = this.#path.batch;
      const room = (max < BATCH_MOST ? max : this.#path.bound()) - flying(s.out, this.x);
      s.out.fill(batch, { x: this.x, ws: true }, s.now(), max, room);
    }
    const frames = batch.frames.length > 0;
    if (!frames && !needed && owed < ACK_OWED) {
      s.inbox.owed = owed;
      return this.#sendAckLater();
    }
    if (this.#first || batch.token) this.#ping(batch);
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
    if (!this.#watchTimer || this.#idle) this.#look();
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
    const { out } = this.#session;
    this.#pingedAt = this.#session.now();
    this.#token = batch.token;
    this.#behind = out.lastSeq > out.acked ? out.lastSeq : Infinity;
    this.#pinged = batch.ping = Math.max(1, Math.round(1000 * this.#pingedAt));
    if (this.proven) this.#watch(this.#quiet);
  }

  /** Tells whether the pong only waits in a queue: something came since the ping, and what was unacked then got through. */
  excused(): boolean {
    if (this.#session.out.acked < this.#behind || this.#heardAt <= this.#pingedAt) return false;
    this.#cleared();
    return true;
  }

  /** The ping is answered, or as good as that: the socket keeps order. */
  #cleared(): void {
    this.#clearedAt = this.#pingedAt;
    this.#pinged = this.mute = 0;
    if (this.proven) this.#look();
  }

  /** The time until a ping, and the time for its pong. */
  get #quiet(): number {
    const { path } = this.#session;
    return (path.atLeast(2_000, 3) - path.smooth / 2) / 2;
  }

  /** Looks after a while whether anything has come. No timer decides alone: see #look. */
  #watch(millis: number): void {
    clearTimeout(this.#watchTimer);
    this.#watchTimer = setTimeout(() => this.#look(), millis);
  }

  #look(): void {
    const s = this.#session;
    const now = s.now();
    clearTimeout(this.#watchTimer);
    this.#watchTimer = undefined;
    if (this.proven && !this.#pinged) {
      const sent = s.prefer === this.x ? Math.max(s.out.sent[0]?.at ?? Infinity, this.#clearedAt) : Infinity;
      const q = this.#quiet;
      const due = Math.min(this.#heardAt + (s.open > 0 ? q : this.#network.wsQuietMs), sent + q);
      this.#idle = due > now + q;
      return due > now ? this.#watch(due - now) : this.#ask();
    }
    const since = now - this.#pingedAt - s.path.uploadTime(flying(s.out, this.x), this.#path.rate);
    // A look after a sleep comes late, and answers may wait unread: it takes another to decide.
    if (this.mute ? since >= DEAD : !this.proven && !this.#forced) {
      return this.#lose("timeout", `WebSocket: no answer within ${Math.round(now - this.#pingedAt)} ms`);
    }
    const patience = this.proven ? this.#quiet * 2 ** Math.min(this.#path.doubts, DOUBLED) : s.path.atLeast(PROOF, 4);
    if (!this.mute && since < patience) return this.#watch(patience - since);
    this.#watch(Math.max(DEAD - since, UNREAD));
    if (this.mute) return;
    this.mute = now;
    this.#path.doubts++;
    this.#events.doubted();
  }

  #received(message: Uint8Array): void {
    if (this.#closed) return;
    const s = this.#session;
    let batch: Batch;
    try {
      batch = parseBatch(message);
    } catch {
      return this.#lose("foreign", "WebSocket: not the bridge's answer");
    }
    if (!s.isOurs(batch, this.x)) return this.#lose("refused", `WebSocket: refused: ${batch.close?.message ?? "another session's"}`);
    const now = s.now();
    this.#heardAt = now;
    const pong = batch.pong > 0 && batch.pong === this.#pinged;
    const { mute } = this;
    if (pong) {
      if (!this.#echoes(batch.padding)) return this.#lose("foreign", "WebSocket: changed bytes");
      this.#path.doubts = 0;
      s.tokenTaken(this.#token);
      s.path.rtt(now, now - this.#pingedAt);
      this.#cleared();
    }
    if (batch.ping > 0) this.#pong = batch.ping;
    const { delivered } = s.out;
    this.useful = s.receive(batch, now, (_, at) => at <= now - s.path.smooth) || this.useful;
    if (s.error || this.#closed) return;
    this.#grow(s.out.delivered - delivered);
    if (!this.proven && this.#probes > 0) {
      if (pong) this.#ask(PADDING);
      return;
    }
    if (!this.proven && (this.#forced || pong)) {
      this.proven = true;
      this.mute = 0;
      this.#look();
      this.#events.proven();
    } else if (mute && !this.mute) this.#events.doubted();
    s.wake();
  }

  /** Notes that so many bytes were acked: batches may be longer. */
  #grow(bytes: number): void {
    this.#acked += bytes;
    if (this.#acked < GROW_AFTER * this.#path.batch) return;
    this.#acked = 0;
    this.#path.batch = Math.min(BATCH_MOST, 2 * this.#path.batch);
  }

  #lose(reason: WeatherReason, message: string): void {
    if (this.#closed) return;
    const s = this.#session;
    const network = this.#network;
    const quiet = (this.#pinged ? this.#pingedAt : s.now()) - this.#heardAt;
    // It may have been dead since any time before the bridge's ping.
    if (this.proven && quiet >= HOLD_LEAST) network.wsQuietMs = Math.round(Math.min(network.wsQuietMs, Math.max(HOLD_LEAST, SHORTER * Math.min(quiet, PINGED))));
    if (flying(s.out, this.x) > 0) this.#path.batch = Math.max(BATCH_LEAST, this.#path.batch / 2);
    this.close();
    this.#events.lost(reason, message);
  }
}
