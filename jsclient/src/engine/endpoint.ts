import { type Batch, type Frame, MAX_FRAGMENT, metadataSize, TYPE_CLOSE, TYPE_END, TYPE_HEADERS, TYPE_MESSAGE, TYPE_WINDOW, type Welcome } from "../wire/batch.js";
import { Path } from "../tune/path.js";
import { bridgeEnd, endOfSession, lossEnd, RESOURCE_EXHAUSTED, SessionError, UNIMPLEMENTED, violation } from "./errors.js";
import { Inbox } from "./inbox.js";
import type { LinkID } from "./link.js";
import { Outbox, type Unsent } from "./outbox.js";
import { Reassembly } from "./reassembly.js";
import type { Stream } from "./stream.js";

/** Milliseconds that a request to send dropped frames again has for its answer. */
const ASK_AGAIN = 1_000;

/** Bytes by which the windows of all streams together may grow (D3). */
const MAX_WIDENED = 16 << 20;

/** The session's window before more is known of the path (D2). */
const FIRST_SESSION_WINDOW = 1 << 20;

/** Role is what an endpoint asks of the client's session. */
export interface Role {
  /** Runs a part of the engine's work; what it throws is the end of the session. */
  guard(work: () => void): void;
  /** Wakes the links: there may be something to send. */
  wakeLinks(): void;
  /** Reports whether what a stream has to send may be sent (O4, O5). */
  mayStart(stream: Stream): boolean;
  /** Notes that one RPC fewer is open. */
  streamGone(): void;
  /** Notes how the bridge ended an RPC. */
  streamEnded(origin: number, reason: string): void;
}

