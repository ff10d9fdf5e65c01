import { Endpoint, type Role } from "../engine/endpoint.js";
import { CANCELLED, endOfSession, internalError, isRefusal, SessionError } from "../engine/errors.js";
import type { LinkID } from "../engine/link.js";
import type { Stream } from "../engine/stream.js";
import { base64url } from "../wire/base64.js";
import {
  type Batch,
  CODE_DONE,
  CODE_UNKNOWN,
  HIGHEST_VERSION,
  ID_SIZE,
  KEY_SIZE,
  LOWEST_VERSION,
  ORIGIN_BRIDGE,
  type Welcome,
} from "../wire/batch.js";
import { newBatch } from "../wire/codec.js";
import type { LinkError } from "./carrier.js";
import type { Links, Phase, SessionConfig, SessionEvents } from "./config.js";
import { Expiry } from "./expiry.js";
import { type Outage, Tries } from "./outage.js";
import { Strangers } from "./strangers.js";

// Times are in milliseconds, sizes in bytes.

/** Part of the resume window after which a session without RPCs is given up (E1). */
const IDLE_PART = 0.8;
/** How long the bridge keeps a session from which no RPC came (O4). */
const HELLO_WINDOW = 30_000;
/** The resume window of a bridge that states none, and the longest that is believed. */
const RESUME = 120_000;
const MAX_RESUME = 86_400_000;
/** Bounds the wait for the first Welcome. */
const CONNECT_TIMEOUT = 20_000;
/** The resume window that a pause asks for: browsers do not keep a page aside for much longer. */
const PAUSE = 600_000;
/** How long a session that was left lives on where its CLOSE cannot be taken. */
const LEFT = 1_000;
/** Over how long clients spread their move to another bridge where theirs does not say. */
const MOVE_SPREAD = 1_000;
/** How long close waits for the bridge to hear of it. */
const CLOSE_TIMEOUT = 3_000;
/** Most bytes of a batch by beacon: all beacons of a page share 64 KiB, and base64 makes 4 bytes of 3. */
export const MAX_BEACON: number = 40 << 10;

/** Session is the resumable link between this client and the bridge: its ID and key, its Welcome, its token and its end. */
export class Session implements Role {
  /** The ID as it stands in paths: safe to log. */
  sid: string;
  readonly endpoint: Endpoint;
  /** What the bridge's Welcome said; undefined before. */
  welcome: Welcome | undefined;
  phase: Phase = "connecting";
  lastError: SessionError | LinkError | undefined;

  readonly #config: SessionConfig;
  readonly #events: SessionEvents;
  #id = random(ID_SIZE);
  #key = random(KEY_SIZE);
  readonly #expiry = new Expiry();
  #links: Links | undefined;
  #incarnation = 0n;
  /** The number of the latest link (L1). */
  #latestLink = 0;
  /** Number of the lasting link that gets new frames; 0: exchanges do (L3). */
  #preferred = 0;
  /** The header says something new: a lasting link sends it at once. */
  #headerDue = false;
  /** now_us of the latest batch, in microseconds. */
  #latestMicros = 0;
  #token: string;
  /** The bridge may not have the token yet: batches carry it (O5). */
  #tokenDue = false;
  /** Another token is being asked for: new RPCs wait for it (O5). */
  #renewing = false;
  /** RPCs wait until the bridge is heard (E2). */
  #asking = false;
  /** The resume window that a pause asked for, in milliseconds; 0: the bridge's own. */
  #pauseWindow = 0;
  readonly #tries = new Tries();
  /** What somebody else answered since the bridge last did: it tells more than the links that broke after it. */
  #foreign: LinkError | undefined;
  /** To be closed once no RPC is open. */
  #retired = false;
  readonly strangers: Strangers = new Strangers();

