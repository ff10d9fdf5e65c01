// The bridge's side of a session, as far as a test double needs it: links never lose what they took, unless they are cut.

import { Inbox } from "../engine/inbox.js";
import {
  type Batch,
  CODE_DONE,
  type Frame,
  HIGHEST_VERSION,
  type Open,
  TYPE_CANCEL,
  TYPE_CLOSE,
  TYPE_END,
  TYPE_HALF_CLOSE,
  TYPE_MESSAGE,
  TYPE_OPEN,
  TYPE_WINDOW,
  type Welcome,
} from "../wire/batch.js";
import { RPC, type Script, type Unnumbered } from "./rpc.js";

/** Most frames of a batch. */
const MAX_FRAMES = 1_000;
/** How long an exchange with frames is held at most, in milliseconds (section 5). */
const HOLD_WITH_FRAMES = 2_000;
/** Windows that hold up nobody, in bytes. */
const WINDOW = 1 << 30;

const WELCOME: Welcome = {
  version: HIGHEST_VERSION,
  release: "fake",
  holdMillis: 25_000,
  resumeMillis: 120_000,
  pauseMaxMillis: 1_800_000,
  streamWindow: WINDOW,
  sessionWindow: WINDOW,
  maxMessageBytes: WINDOW,
  maxBatchBytes: 1 << 20,
  maxMetadataBytes: 64 << 10,
  maxStreams: 4_096,
  ignoresTokens: false,
  maxExchanges: 8,
};

/** A link's way to the client. */
export interface Link {
  readonly number: number;
  say(fields: Partial<Batch>): void;
}

/** An exchange that is held. */
interface Poll extends Link {
  readonly since: number;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** FakeSession takes batches, runs scripts, and answers on the link that the client prefers. */
export class FakeSession {
  readonly #scriptOf: (method: string) => Script;
  readonly #inbox = new Inbox();
  readonly #rpcs = new Map<number, RPC>();
  #streamWindow = 0;
  /** Frames that are not acked, in order. */
  #outbox: Frame[] = [];
  #lastSeq = 0;
  /** The last frame that is on its way on a link which was not cut. */
  #sent = 0;
  #latestLink = 0;
  #latestMicros = 0;
  #prefer = 0;
  #poll: Poll | undefined;
  readonly #sockets = new Map<number, Link>();
  /** The client has closed the session. */
  closed = false;

  constructor(scriptOf: (method: string) => Script) {
    this.#scriptOf = scriptOf;
  }

  /** Takes the batch of an exchange, and answers it now or later. */
  exchange(batch: Batch, link: Link): void {
    const displaced = link.number < this.#latestLink;
    this.#latestLink = Math.max(this.#latestLink, link.number);
    const welcome = this.#receive(batch);
    if (displaced) return link.say({ ack: this.#inbox.taken });
    this.#answerPoll();
    const hold = batch.frames.length > 0 ? Math.min(batch.holdMillis, HOLD_WITH_FRAMES) : batch.holdMillis;
    this.#poll = { ...link, since: performance.now(), timer: setTimeout(() => this.#answerPoll(), hold) };
    if (welcome.welcome || hold === 0 || this.closed) this.#answerPoll(welcome);
    else this.#flush();
  }

  /** Takes the batch of a WebSocket. */
  message(batch: Batch, link: Link): void {
    this.#sockets.set(link.number, link);
    this.#latestLink = Math.max(this.#latestLink, link.number);
    const welcome = this.#receive(batch);
    const pong = batch.ping > 0 && { pong: batch.ping, ...(batch.padding && { padding: batch.padding }) };
    if (pong || welcome.welcome || batch.frames.length > 0 || this.closed) link.say({ ...this.#header(), ...welcome, ...pong });
    this.#flush();
  }

  /** Forgets a link that was cut: what went on it goes again. */
  cut(number: number): void {
    this.#sockets.delete(number);
    if (this.#poll?.number === number) this.#takePoll();
    this.#sent = (this.#outbox[0]?.seq ?? this.#lastSeq + 1) - 1;
    this.#flush();
  }

  /** Ends every RPC. */
  end(): void {
    this.#takePoll();
    for (const rpc of this.#rpcs.values()) rpc.lost();
    this.#rpcs.clear();
  }

  /** Takes header and frames in. Returns the Welcome if it is asked for. */
  #receive(batch: Batch): Partial<Batch> {
    if (batch.hello) this.#streamWindow = batch.hello.streamWindow;
    if (batch.nowMicros > this.#latestMicros) {
      this.#latestMicros = batch.nowMicros;
      this.#prefer = batch.prefer;
    }
    this.#outbox = this.#outbox.filter(({ seq }) => seq > batch.ack);
    if (batch.resend) this.#sent = batch.ack;
    for (const frame of batch.frames) for (const next of this.#inbox.accept(frame)) this.#take(next);
    return batch.hello ? { welcome: WELCOME } : {};
  }

  #take(frame: Frame): void {
    const rpc = this.#rpcs.get(frame.stream);
    switch (frame.type) {
      case TYPE_OPEN:
        return this.#start(frame.stream, frame.open!);
      case TYPE_MESSAGE:
        return rpc?.messageCame(frame);
      case TYPE_HALF_CLOSE:
        return rpc?.halfCloseCame();
      case TYPE_CANCEL:
        return rpc?.cancelCame();
      case TYPE_WINDOW:
        return rpc?.windowCame(frame.limit ?? 0);
      case TYPE_CLOSE:
        this.closed = true;
        this.end();
    }
  }

  #start(stream: number, open: Open): void {
    const rpc = new RPC(stream, open, this.#streamWindow, (frame) => this.#queue(frame));
    this.#rpcs.set(stream, rpc);
    queueMicrotask(() => void rpc.run(this.#scriptOf(open.method)));
  }

  #queue(frame: Unnumbered): void {
    if (frame.type === TYPE_END) this.#rpcs.delete(frame.stream);
    this.#outbox.push({ ...frame, seq: ++this.#lastSeq });
    queueMicrotask(() => this.#flush());
  }

  /** Sends what waits on the link that the client prefers. */
  #flush(): void {
    const socket = this.#sockets.get(this.#prefer);
    while (socket && this.#sent < this.#lastSeq) socket.say({ ...this.#header(), frames: this.#next() });
    if (!socket && this.#sent < this.#lastSeq) this.#answerPoll();
  }

  #next(): Frame[] {
    const frames = this.#outbox.filter(({ seq }) => seq > this.#sent).slice(0, MAX_FRAMES);
    this.#sent = frames.at(-1)?.seq ?? this.#lastSeq;
    return frames;
  }

  #header(): Partial<Batch> {
    return { ack: this.#inbox.taken, ...(this.closed && { close: { code: CODE_DONE, message: "", retryAfterMillis: 0, limit: 0 } }) };
  }

  /** Answers the exchange that is held, if one is. */
  #answerPoll(fields: Partial<Batch> = {}): void {
    const poll = this.#takePoll();
    const frames = poll && !this.#sockets.has(this.#prefer) ? this.#next() : [];
    poll?.say({ ...this.#header(), ...fields, frames, heldMicros: Math.round(1000 * (performance.now() - poll.since)) });
  }

  #takePoll(): Poll | undefined {
    const poll = this.#poll;
    clearTimeout(poll?.timer);
    this.#poll = undefined;
    return poll;
  }
}