/** Endpoint is a session's outbox, inbox and streams: all that crosses links, and nothing of the links themselves. */
export class Endpoint {
  readonly out: Outbox = new Outbox((stream, open) => this.#number(stream, open));
  readonly inbox: Inbox = new Inbox();
  readonly path: Path = new Path();
  /** The budget for messages larger than their stream's window (D4). */
  readonly reassembly: Reassembly;
  /** Messages that came and were not consumed, which will give credit. */
  unread = 0;
  /** How long a body may be, on the link that was sent on last: as much is worth having ready of a stream. */
  bodyBytes = 0;
  /** How many bodies are in flight. */
  bodies = 2;
  /** Why the session is over; undefined before. */
  error: SessionError | undefined;

  readonly #role: Role;
  readonly #maxMessageBytes: number;
  readonly #epoch = performance.now();
  /** RPCs by number: something of them was sent, and their END has not come. */
  readonly #streams = new Map<number, Stream>();
  /** Unsent RPCs: no frame of them was sent. */
  readonly #unsent = new Set<Stream>();
  #highestStream = 0;
  #sessionWindow = FIRST_SESSION_WINDOW;
  /** The peer's first window of a stream, in bytes; before the Welcome, what may be sent unasked (O4). */
  #streamWindow = MAX_FRAGMENT;
  /** Bytes by which windows are wider than at first, in all. */
  #widened = 0;
  #maxMetadataBytes = Infinity;
  /** The links are about to be woken. */
  #waking = false;
  /** When dropped frames were last asked for; -Infinity: not since frames came. */
  #askedAt = -Infinity;

  /** maxMessageBytes: the longest message taken. */
  constructor(role: Role, maxMessageBytes: number) {
    this.#role = role;
    this.#maxMessageBytes = maxMessageBytes;
    this.reassembly = new Reassembly(2 * maxMessageBytes);
  }

  /** Returns the session's clock, in milliseconds. */
  now(): number {
    return performance.now() - this.#epoch;
  }

  /** Number of RPCs that are open; a cancelled one counts until its END. */
  get numStreams(): number {
    return this.#streams.size + this.#unsent.size;
  }

  /** Number of unsent RPCs. */
  get numUnsent(): number {
    return this.#unsent.size;
  }

  get streamWindow(): number {
    return this.#streamWindow;
  }

  /** Takes the peer's windows and its limit of metadata, in bytes. */
  opened({ sessionWindow, streamWindow, maxMetadataBytes }: Welcome): void {
    this.#sessionWindow = sessionWindow;
    this.#maxMetadataBytes = maxMetadataBytes || Infinity;
    for (const stream of [...this.#unsent]) this.#checkMetadata(stream);
    this.followPath();
    this.#streamWindow = streamWindow;
    for (const { sendSide } of this.#unsent) sendSide.limit = streamWindow;
    for (const { sendSide } of this.#streams.values()) sendSide.raise(streamWindow);
    this.releaseUnsent();
  }

  /** Lets as much be sent and not acked as fills the path twice (D2): the bodies in flight, and as many whose acks are under way. */
  followPath(): void {
    this.out.window = Math.min(this.#sessionWindow, Math.max(FIRST_SESSION_WINDOW, 2 * this.path.maxInFlight(), 2 * this.bodies * this.bodyBytes));
  }

  /** Sends unsent RPCs that may be sent now. */
  releaseUnsent(): void {
    for (const stream of this.#unsent) stream.release();
  }

  /** Reports whether what a stream has to send may be sent: one that has begun goes on. */
  mayStart(stream: Stream): boolean {
    return stream.id !== 0 || this.#role.mayStart(stream);
  }

  /** Takes an RPC on. */
  adopt(stream: Stream): void {
    this.#unsent.add(stream);
    stream.attach(this);
    this.#checkMetadata(stream);
    this.wake();
  }

  /** Ends an unsent RPC whose metadata the peer would refuse, as soon as its limit is known (section 7). */
  #checkMetadata(stream: Stream): void {
    const size = metadataSize(stream.request.metadata);
    const limit = this.#maxMetadataBytes;
    if (size > limit) stream.giveUp(bridgeEnd(RESOURCE_EXHAUSTED, "limit", `metadata of ${size} bytes is over the limit of ${limit}`));
  }

  /** Forgets an unsent RPC. */
  forget(stream: Stream): void {
    this.#unsent.delete(stream);
    this.#role.streamGone();
  }

  /** Has windows be so many bytes wider in all; less than 0: narrower. Returns false if there is no room. */
  widen(bytes: number): boolean {
    if (bytes > 0 && this.#widened + bytes > MAX_WIDENED) return false;
    this.#widened += bytes;
    return true;
  }

  /** Hands over the unsent RPCs: they can go on another session (E2, E3). */
  handOver(): Stream[] {
    const unsent = [...this.#unsent];
    this.#unsent.clear();
    return unsent;
  }

  /** Queues the CANCEL of an RPC, unless its END has come. */
  cancel(stream: number): void {
    if (this.error || !this.#streams.has(stream)) return;
    this.out.cancels.push(stream);
    this.wake();
  }

  /** Gives up every RPC, with the given end. */
  giveUpAll(...args: Parameters<typeof bridgeEnd>): void {
    for (const stream of [...this.#unsent, ...this.#streams.values()]) stream.giveUp(bridgeEnd(...args));
  }

  /** Wakes the links once the current task is done, so that what it sends shares a batch. */
  wake(): void {
    if (this.#waking || this.error) return;
    this.#waking = true;
    queueMicrotask(() => {
      this.#waking = false;
      if (!this.error) this.#role.guard(() => this.#role.wakeLinks());
    });
  }

  /** Reports whether a batch should be sent to ask for what was dropped (D1). */
  get asks(): boolean {
    return this.inbox.hasGap && this.now() >= this.#askedAt + ASK_AGAIN;
  }

  /** Sets a batch's header fields about frames: they count as sent. */
  state(batch: Batch): void {
    batch.ack = this.inbox.taken;
    batch.resend = this.inbox.hasGap;
    if (batch.resend) this.#askedAt = this.now();
    this.inbox.ackPending = 0;
    this.inbox.ackedAt = this.now();
  }

  /**
   * Takes in a batch's ack and frames. lost reports which of the frames sent are
   * meant when the batch asks to send again. Throws SessionError for a protocol
   * violation or the session's CLOSE.
   */
  receive(batch: Batch, lost: (on: LinkID, at: number) => boolean): void {
    if (batch.frames.length > 0) this.#askedAt = -Infinity;
    this.#takeAck(batch.ack);
    if (batch.resend) this.out.markLost(lost);
    for (const frame of batch.frames) for (const next of this.inbox.accept(frame)) this.#take(next);
  }

  #takeAck(ack: number): void {
    if (ack <= this.out.acked) return;
    const now = this.now();
    const sent = this.out.lastSeq;
    const fits = this.out.ack(ack, now, (sentAt, cost, delivered, took) => this.path.sample(now, now - sentAt, cost, delivered, took));
    if (!fits) throw violation(`ack of frame ${ack}, but only ${sent} were sent`);
    this.followPath();
  }

  /** Applies one frame, in order. What belongs to an RPC that is over, or never was, is ignored (D5). */
  #take(frame: Frame): void {
    if (frame.type === TYPE_CLOSE) throw endOfSession(frame.close!) ?? new SessionError("closed", frame.close!.message);
    const stream = this.#streams.get(frame.stream);
    if (!stream) return;
    switch (frame.type) {
      case TYPE_HEADERS:
        stream.headersCame(frame.headers!.metadata);
        break;
      case TYPE_MESSAGE:
        stream.messageCame(frame, this.#maxMessageBytes);
        break;
      case TYPE_WINDOW:
        stream.sendSide.raise(frame.limit ?? 0);
        break;
      case TYPE_END:
        this.#streams.delete(frame.stream);
        this.#role.streamEnded(frame.end!.origin, frame.end!.reason);
        stream.endCame(frame.end!);
        this.#role.streamGone();
        break;
      default:
        if (frame.type > TYPE_CLOSE && frame.critical) stream.giveUp(bridgeEnd(UNIMPLEMENTED, "version", `unknown frame type ${frame.type}`));
    }
  }

  /** Numbers a stream and states its age, when its OPEN is first sent. */
  #number(stream: Stream, frame: Unsent): void {
    stream.id = ++this.#highestStream;
    this.#unsent.delete(stream);
    this.#streams.set(stream.id, stream);
    const open = frame.open!;
    const created = Math.floor(1000 * (stream.createdAt - this.#epoch));
    open.createdMicros = Math.max(0, created);
    // An RPC older than its session has used up some of its time before.
    if (open.timeoutMicros !== undefined) open.timeoutMicros = Math.max(0, open.timeoutMicros + Math.min(0, created));
  }

  /** Ends the RPC of a frame that does not get through, in a batch of so many bytes; what is behind it goes on (D5). */
  frameRefused(seq: number, bytes: number, why: string): void {
    const frame = this.out.replace(seq);
    const stream = frame && this.#streams.get(frame.stream);
    if (!stream) return;
    const what = frame.open ? "request metadata" : "a part of a message";
    stream.giveUp(bridgeEnd(RESOURCE_EXHAUSTED, "limit", `${what}: a batch of ${bytes} bytes is too long for the network: ${why}`));
    if (frame.open && this.#streams.delete(stream.id)) this.#role.streamGone(); // no END comes of what was not taken
  }

  /** Has frames sent again whose last link is gone (L2). */
  lose(gone: (on: LinkID, at: number) => boolean): void {
    this.out.markLost(gone);
    this.wake();
  }

  /**
   * Ends the session: each RPC that was begun ends UNAVAILABLE,
   * unless it may begin again. Returns those that can go on another session (E2).
   */
  end(why: SessionError): Stream[] {
    this.error = why;
    const again = [...this.#streams.values()].filter((stream) => stream.again() || stream.finish(lossEnd(why, true)));
    this.#streams.clear();
    return [...again, ...this.handOver()];
  }
}
