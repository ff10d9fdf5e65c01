import { type End, type Frame, MAX_FRAGMENT, type Metadatum, type Open, TYPE_HALF_CLOSE, TYPE_OPEN } from "../wire/batch.js";
import type { Endpoint } from "./endpoint.js";
import { bridgeEnd, OK, UNIMPLEMENTED } from "./errors.js";
import { RecvSide } from "./recvside.js";
import { SendSide } from "./sendside.js";

/** The end of an RPC with singleResponse that got no message, or a second one. */
const CARDINALITY = bridgeEnd(UNIMPLEMENTED, "cardinality", "cardinality violation: expected exactly one response message");

/** Stream is one RPC on a session. */
export class Stream {
  /** Its number in its session; 0 while nothing of it was sent (E2). */
  id = 0;
  /** That of the session that it is on. */
  endpoint: Endpoint | undefined;
  readonly request: Open;
  sendSide!: SendSide;
  recvSide!: RecvSide;
  /** A session was lost that had sent something of it. */
  resent = false;
  /** When the RPC was made, in milliseconds of performance.now. */
  readonly createdAt: number = performance.now();
  /** Resolves with the response headers; with none when the RPC ended without any. */
  readonly headers: Promise<Metadatum[]>;
  /** Resolves when the RPC is over. Never rejects. */
  readonly ended: Promise<End>;
  /** Lengths of its messages so far, in bytes. */
  sentBytes = 0;
  receivedBytes = 0;
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
  #retries: number;
  /** What is sent again then. */
  #message: Uint8Array | undefined;

  /** window: the first one towards here, in bytes. retries: how many sessions it may outlive that have sent something of it. */
  constructor(request: Open, window: number, retries = 0) {
    this.request = request;
    this.#window = window;
    this.#retries = retries;
    this.#begin();
    this.headers = new Promise((resolve) => (this.#resolveHeaders = resolve));
    this.ended = new Promise((resolve) => (this.#resolveEnded = resolve));
  }

  #begin(): void {
    this.sentBytes = 0;
    this.#corked = this.request.singleRequest;
    this.sendSide = new SendSide(this);
    this.recvSide = new RecvSide(this, this.#window);
    this.sendSide.push({ type: TYPE_OPEN, open: { ...this.request } });
  }

  /**
   * Begins again after its session was lost, for the next one to send all that
   * was sent: of a single request, the whole. False, and nothing is changed, if
   * that is not allowed, or the bridge has answered, or the user gave it up (E2).
   */
  again(): boolean {
    if (this.status || --this.#retries < 0) return false;
    this.resent = true;
    this.id = 0;
    this.sendSide.drop();
    this.#begin();
    if (this.#message) void this.send(this.#message);
    this.closeSend();
    return true;
  }

  /** Puts an unsent RPC on a session: a new one, or one that its lost session had not begun. */
  attach(endpoint: Endpoint): void {
    this.endpoint = endpoint;
    this.sendSide.inTurn = false;
    this.sendSide.limit = endpoint.streamWindow;
    this.release();
  }

  /** Looks again whether the stream may be sent: after the Welcome, the half-close, or another token (O4, O5). */
  release(): void {
    this.sendSide.waits = this.#corked || !this.endpoint?.mayStart(this);
    this.sendSide.update();
  }

  /**
   * Queues one message, whose bytes the stream owns from now on, and resolves
   * when there is room for the next. Messages sent after the RPC's end are
   * dropped: see status.
   */
  async send(bytes: Uint8Array): Promise<void> {
    if (this.status) return;
    if (this.sendSide.closed) throw new Error("message sent after the half-close");
    this.sentBytes += bytes.length;
    if (this.#retries > 0) this.#message = bytes;
    this.sendSide.push({ bytes, cut: 0, started: false });
    if (bytes.length > MAX_FRAGMENT || this.sendSide.queue.length > 2) this.#uncork();
    await this.sendSide.room();
  }

  /** Queues the half-close: no more messages follow. */
  closeSend(): void {
    if (this.sendSide.closed) return;
    this.sendSide.closed = true;
    this.sendSide.push({ type: TYPE_HALF_CLOSE });
    this.#uncork();
  }

  #uncork(): void {
    this.#corked = false;
    this.release();
  }

  /** Returns the next message, in order; undefined after the last. One call at a time. */
  async recv(): Promise<Uint8Array | undefined> {
    for (;;) {
      const message = this.recvSide.take();
      if (message || this.status) return message;
      await new Promise<void>((resolve) => (this.#readable = resolve));
    }
  }

  /**
   * Ends the RPC for the user and queues its CANCEL: the bridge's END is still to
   * come; an unsent RPC is just forgotten. What an RPC that is
   * over has left to be read holds up nobody.
   */
  giveUp(end: End): void {
    if (this.status) return this.recvSide.settle();
    this.finish(end);
    this.recvSide.drop();
    if (this.id === 0) this.endpoint?.forget(this);
    else this.endpoint?.cancel(this.id);
  }

  /** Ends the RPC for the user. What was received before can still be read. */
  finish(end: End): void {
    if (this.status) return;
    this.status = end;
    this.sendSide.drop();
    this.recvSide.end();
    this.#resolveHeaders([]);
    this.#resolveEnded(end);
    this.#wake();
  }

  /** Takes the response headers. */
  headersCame(metadata: Metadatum[]): void {
    this.#retries = 0; // it is answered
    if (!this.status) this.#resolveHeaders(metadata);
  }

  /** Takes a MESSAGE frame. Throws SessionError for a protocol violation. */
  messageCame(frame: Frame, maxMessageBytes: number): void {
    this.#retries = 0;
    if (this.status) return;
    if (frame.length !== undefined && ++this.#messages === 2 && this.request.singleResponse) return this.giveUp(CARDINALITY);
    this.receivedBytes += frame.data?.length ?? 0;
    this.recvSide.accept(frame, maxMessageBytes);
    this.#wake();
  }

  /** Takes the RPC's end. */
  endCame(end: End): void {
    const short = this.request.singleResponse && end.status === OK && this.#messages === 0;
    this.finish(short ? CARDINALITY : end);
  }

  #wake(): void {
    this.#readable?.();
    this.#readable = undefined;
  }
}
