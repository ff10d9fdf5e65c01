import {
  type Batch,
  CODE_DONE,
  CODE_UNKNOWN,
  type Frame,
  HIGHEST_VERSION,
  ID_SIZE,
  KEY_SIZE,
  LOWEST_VERSION,
  ORIGIN_BRIDGE,
  TYPE_CLOSE,
  TYPE_END,
  type Welcome,
} from "../wire/batch.js";
import type { Weather } from "../link/carrier.js";
import type { SocketPath } from "../link/socketpath.js";
import { base64url } from "../wire/base64.js";
import { newBatch } from "../wire/codec.js";
import { bridgeEnd, endOfSession, isRefusal, lossEnd, SessionError } from "./errors.js";
import { Estimator } from "./estimator.js";
import { Inbox } from "./inbox.js";
import { type Carriage, Outbox, type Unsent } from "./outbox.js";
import { Reassembly } from "./reassembly.js";
import type { Stream } from "./stream.js";
import { ASK_AGAIN, CANCELLED, CLOSE_PATIENCE, CONNECT, HELLO_WINDOW, LAPSE, MOST_RESUME, RESUME, UNIMPLEMENTED } from "./limits.js";

/** What a session says to the one who made it. */
export interface SessionEvents {
  /** Phase, preferred link or last error have changed. */
  changed(): void;
  /** The session is over; orphans are RPCs that can go on another one: of most nothing was sent (E2). */
  over(why: SessionError, orphans: Stream[]): void;
  /** The bridge takes no RPC on the token any more (O5). */
  expired(): void;
  /** The bridge wants new RPCs on another session, opened within so many milliseconds (E3). */
  goAway(spreadMillis: number): void;
}

