import {
  type End,
  type Frame,
  MAX_FRAGMENT,
  type Metadatum,
  type Open,
  TYPE_END,
  TYPE_HALF_CLOSE,
  TYPE_HEADERS,
  TYPE_MESSAGE,
  TYPE_OPEN,
  TYPE_WINDOW,
} from "../wire/batch.js";
import { bridgeEnd } from "./errors.js";
import { OK, UNIMPLEMENTED } from "./limits.js";
import { Incoming, Outgoing } from "./flow.js";
import type { Session } from "./session.js";

/** How an RPC ends that is to give one message, and gives none or another. */
const CARDINALITY = bridgeEnd(UNIMPLEMENTED, "cardinality", "not exactly one message came");

/** Stream is one RPC on a session. */
export class Stream {
  /** Its number in its session; 0 while nothing of it was sent (E2). */
  id = 0;
  /** The session that it is on. */
  session: Session | undefined;
  readonly request: Open;
  outgoing!: Outgoing;
  incoming!: Incoming;
  /** A session was lost that had sent something of it. */
  resent = false;
  /** When the RPC was made, in milliseconds of performance.now. */
  readonly createdAt: number = performance.now();
  /** Resolves with the response headers; with none when the RPC ended without any. */
  readonly headers: Promise<Metadatum[]>;
  /** Resolves when the RPC is over. Never rejects. */
  readonly ended: Promise<End>;
  /** How the RPC ended; undefined before. */
  status: End | undefined;

  #resolveHeaders!: (metadata: Metadatum[]) => void;
  #resolveEnded!: (end: End) => void;
  #readable: (() => void) | undefined;
  /** Waits for its half-close, to leave with it in one batch. */
  #corked: boolean | undefined;
  /** How many messages have begun to come. */
  #messages = 0;

  readonly #window: number;
  /** How often it may begin again. */
  #again: number;
  /** What is said again then. */
  #message: Uint8Array | undefined;

  /** window is the first one, in bytes; again says how many sessions it may outlive that have sent something of it. */
  constructor(request: Open, window: number, again = 0) {
    this.request = request;
    this.#window = window;
    this.#again = again;
    this.#begin();
    this.headers = new Promise((resolve) => (this.#resolveHeaders = resolve));
    this.ended = new Promise((resolve) => (this.#resolveEnded = resolve));
  }

  #begin(): void {
    this.#corked = this.request.singleRequest;
    this.outgoing = new Outgoing(this);
    this.incoming = new Incoming(this, this.#window);
    this.outgoing.push({ type: TYPE_OPEN, open: { ...this.request } });
  }

  /**
   * Begins again after its session was lost, for the next one to say all that
   * was said: of a single request, the whole. False, and nothing is changed, if
   * that is not allowed or the bridge has answered (E2).
   */
  again(): boolean {
    if (--this.#again < 0) return false;
    this.resent = true;
    this.id = 0;
    this.outgoing.drop();
    this.#begin();
    if (this.#message) void this.send(this.#message);
    this.closeSend();
    return true;
  }

  /** Goes on a session: a new RPC, or one that its lost session had sent nothing of. */
  attach(session: Session): void {
    this.session = session;
    this.outgoing.inTurn = false;
    this.outgoing.limit = session.welcome?.streamWindow ?? MAX_FRAGMENT; // O4
    this.release();
  }

  /** Looks again whether the stream may be sent: after the Welcome, the half-close, or another token (O4, O5). */
  release(): void {
    this.outgoing.held = this.#corked || !this.session || (!this.session.welcome && !this.request.early) || this.session.renewing;
    this.outgoing.activate();
  }

  /**
   * Queues one message, whose bytes the stream owns from now on, and resolves
   * when there is room for the next. Messages sent after the RPC's end are
   * dropped: see status.
   */
  async send(bytes: Uint8Array): Promise<void> {
    if (this.status) return;
    if (this.outgoing.closed) throw new Error("message sent after the half-close");
    if (this.#again > 0) this.#message = bytes;
    this.outgoing.push({ bytes, cut: 0, started: false });
    if (bytes.length > MAX_FRAGMENT || this.outgoing.queue.length > 2) this.#uncork();
    await this.outgoing.room();
  }

  /** Says that no more messages follow. */
  closeSend(): void {
    if (this.outgoing.closed) return;
    this.outgoing.closed = true;
    this.outgoing.push({ type: TYPE_HALF_CLOSE });
    this.#uncork();
  }

  #uncork(): void {
    this.#corked = false;
    this.release();
  }

  /** The next message, in order; undefined after the last. One call at a time. */
  async recv(): Promise<Uint8Array | undefined> {
    for (;;) {
      const message = this.incoming.take();
      if (message || this.status) return message;
      await new Promise<void>((resolve) => (this.#readable = resolve));
    }
  }

  /**
   * Ends the RPC for the user and tells the bridge, which still owes its END;
   * one of which nothing was sent is just forgotten. What an RPC that is over
   * has left to be read holds up nobody.
   */
  giveUp(end: End): void {
    if (this.status) return this.incoming.settle();
    this.finish(end);
    this.incoming.drop();
    if (this.id === 0) this.session?.forget(this);
    else this.session?.cancel(this.id);
  }

  /** Ends the RPC for the user. What was received before can still be read. */
  finish(end: End): void {
    if (this.status) return;
    this.status = end;
    this.outgoing.drop();
    this.incoming.end();
    this.#resolveHeaders([]);
    this.#resolveEnded(end);
    this.#wake();
  }

  /** Takes a frame of this stream, in order. Throws SessionError for a breach. */
  take(frame: Frame, longest: number): void {
    if (this.status) return;
    if (frame.type !== TYPE_WINDOW) this.#again = 0; // it is answered
    switch (frame.type) {
      case TYPE_HEADERS:
        this.#resolveHeaders(frame.headers!.metadata);
        return;
      case TYPE_MESSAGE:
        if (frame.length !== undefined && ++this.#messages === 2 && this.request.singleResponse) return this.giveUp(CARDINALITY);
        this.incoming.accept(frame, longest);
        this.#wake();
        return;
      case TYPE_WINDOW:
        this.outgoing.raise(frame.limit ?? 0);
        return;
      case TYPE_END:
        this.finish(this.#isShort(frame.end!) ? CARDINALITY : frame.end!);
        return;
    }
  }

  #isShort(end: End): boolean | undefined {
    return this.request.singleResponse && end.status === OK && this.#messages === 0;
  }

  #wake(): void {
    this.#readable?.();
    this.#readable = undefined;
  }
}