  constructor(config: SessionConfig, events: SessionEvents) {
    this.#config = config;
    this.#events = events;
    this.#token = config.token;
    this.sid = base64url(this.#id);
    this.endpoint = new Endpoint(this, config.maxMessageBytes);
  }

  /** Starts making links; with a token if there is one. */
  start(links: Links, token: string = this.#token): void {
    this.#links = links;
    this.#token = token;
    this.#expiry.answered();
    this.#watchExpiry();
    this.endpoint.wake();
  }

  /** The bridge's URL. */
  get url(): string {
    return this.#config.url;
  }

  /** Reports whether it makes links. */
  get started(): boolean {
    return !!this.#links;
  }

  /** Why the session is over; undefined before. */
  get error(): SessionError | undefined {
    return this.endpoint.error;
  }

  /** Runs a part of the engine's work: every timer's, every answer's. What it throws ends the session, which would be mute else. */
  guard(work: () => void): void {
    try {
      work();
    } catch (err) {
      this.end(internalError(err));
    }
  }

  /** Does some work after a while, guarded. */
  after(millis: number, work: () => void): ReturnType<typeof setTimeout> {
    return setTimeout(() => this.guard(work), millis);
  }

  // What the endpoint asks.

  wakeLinks(): void {
    this.#links?.wake();
  }

  mayStart(stream: Stream): boolean {
    return (!!this.welcome || !!stream.request.early) && !this.#renewing && !this.#asking;
  }

  streamGone(): void {
    if (this.#retired && this.endpoint.numStreams === 0) this.close();
  }

  streamEnded(origin: number, reason: string): void {
    if (origin === ORIGIN_BRIDGE && reason === "unauthenticated") this.#events.tokenExpired();
  }

  /** Takes an RPC on. After a quiet time the bridge is asked first whether it is still there: what it refuses may have run, since a copy may have come before (E2). */
  adopt(stream: Stream): void {
    const parked = this.phase === "open" && this.endpoint.numStreams > 0;
    if (this.welcome && !this.#asking && !parked && !this.#links!.carries && this.#expiry.quiet) {
      this.#asking = true;
      this.#links!.ask();
    }
    this.endpoint.adopt(stream);
  }

  /** Closes the session as soon as no RPC is open. */
  retire(): void {
    this.#retired = true;
    this.streamGone();
  }

  // What links ask.

  /** Takes another ID and key before the Welcome: a balancer may have a bridge for them that is not busy. All that was sent is sent again. */
  moveOn(): void {
    if (this.welcome) return;
    this.#id = random(ID_SIZE);
    this.#key = random(KEY_SIZE);
    this.sid = base64url(this.#id);
    this.lose(() => true);
  }

  /** Notes that the bridge takes no new sessions any more: before the Welcome another is looked for, after it new RPCs go elsewhere (E3). */
  bridgeDrains(): void {
    if (this.welcome) this.#events.goAway(MOVE_SPREAD);
    else this.moveOn();
  }

  /** Reports whether RPCs wait for the Welcome. */
  get waitsForWelcome(): boolean {
    return !this.welcome && this.endpoint.numUnsent > 0;
  }

  /** Returns the number of a new link. */
  newLink(): number {
    return ++this.#latestLink;
  }

  get latestLink(): number {
    return this.#latestLink;
  }

  /** Number of the lasting link that gets new frames; 0: exchanges do (L3). */
  get preferred(): number {
    return this.#preferred;
  }

  /** Moves new frames to a lasting link, or to exchanges (L3). */
  prefer(link: number): void {
    this.#preferred = link;
    this.#headerDue = true;
  }

  /** Reports whether the header says something new, which a lasting link is to send at once. */
  get headerDue(): boolean {
    return this.#headerDue;
  }

  /** Returns a batch for a link with its header fields. withKey: in every exchange and a lasting link's first batch (O1). awaited: its answer is waited for (L2). */
  header(link: number, withKey: boolean, awaited = false): Batch {
    const { endpoint } = this;
    const batch = newBatch();
    batch.session = this.#id;
    batch.x = link;
    if (withKey) batch.key = this.#key;
    batch.incarnation = this.#incarnation;
    batch.nowMicros = this.#latestMicros = Math.max(this.#latestMicros + 1, Math.floor(1000 * endpoint.now())); // L3
    batch.awaiting = this.#links?.awaiting ?? (awaited ? link : this.#latestLink + 1);
    batch.prefer = this.#preferred;
    endpoint.state(batch);
    this.#headerDue = false;
    if (!this.welcome) {
      batch.versions = { lowest: LOWEST_VERSION, highest: HIGHEST_VERSION };
      const { release, streamWindow, maxMessageBytes } = this.#config;
      batch.hello = { release, streamWindow, maxMessageBytes };
    }
    if (!this.welcome || this.#tokenDue) batch.token = this.#token;
    return batch;
  }

  /** Goes on with another token on the running session; RPCs opened meanwhile wait for it (O5). Rejects if there is none to be had; does nothing while one is asked for. */
  async renew(auth: () => string | Promise<string>): Promise<boolean> {
    if (this.#renewing) return false;
    this.#renewing = true;
    try {
      this.#token = await auth();
      this.#tokenDue = this.#headerDue = true;
      return true;
    } finally {
      this.#renewing = false;
      this.endpoint.releaseUnsent();
      this.endpoint.wake();
    }
  }

  /** Notes that a batch was answered which carried a token. */
  tokenTaken(token: string): void {
    if (token === this.#token) this.#tokenDue = false;
  }

  /** Reports whether a batch answers a link of this session; any other is a link error (L4), as is a refusal (W6). */
  isOurs(batch: Batch, link: number): boolean {
    const foreign = this.#incarnation !== 0n && batch.incarnation !== this.#incarnation;
    if (isRefusal(batch) || batch.x !== link || (foreign && (!batch.close || BigInt.asUintN(32, batch.incarnation)))) return false; // a refusal has no life in it (W6)
    return batch.session!.length === 0 || base64url(batch.session!) === this.sid;
  }

  /**
   * Takes in a batch that came on a link which was begun at sentAt. lost reports
   * which of the frames sent are meant when it asks to send again. held: how long
   * the bridge had that link for sure, in milliseconds. Returns whether it brought
   * frames or a higher ack.
   */
  receive(batch: Batch, sentAt: number, lost: (on: LinkID, at: number) => boolean, held = 0): boolean {
    const { endpoint } = this;
    const { out, inbox } = endpoint;
    const why = batch.close && this.#endOf(batch);
    if (why) {
      this.end(why);
      return false;
    }
    if (batch.welcome && !this.welcome) this.#takeWelcome(batch, batch.welcome);
    if (batch.goAway) this.#events.goAway(batch.goAway.spreadMillis); // before RPCs go there
    this.#answered(sentAt + held);
    const { acked } = out;
    const { taken } = inbox;
    try {
      endpoint.receive(batch, lost);
    } catch (err) {
      if (!(err instanceof SessionError)) throw err;
      this.end(err);
      return false;
    }
    endpoint.wake();
    return out.acked > acked || inbox.taken > taken;
  }

  /** Returns the session's end that a batch's close states; undefined if it touches no session, and the link sees to it (W6). */
  #endOf({ close, incarnation }: Batch): SessionError | undefined {
    const known = this.#incarnation !== 0n && incarnation !== 0n;
    // The upper half names the instance, the lower one this life of the session (O2).
    const restarted = close!.code === CODE_UNKNOWN && known && incarnation >> 32n !== this.#incarnation >> 32n;
    const bridge = `the bridge at ${this.#config.url}`;
    if (restarted) return new SessionError("bridge_restarted", `${bridge} was restarted`);
    const why = endOfSession(close!);
    return why && new SessionError(why.reason, why.reason === "unknown_session" ? `${bridge} knows no such session any more` : `${bridge} ended it: ${why.message}`);
  }

  #takeWelcome(batch: Batch, welcome: Welcome): void {
    this.welcome = welcome;
    this.#incarnation = batch.incarnation;
    this.endpoint.opened(welcome);
    if (welcome.ignoresTokens && this.#token) this.#events.tokenIgnored();
    this.#watchExpiry();
  }

  /** Notes that a link has failed. */
  linkFailed(error: LinkError): void {
    this.lastError = error;
    if (error.status && error.reason !== "network") this.#foreign = error;
    const hopeless = this.#hopeless(error);
    if (hopeless) return this.end(new SessionError("unreachable", hopeless, { cause: error }));
    this.#tries.failed(this.endpoint.now(), this.#links?.nextTryIn ?? 0);
    if (this.phase === "open") this.phase = "retrying";
    this.#events.changed();
  }

  /** What is known of the outage; undefined: a link works, or none has failed yet. */
  get outage(): Outage | undefined {
    return this.error ? undefined : this.#tries.outage(this.endpoint.now(), this.#links?.nextTryIn ?? 0);
  }

  /** Returns why no first Welcome is to be waited for; undefined: it may come yet. */
  #hopeless(error: LinkError): string | undefined {
    const { reason, message } = error;
    const { url, known } = this.#config;
    if (this.welcome || known) return undefined;
    if (reason === "csp" || reason === "mixed_content") return `the page may not reach ${url}: ${message}`;
    if (!this.strangers.certain(error, this.endpoint.now()) || this.#links?.dialing) return undefined;
    return `no bridge at ${url}: ${message}; is this its URL and its prefix, and does a proxy before it pass both on?`;
  }

  /** Notes a change of link, perhaps by an error, that changes no phase. */
  note(error?: SessionError | LinkError): void {
    this.lastError = error ?? this.lastError;
    this.#events.changed();
  }

  /** Notes that the bridge had a link at that time (E1). */
  #answered(at: number): void {
    this.#expiry.answered(this.endpoint.now() - at);
    this.#pauseWindow = 0;
    this.#foreign = undefined;
    this.#tries.answered();
    this.#heard();
    if (this.phase === "open" || !this.welcome) return;
    this.phase = "open";
    this.#events.changed();
  }

  /** Lets RPCs go that waited until the bridge is heard. */
  #heard(): void {
    if (!this.#asking) return;
    this.#asking = false;
    this.endpoint.releaseUnsent();
  }

  /** Has frames sent again whose last link is gone (L2). */
  lose(gone: (on: LinkID) => boolean): void {
    this.#headerDue = true;
    this.endpoint.lose(gone);
  }

  /** Gives the session up if no link was answered for the resume window (E1). Reports whether it is over. After what may have been a sleep it has the bridge asked. */
  expired(): boolean {
    if (this.error) return true;
    if (this.#expiry.jumped()) queueMicrotask(() => this.#links?.retryNow(false));
    if (this.left > 0) return false;
    const last = this.#foreign ?? this.lastError;
    const seen = last ? `; last seen: ${last.message}` : "";
    this.end(new SessionError(this.welcome ? "expired" : "unreachable", `no answer from ${this.#config.url} for ${Math.round(this.#expiry.unanswered() / 1000)} s${seen}`));
    return true;
  }

  /** Returns a wait that leaves time for another try before the resume window ends, and before the session is given up. */
  shorten(millis: number): number {
    const { left } = this;
    const inWindow = left - this.#grace;
    return Math.min(this.strangers.shorten(millis, this.endpoint.now()), Math.max((inWindow > 0 ? inWindow : left) / 2, 250));
  }

  /** How long until the session is given up, if nothing comes, in milliseconds. */
  get left(): number {
    return this.#window() - this.#expiry.unanswered();
  }

  /** How long beyond its window a session with RPCs is not given up, in milliseconds: a bridge may have had a link for a hold longer than is known here. */
  get #grace(): number {
    return this.welcome && this.endpoint.numStreams > 0 ? Math.min(this.welcome.holdMillis, RESUME) : 0;
  }

  /** Returns how long the session may go without an answer, in milliseconds (E1). Without RPCs it ends early: the next one is not to meet a session that the bridge has just forgotten. */
  #window(): number {
    if (!this.welcome) return CONNECT_TIMEOUT;
    const window = this.endpoint.out.lastSeq > 0 ? this.#pauseWindow || Math.min(this.welcome.resumeMillis || RESUME, MAX_RESUME) : HELLO_WINDOW;
    return this.endpoint.numStreams > 0 ? window + this.#grace : IDLE_PART * window;
  }

  #watchExpiry(): void {
    this.#expiry.watch(this.left, () => this.guard(() => this.expired() || this.#watchExpiry()));
  }

  /**
   * Ends every RPC, then the session in order: CLOSE is its last frame (L6).
   * At once if the bridge knows nothing of the session, or cannot be told.
   */
  close(): void {
    const why = new SessionError("closed", "the channel was closed");
    this.endpoint.giveUpAll(CANCELLED, why.reason, why.message);
    if (!this.welcome) return this.end(why);
    this.#expiry.watch(CLOSE_TIMEOUT, () => this.end(why));
    this.endpoint.out.closing.push(CODE_DONE);
    this.endpoint.wake();
  }

  /** Ends the session at once; each RPC that was begun ends UNAVAILABLE, unless it may begin again (E2). */
  end(why: SessionError): void {
    if (this.error) return;
    this.lastError = why;
    this.phase = "closed";
    this.#expiry.stop();
    const open = this.endpoint.numStreams;
    const orphans = this.endpoint.end(why);
    this.#links?.halt();
    this.#events.over(why, orphans, open - orphans.length);
  }

  /** Has the session wait for a page that was put aside. Returns the batch that asks the bridge to wait as well; undefined if the bridge knows nothing of it (L6). */
  pause(): Batch | undefined {
    this.lose(() => true);
    if (!this.welcome) return undefined;
    this.#pauseWindow = Math.min(PAUSE, this.welcome.pauseMaxMillis);
    return this.#parting(this.#pauseWindow);
  }

  /**
   * Closes the session with a page that goes for good. Returns its last batch: all
   * that is unacked, then CLOSE; where that is more than a beacon takes, the
   * bridge frees the session because nobody comes within the window that the
   * batch asks for.
   */
  leave(why: SessionError): Batch | undefined {
    this.close();
    if (this.error) return undefined;
    const { out } = this.endpoint;
    out.markLost(() => true);
    const batch = this.#parting(LEFT);
    batch.frames = out.fill({ number: batch.x, kind: "oneShot" }, this.endpoint.now(), MAX_BEACON, Infinity);
    this.end(why);
    return batch;
  }

  /** Returns a batch whose answer is not awaited. */
  #parting(pauseMillis: number): Batch {
    const batch = this.header(this.newLink(), true);
    batch.pauseMillis = pauseMillis;
    return batch;
  }
}

function random(size: number): Uint8Array<ArrayBuffer> {
  return crypto.getRandomValues(new Uint8Array(size));
}