/** SessionConfig configures a session. */
export interface SessionConfig {
  /** Told in the Hello, e.g. "pollbridge-js/0.1.0". */
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

/** What wakes and ends a session's links. */
export interface Links {
  wake(): void;
  halt(): void;
}

/** Session is the resumable link between this client and the bridge. */
export class Session {
  readonly id: Uint8Array<ArrayBuffer> = random(ID_SIZE);
  /** The ID as it stands in paths: safe to log. */
  readonly sid: string = base64url(this.id);
  readonly config: SessionConfig;
  readonly out: Outbox = new Outbox((stream, open) => this.#number(stream, open));
  readonly inbox: Inbox = new Inbox();
  readonly path: Estimator = new Estimator();
  /** The budget for messages larger than their stream's window (D4). */
  readonly large: Reassembly;
  /** What the bridge's Welcome said; undefined before. */
  welcome: Welcome | undefined;
  /** The x that the next link will have (L1). */
  nextX = 1;
  /** x of the WebSocket that new frames go on; 0: exchanges (L3). */
  prefer = 0;
  /** Lowest x of an exchange that is waited for; 0: none (L2). */
  awaiting = 0;
  /** The header says something new: a WebSocket sends it at once. */
  restate = false;
  /** What its WebSockets have learnt; undefined before the first. */
  sockets: SocketPath | undefined;
  /** RPCs of which nothing was sent. */
  readonly unsent: Set<Stream> = new Set();
  /** The bridge may not have the token yet: batches carry it (O5). */
  tokenDue = false;
  /** Another token is being asked for: new RPCs wait for it (O5). */
  renewing = false;
  /** The resume window that a pause asked for, in milliseconds; 0: the bridge's own. */
  window = 0;
  phase: Phase = "connecting";
  lastError: SessionError | Weather | undefined;
  /** What somebody else answered since the bridge last did: it tells more than the links that broke after it. */
  #foreign: Weather | undefined;
  /** Why the session is over. */
  error: SessionError | undefined;

  readonly #key = random(KEY_SIZE);
  readonly #epoch = performance.now();
  readonly #events: SessionEvents;
  readonly #streams = new Map<number, Stream>();
  #incarnation = 0n;
  /** When the Welcome came. */
  #welcomedAt = 0;
  /** A link begun after the Welcome was answered: the bridge saw more than Hellos. */
  #known = false;
  /** When dropped frames were last asked for; -Infinity: not since frames came. */
  #askedAt = -Infinity;
  #highestStream = 0;
  #woken = false;
  /** now_us of the latest batch. */
  #latest = 0;
  /** When the bridge last had a link for sure, by both clocks. */
  #answered: readonly number[] = clocks();
  #lapse: ReturnType<typeof setTimeout> | undefined;
  #links: Links | undefined;
  /** To be closed once no RPC is open. */
  #retired = false;

  constructor(config: SessionConfig, events: SessionEvents) {
    this.config = config;
    this.#events = events;
    this.large = new Reassembly(2 * config.maxMessageBytes);
  }

  /** Begins: from now on links are made. */
  start(links: Links): void {
    this.#links = links;
    this.#answered = clocks();
    this.#watchLapse();
    this.wake();
  }

  /** Number of RPCs that are open; a cancelled one counts until its END. */
  get open(): number {
    return this.#streams.size + this.unsent.size;
  }

  /** The session's clock, in milliseconds. */
  now(): number {
    return performance.now() - this.#epoch;
  }

  /** RPCs of which nothing was sent wait for the Welcome. */
  get waits(): boolean {
    return !this.welcome && this.unsent.size > 0;
  }

  /** A batch should be sent to ask for what was dropped (D1). */
  get asks(): boolean {
    return this.inbox.lacks && this.now() >= this.#askedAt + ASK_AGAIN;
  }

  /** Takes an RPC on. */
  adopt(stream: Stream): void {
    this.unsent.add(stream);
    stream.attach(this);
    this.wake();
  }

  /** Forgets an RPC of which nothing was sent. */
  forget(stream: Stream): void {
    this.unsent.delete(stream);
    this.#checkIdle();
  }

  /** Closes the session as soon as no RPC is open. */
  retire(): void {
    this.#retired = true;
    this.#checkIdle();
  }

  #checkIdle(): void {
    if (this.#retired && this.open === 0) this.close();
  }

  /** Hands over the RPCs of which nothing was sent: they can go on another session (E2, E3). */
  release(): Stream[] {
    const orphans = [...this.unsent];
    this.unsent.clear();
    return orphans;
  }

  /** Tells the bridge that an RPC was given up. */
  cancel(stream: number): void {
    if (this.error || !this.#streams.has(stream)) return;
    this.out.cancels.push(stream);
    this.wake();
  }

  /** Wakes the links once the current task is done, so that what it sends shares a batch. */
  wake(): void {
    if (this.#woken || this.error) return;
    this.#woken = true;
    queueMicrotask(() => {
      this.#woken = false;
      if (!this.error) this.#links?.wake();
    });
  }

  /** A wait that leaves time for another try before the session is given up. */
  shorten(millis: number): number {
    return Math.min(millis, Math.max(this.left / 2, 250));
  }

  /** A batch for link x with its header fields; withKey in every exchange and a WebSocket's first batch (O1). */
  header(x: number, withKey: boolean): Batch {
    const batch = newBatch();
    batch.session = this.id;
    batch.x = x;
    if (withKey) batch.key = this.#key;
    batch.incarnation = this.#incarnation;
    batch.ack = this.inbox.taken;
    batch.nowMicros = this.#latest = Math.max(this.#latest + 1, Math.floor(1000 * this.now())); // L3
    batch.awaiting = this.awaiting || this.nextX;
    batch.prefer = this.prefer;
    batch.resend = this.inbox.lacks;
    if (batch.resend) this.#askedAt = this.now();
    this.inbox.owed = 0;
    this.restate = false;
    if (!this.welcome) {
      batch.versions = { lowest: LOWEST_VERSION, highest: HIGHEST_VERSION };
      batch.hello = this.config;
    }
    if (!this.welcome || this.tokenDue) batch.token = this.config.token;
    return batch;
  }

  /** Goes on with another credential on the running session; RPCs opened meanwhile wait for it (O5). Rejects if there is none to be had. */
  async renew(auth: () => string | Promise<string>): Promise<void> {
    this.renewing = true;
    try {
      this.config.token = await auth();
      this.tokenDue = this.restate = true;
    } finally {
      this.renewing = false;
      for (const stream of this.unsent) stream.release();
      this.wake();
    }
  }

  /** Notes that a batch was answered which carried a token. */
  tokenTaken(token: string): void {
    if (token === this.config.token) this.tokenDue = false;
  }

  /** Tells whether a batch answers link x of this session; any other is weather (L4), as is a refusal (W6). */
  isOurs(batch: Batch, x: number): boolean {
    if (isRefusal(batch) || batch.x !== x || (this.#incarnation !== 0n && batch.incarnation !== this.#incarnation && !batch.close)) return false;
    return batch.session!.length === 0 || base64url(batch.session!) === this.sid;
  }

  /**
   * Takes in a batch that came on a link which was sent at sentAt; again tells
   * which of the frames sent are meant when it asks to resend; held: how long
   * the bridge had that link for sure. Returns whether it brought frames or a
   * higher ack.
   */
  receive(batch: Batch, sentAt: number, again: (on: Carriage, at: number) => boolean, held = 0): boolean {
    if (batch.close && this.#refused(batch)) return false;
    if (batch.welcome && !this.welcome) this.#takeWelcome(batch, batch.welcome);
    else this.#known ||= !!this.welcome && sentAt >= this.#welcomedAt;
    if (batch.frames.length > 0) this.#askedAt = -Infinity;
    this.#answer(sentAt + held);
    const acked = this.out.acked;
    const taken = this.inbox.taken;
    try {
      this.#takeAck(batch.ack);
      if (batch.resend) this.out.markLost(again);
      for (const frame of batch.frames) for (const next of this.inbox.accept(frame)) this.#take(next);
    } catch (err) {
      if (!(err instanceof SessionError)) throw err;
      this.end(err);
      return false;
    }
    if (batch.goAway) this.#events.goAway(batch.goAway.spreadMillis);
    this.wake();
    return this.out.acked > acked || this.inbox.taken > taken;
  }

  /** Handles a batch's close; false if it touches no session, and the link sees to it (W6). */
  #refused(batch: Batch): boolean {
    const close = batch.close!;
    let why = endOfSession(close);
    if (!why) return false;
    const known = this.#incarnation !== 0n && batch.incarnation !== 0n;
    // The upper half names the instance, the lower one this life of the session (O2).
    if (close.code === CODE_UNKNOWN && known && batch.incarnation >> 32n !== this.#incarnation >> 32n) {
      why = new SessionError("bridge_restarted", "restarted");
    }
    this.end(why);
    return true;
  }

  #takeWelcome(batch: Batch, welcome: Welcome): void {
    this.welcome = welcome;
    this.#incarnation = batch.incarnation;
    this.#welcomedAt = this.now();
    this.out.window = welcome.sessionWindow;
    for (const stream of this.unsent) {
      stream.outgoing.limit = welcome.streamWindow;
      stream.release();
    }
    for (const stream of this.#streams.values()) stream.outgoing.raise(welcome.streamWindow);
    this.#watchLapse();
  }

  #takeAck(ack: number): void {
    if (ack <= this.out.acked) return;
    const now = this.now();
    const fits = this.out.ack(ack, (sentAt, bytes) => this.sockets?.delivered(now, bytes, now - sentAt));
    if (!fits) throw new SessionError("breach", `ack ${ack} of ${this.out.lastSeq} frames`);
  }

  /** Applies one frame, in order. */
  #take(frame: Frame): void {
    if (frame.type === TYPE_CLOSE) {
      throw endOfSession(frame.close!) ?? new SessionError("closed", frame.close!.message);
    }
    const stream = this.#streams.get(frame.stream);
    if (!stream) return; // over, or never was: ignored (D5)
    if (frame.type === TYPE_END) this.#ended(frame);
    if (frame.type > TYPE_CLOSE && frame.critical) {
      stream.giveUp(bridgeEnd(UNIMPLEMENTED, "version", `unknown frame type ${frame.type}`));
    }
    stream.take(frame, this.config.maxMessageBytes);
    this.#checkIdle();
  }

  #ended(frame: Frame): void {
    this.#streams.delete(frame.stream);
    const { origin, reason } = frame.end!;
    if (origin === ORIGIN_BRIDGE && reason === "unauthenticated") this.#events.expired();
  }

  /** Gives a stream its number and states its age, when its OPEN is first sent. */
  #number(stream: Stream, frame: Unsent): void {
    stream.id = ++this.#highestStream;
    this.unsent.delete(stream);
    this.#streams.set(stream.id, stream);
    const open = frame.open!;
    const created = Math.floor(1000 * (stream.createdAt - this.#epoch));
    open.createdMicros = Math.max(0, created);
    // An RPC older than its session has used up some of its time before.
    if (open.timeoutMicros !== undefined) open.timeoutMicros = Math.max(0, open.timeoutMicros + Math.min(0, created));
  }

  /** Says that a link has failed. */
  trouble(error: Weather): void {
    this.lastError = error;
    if (error.status && error.reason !== "network") this.#foreign = error;
    if (this.phase === "open") this.phase = "retrying";
    this.#events.changed();
  }

  /** Tells of a change of link, perhaps by an error, that changes no phase. */
  note(error: SessionError | Weather | undefined): void {
    this.lastError = error ?? this.lastError;
    this.#events.changed();
  }

  /** Notes that the bridge had a link at that time (E1). */
  #answer(at: number): void {
    const age = this.now() - at;
    const then = clocks().map((now) => now - age);
    if (then[0]! >= this.#answered[0]!) this.#answered = then;
    this.window = 0;
    this.#foreign = undefined;
    if (this.phase === "open" || !this.welcome) return;
    this.phase = "open";
    this.#events.changed();
  }

  /**
   * Gives the session up when no link was answered for most of the resume
   * window (E1), by the larger of two clocks: one of them may stand still
   * while the machine sleeps. Called before a link is opened and by a timer.
   */
  lapsed(): boolean {
    if (this.error) return true;
    if (this.left > 0) return false;
    const age = this.#unanswered();
    const told = this.#foreign ?? this.lastError;
    const seen = told ? `; last seen: ${told.message}` : "";
    this.end(new SessionError(this.welcome ? "expired" : "unreachable", `no answer for ${Math.round(age / 1000)} s${seen}`));
    return true;
  }

  /** How long until the session is given up, if nothing comes. */
  get left(): number {
    return this.#patience() - this.#unanswered();
  }

  /** How long the session may go without an answer. */
  #patience(): number {
    if (!this.welcome) return CONNECT;
    const used = this.#known || this.out.lastSeq > 0;
    return LAPSE * (used ? this.window || Math.min(this.welcome.resumeMillis || RESUME, MOST_RESUME) : HELLO_WINDOW);
  }

  #unanswered(): number {
    return Math.max(...clocks().map((now, i) => now - this.#answered[i]!));
  }

  #watchLapse(): void {
    clearTimeout(this.#lapse);
    this.#lapse = setTimeout(() => {
      if (!this.lapsed()) this.#watchLapse();
    }, Math.max(this.left, 100));
  }

  /**
   * Ends every RPC, then the session in order: CLOSE is its last frame (L6).
   * At once if the bridge knows nothing of the session, or cannot be told.
   */
  close(): void {
    const closed = bridgeEnd(CANCELLED, "closed", "the channel was closed");
    for (const stream of [...this.unsent, ...this.#streams.values()]) stream.giveUp(closed);
    const why = new SessionError("closed", closed.message);
    if (!this.welcome) return this.end(why);
    clearTimeout(this.#lapse);
    this.#lapse = setTimeout(() => this.end(why), CLOSE_PATIENCE);
    this.out.closing.push(CODE_DONE);
    this.wake();
  }

  /** Ends the session at once; each RPC of which something was sent ends UNAVAILABLE, unless it may begin again (E2). */
  end(why: SessionError): void {
    if (this.error) return;
    this.error = this.lastError = why;
    this.phase = "closed";
    clearTimeout(this.#lapse);
    this.#links?.halt();
    const again = [...this.#streams.values()].filter((stream) => stream.again() || stream.finish(lossEnd(why, true)));
    this.#streams.clear();
    this.#events.over(why, [...again, ...this.release()]);
  }

  /** Marks frames lost whose last carriage is gone (L2). */
  lose(gone: (on: Carriage) => boolean): void {
    this.out.markLost(gone);
    this.restate = true;
    this.wake();
  }
}

function random(size: number): Uint8Array<ArrayBuffer> {
  return crypto.getRandomValues(new Uint8Array(size));
}

/** A steady clock and the one on the wall, in milliseconds: either may stand still while the machine sleeps. */
function clocks(): number[] {
  return [performance.now(), Date.now()];
}
