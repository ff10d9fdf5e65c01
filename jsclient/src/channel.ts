import { type Bytes, tag } from "./args.js";
import { Call, type CallOptions, newOpen } from "./call.js";
import { LinkError } from "./dialer/carrier.js";
import type { LinkConfig } from "./dialer/exchanges.js";
import { type Explanation, HttpCarrier } from "./dialer/http.js";
import { Ladder, type Transport } from "./dialer/ladder.js";
import { watchLife } from "./dialer/life.js";
import { Memory, pageStorage } from "./dialer/memory.js";
import type { Outage } from "./dialer/outage.js";
import { Session } from "./dialer/session.js";
import { pageless } from "./dialer/url.js";
import { bridgeEnd, CANCELLED, lossEnd, SessionError } from "./engine/errors.js";
import { Stream } from "./engine/stream.js";
import { type ChannelEvent, type ChannelEventMap, type ChannelListener, type ErrorReason, type Happening, LostEvent, ResumedEvent, RetryingEvent, type State, StateChangeEvent } from "./events.js";
import { checkGlobals, EventTargetBase } from "./globals.js";
import type { ChannelLike, UnaryResponse } from "./like.js";
import { loggerOf } from "./log.js";
import { type ChannelOptions, checkChannelOptions } from "./options.js";
import { type Backoff, newRetry } from "./tune/backoff.js";
import type { Network } from "./tune/network.js";
import type { Open } from "./wire/batch.js";

/** The first window of a stream towards the client, in bytes. */
const STREAM_WINDOW = 64 << 10;
/** How many sessions an RPC outlives that may be sent again. */
const MAX_SESSIONS = 3;
/** A lost session that lived for so many milliseconds is replaced soon. */
const LONG_LIFE = 10_000;
/** Reasons that take even RPCs with a session of which nothing was sent: another one would hardly fare better. */
const HOPELESS: ReadonlySet<string> = new Set(["unreachable", "unauthenticated", "internal"]);
/** How many events are kept. */
const MAX_EVENTS = 200;

/** The client's release, stated in the Hello. */
const RELEASE = "pollbridge-js/0.2.0";

/** Waiter is one call of ready. */
interface Waiter {
  resolve(): void;
  reject(why: SessionError): void;
}

/** What EventTarget says of its listeners, with the channel's events. */
export interface Channel {
  addEventListener<Type extends keyof ChannelEventMap>(type: Type, listener: ChannelListener<Type> | null, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<Type extends keyof ChannelEventMap>(type: Type, listener: ChannelListener<Type> | null, options?: boolean | EventListenerOptions): void;
}

/**
 * Channel calls gRPC services through a bridge. It keeps one session, repairs
 * its links, and replaces it when it is lost. It dispatches "statechange" when
 * state, transport or the reason of lastError have changed; once in an outage
 * "retrying", then "resumed" when the session goes on, or "lost" when it could not
 * be kept.
 */
export class Channel extends EventTargetBase implements ChannelLike {
  /** The bridge's URL with its prefix, without a slash at the end. */
  readonly url: string;
  readonly #carrier: HttpCarrier;
  readonly #options: ChannelOptions;
  readonly #transports: readonly Transport[];
  readonly #backoff: Backoff;
  readonly #memory: Memory;
  readonly #links: LinkConfig;
  readonly #events: ChannelEvent[] = [];
  readonly #logger: ((event: ChannelEvent) => void) | undefined;
  /** Every session that lives, with its links: the current one and those that finish their RPCs. */
  readonly #sessions = new Map<Session, Ladder>();
  #current: Session | undefined;
  #state: State = "connecting";
  #transport: Transport | undefined;
  #lastError: SessionError | LinkError | undefined;
  /** Why the channel is closed for good; undefined: it is not. */
  #final: SessionError | undefined;
  /** A bridge was there. */
  #known = false;
  /** The session that has an outage, and since when, on the clock of performance.now. */
  #outage: { session: Session; since: number } | undefined;
  /** Who waits in ready. */
  readonly #waiters = new Set<Waiter>();
  /** Starts the session that is put off. */
  #startNow: (() => void) | undefined;
  /** No session is opened before, on the clock of performance.now (E3). */
  #notBefore = 0;
  /** Ends following the life of the page: done while there is a session. */
  #unfollow: (() => void) | undefined;

  /**
   * Makes a channel to the bridge at url; a url without a path means the prefix
   * /bridge. One that is relative needs a page: on a server the channel does
   * nothing, and every RPC ends UNAVAILABLE. Throws TypeError for a bad url or
   * option, and where the engine lacks what a client needs, naming it.
   */
  constructor(url: string | URL, options: ChannelOptions = {}) {
    checkGlobals();
    super();
    this.#options = options = checkChannelOptions(options);
    this.#logger = loggerOf(options.logger);
    this.#carrier = new HttpCarrier(url, options, (why) => this.#explained(why));
    this.url = this.#carrier.base.slice(0, -"/v1/".length);
    const { storage = pageStorage(), holdMs = 25_000, backoff } = options;
    this.#memory = new Memory("pollbridge " + this.#carrier.base, storage ?? undefined, holdMs);
    this.#links = { holdMs, backoff, network: this.#memory.network };
    this.#backoff = newRetry(backoff);
    this.#transports = this.#choose(options.transports ?? ["longpoll", "ws"]);
    const nowhere = pageless(this.url);
    if (nowhere) this.#final = new SessionError("unreachable", nowhere);
    else if (!options.lazy) this.#ensure(0);
  }

  #choose(wanted: readonly Transport[]): readonly Transport[] {
    if (!wanted.includes("longpoll") && this.#options.headers) throw new TypeError('option headers: a WebSocket carries none; use auth or cookies, or add "longpoll" to transports');
    if (this.#carrier.WebSocket) return wanted;
    if (!wanted.includes("longpoll")) throw new TypeError("no WebSocket class: give one in the option WebSocket");
    return ["longpoll"];
  }

  get state(): State {
    return this.#state;
  }

  /** The transport that carries messages now; undefined while none does. */
  get transport(): Transport | undefined {
    return this.#transport;
  }

  /** Round-trip time to the bridge in milliseconds, smoothed; undefined before it was measured. */
  get rtt(): number | undefined {
    return this.#current?.endpoint.path.smoothedRTT || undefined;
  }

  /** The latest error of a link or a session, whether or not it was mended since; undefined: none yet. */
  get lastError(): SessionError | LinkError | undefined {
    return this.#lastError;
  }

  /** What is known of the tries of a session that is retrying, or connecting and has failed to; undefined: all is well. */
  get outage(): Outage | undefined {
    return this.#current?.outage;
  }

  /** What was learnt of the network. */
  get network(): Readonly<Network> {
    return { ...this.#memory.network };
  }

  /** The latest 200 events, oldest first. */
  get events(): readonly ChannelEvent[] {
    return [...this.#events];
  }

  /** Returns what a support ticket needs, for JSON.stringify(channel). */
  toJSON(): object {
    const { state, transport, rtt, network, events } = this;
    return { release: RELEASE, bridge: this.#carrier.base, page: globalThis.location?.origin, agent: globalThis.navigator?.userAgent, state, transport, rtt, network, events };
  }

  /**
   * Starts an RPC of any kind: path is "/package.Service/Method". Throws
   * TypeError for a path or metadata that gRPC forbids, and for options that
   * are unknown or of another type; everything else that goes wrong is the
   * call's status.
   */
  open(path: string, options: CallOptions = {}): Call {
    return new Call(this.#stream(newOpen(path, options)), options);
  }

  /** Makes a unary RPC. Rejects with a StatusError unless it ends OK with one message, and with TypeError for what open and send throw it for. */
  async unary(path: string, message: Bytes, options: CallOptions = {}): Promise<UnaryResponse> {
    const call = this.open(path, { ...options, singleRequest: true, singleResponse: true });
    try {
      void call.send(message);
    } catch (err) {
      call.cancel(); // nothing of it was sent
      throw err;
    }
    call.closeSend();
    const response = await call.messages.next();
    return { message: response.value!, headers: await call.headers, trailers: (await call.status).trailers };
  }

  /** Closes the channel for good: open RPCs end with CANCELLED. May be called again. */
  close(): void {
    if (this.#final?.reason === "closed") return;
    this.#final = new SessionError("closed", "the channel was closed");
    this.#startNow = undefined;
    this.#carrier.close();
    for (const session of this.#sessions.keys()) session.close();
    this.#current = undefined;
    this.#changed();
  }

  /** Tries at once what waits for its next try, as a page does that comes back. */
  retryNow(): void {
    if (this.#final) return;
    this.#backoff.reset();
    this.#ensure(0);
    this.#startNow?.();
    for (const [session, ladder] of this.#sessions) if (session.started) ladder.retryNow(true);
  }

  /**
   * Resolves once the channel is open; opens a session if there is none. Rejects
   * with the signal's reason when that aborts, and with a SessionError when the
   * channel is closed or its bridge cannot be reached.
   */
  ready({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      if (this.#final) return reject(this.#final);
      const session = this.#ensure(0);
      if (session.phase === "open") return resolve();
      const abort = (): void => {
        this.#waiters.delete(waiter);
        reject(signal!.reason);
      };
      const done = (): void => signal?.removeEventListener("abort", abort);
      const waiter = { resolve: () => (done(), resolve()), reject: (why: SessionError) => (done(), reject(why)) };
      signal?.addEventListener("abort", abort);
      this.#waiters.add(waiter);
    });
  }

  /** Lets go of all who wait in ready. */
  #settle(how: (waiter: Waiter) => void): void {
    for (const waiter of this.#waiters) how(waiter);
    this.#waiters.clear();
  }

  /** Cuts every link at once, as a failing network would. For tests and demonstrations. */
  disrupt(): void {
    for (const ladder of this.#sessions.values()) ladder.drop();
  }

  #stream(open: Open): Stream {
    const again = this.#options.resendIdempotent && open.early && open.singleRequest;
    const stream = new Stream(open, STREAM_WINDOW, again ? MAX_SESSIONS : 0);
    if (this.#logger) void stream.ended.then(({ status, reason }) => this.#rpcEnded(stream, status, reason));
    if (this.#final) stream.finish(finalEnd(this.#final));
    else this.#ensure(0).adopt(stream);
    return stream;
  }

  /** Returns the session for new RPCs; opens one, after a delay in milliseconds, if there is none. */
  #ensure(delay: number): Session {
    if (this.#current?.started) this.#current.expired(); // its timer may be late
    return (this.#current ??= this.#openSession(Math.max(delay, this.#notBefore - performance.now())));
  }

  #openSession(delay: number): Session {
    const config = {
      url: this.url,
      known: this.#known,
      release: RELEASE,
      token: "",
      streamWindow: STREAM_WINDOW,
      maxMessageBytes: this.#options.maxMessageBytes ?? 16 << 20,
    };
    this.#memory.expire();
    const session: Session = new Session(config, {
      changed: () => this.#changed(),
      over: (why, orphans, ended) => this.#lost(session, why, orphans, ended),
      tokenExpired: () => void this.#renew(session),
      tokenIgnored: () => this.#tokenIgnored(session),
      goAway: (spread) => this.#goAway(session, spread),
    });
    const ladder = new Ladder(session, this.#carrier, this.#transports, this.#links);
    this.#log({ type: "session", session: session.sid });
    this.#sessions.set(session, ladder);
    this.#follow();
    if (delay <= 0) {
      void this.#start(session, ladder);
      return session;
    }
    const start = (): void => {
      clearTimeout(timer);
      this.#startNow = undefined;
      void this.#start(session, ladder);
    };
    const timer = setTimeout(start, delay);
    this.#startNow = start;
    return session;
  }

  /** Follows the life of the page while there are sessions. */
  #follow(): void {
    const note = (reason: "paused" | "left" | "woken"): Ladder[] => {
      this.#log({ type: "page", reason });
      this.#memory.save();
      return [...this.#sessions.values()];
    };
    this.#unfollow ??= watchLife({
      paused: () => note("paused").forEach((ladder) => ladder.pause()),
      left: () => {
        const why = (this.#final ??= new SessionError("closed", "the page was left"));
        note("left").forEach((ladder) => ladder.leave(why));
      },
      woken: (network) => note("woken").forEach((ladder) => ladder.retryNow(network)),
    });
  }

  /** Notes what was found out about links that came to nothing. Where WebSockets alone are used it is what ends a session that never was open, as no request does. */
  #explained(why: Explanation): void {
    const session = this.#current;
    if (!session) return;
    const alone = !this.#transports.includes("longpoll");
    if (alone && why instanceof LinkError) session.linkFailed(why);
    else if (alone && !session.welcome) session.end(why as SessionError);
    else session.note(why);
  }

  /** Asks for another token, for a session whose own has expired (O5). */
  async #renew(session: Session): Promise<void> {
    const { auth } = this.#options;
    if (!auth) return;
    try {
      if (await session.renew(() => credential(auth))) this.#log({ type: "auth", session: session.sid, ignored: false });
    } catch (err) {
      session.note(noCredential(err));
    }
  }

  /** Tells of a credential that the bridge looks at no more than anybody else (O5). */
  #tokenIgnored(session: Session): void {
    const told = this.#events.some((event) => event.type === "auth" && event.ignored);
    if (!told) console.warn(`pollbridge: the bridge at ${this.url} ignores what auth gives; RPCs take credentials as metadata`);
    this.#log({ type: "auth", session: session.sid, ignored: true });
  }

  async #start(session: Session, ladder: Ladder): Promise<void> {
    if (session.error) return;
    const { auth } = this.#options;
    try {
      const token = auth && (await Promise.resolve().then(() => credential(auth)));
      if (!session.error) session.start(ladder, token);
    } catch (err) {
      session.end(noCredential(err));
    }
  }

  #lost(session: Session, why: SessionError, orphans: Stream[], ended: number): void {
    this.#sessions.delete(session);
    if (this.#sessions.size === 0) {
      this.#unfollow?.();
      this.#unfollow = undefined;
    }
    this.#log({ type: "session", session: session.sid, ...factsOf(why) });
    const wasCurrent = this.#current === session;
    if (wasCurrent) this.#current = undefined;
    if (why.reason === "version" || why.reason === "origin") this.#final ??= why;
    // What the browser forbids keeps its own reason.
    if (why.reason !== "closed") this.#lastError = why.cause instanceof LinkError && !why.cause.status ? why.cause : why;
    const hopeless = this.#final ?? (HOPELESS.has(why.reason) ? why : undefined);
    if (hopeless) for (const stream of orphans) stream.finish(lossEnd(hopeless, stream.resent));
    if (hopeless) this.#settle((waiter) => waiter.reject(hopeless));
    if (!this.#final && wasCurrent) this.#replace(session, why, hopeless ? [] : orphans);
    else if (!hopeless) this.#adopt(orphans);
    this.#changed();
    if (why.reason !== "closed") this.dispatchEvent(new LostEvent(why, hopeless ? ended + orphans.length : ended));
  }

  /** Opens another session if somebody waits for one, or is to find one open. */
  #replace(session: Session, why: SessionError, orphans: Stream[]): void {
    const eager = !this.#options.lazy && why.reason !== "expired" && why.reason !== "unauthenticated" && !why.cause;
    if (orphans.length === 0 && !eager) return;
    if (session.welcome && session.endpoint.now() > LONG_LIFE) this.#backoff.reset();
    this.#ensure(this.#backoff.next(false, orphans.length === 0));
    this.#adopt(orphans);
  }

  /** Moves RPCs that can go on to the session for new ones. */
  #adopt(orphans: Stream[]): void {
    for (const stream of orphans) this.#ensure(0).adopt(stream);
  }

  /** Moves new RPCs to another session, as the bridge asked, opened within spread milliseconds (E3). */
  #goAway(session: Session, spread: number): void {
    if (this.#current !== session) return;
    this.#current = undefined;
    this.#notBefore = performance.now() + Math.random() * spread;
    const orphans = session.endpoint.handOver();
    if (!this.#options.lazy) this.#ensure(0);
    this.#adopt(orphans);
    session.retire();
  }

  #changed(): void {
    const session = this.#current;
    this.#known ||= !!session?.welcome;
    const state = this.#final ? "closed" : (session?.phase ?? this.#state);
    const transport = state === "open" && session ? this.#sessions.get(session)?.transport : undefined;
    const lastError = session?.lastError ?? this.#lastError;
    if (this.#memory.save()) this.#log({ type: "network", network: this.network });
    const failed = lastError !== undefined && lastError !== this.#lastError;
    // The log has each failure; listeners hear of an outage once.
    const sameReason = lastError?.reason === this.#lastError?.reason || state === "retrying";
    const same = sameReason && state === this.#state && transport === this.#transport;
    if (failed) this.#log({ type: "error", ...factsOf(lastError) });
    if (state !== this.#state || transport !== this.#transport) this.#log({ type: "state", state, transport });
    this.#state = state;
    this.#transport = transport;
    this.#lastError = lastError;
    if (same) return;
    const well = state === "open" || state === "connecting";
    this.dispatchEvent(new StateChangeEvent(state, transport, well ? "" : (this.#final ?? lastError)?.reason ?? ""));
    if (state !== "retrying" || !session?.outage) return this.#outageOver(state, session);
    this.#outage = { session, since: performance.now() };
    this.dispatchEvent(new RetryingEvent(session.outage));
  }

  #outageOver(state: State, session: Session | undefined): void {
    if (state === "open") this.#settle((waiter) => waiter.resolve());
    if (this.#final) this.#settle((waiter) => waiter.reject(this.#final!));
    const outage = this.#outage;
    this.#outage = undefined;
    if (state === "open" && outage && outage.session === session) this.dispatchEvent(new ResumedEvent(performance.now() - outage.since));
  }

  #rpcEnded({ request, createdAt, sentBytes, receivedBytes }: Stream, code: number, reason: string): void {
    const ms = performance.now() - createdAt;
    this.#logger!({ at: Date.now(), type: "rpc", method: request.method, code, reason, ms, sentBytes, receivedBytes, transport: this.#transport });
  }

  #log(what: Happening): void {
    const event: ChannelEvent = { at: Date.now(), ...what };
    if (this.#events.push(event) > MAX_EVENTS) this.#events.shift();
    this.#logger?.(event);
  }
}

/** Returns what an event says of an error: what was said about a credential, or headers, may hold it. */
function factsOf({ reason, message }: SessionError | LinkError): { reason: ErrorReason; message?: string } {
  return reason === "unauthenticated" || reason === "headers" ? { reason } : { reason, message };
}

/** Returns what auth gives. Rejects where that is no text. */
async function credential(auth: () => string | Promise<string>): Promise<string> {
  const token: unknown = await auth();
  if (typeof token !== "string") throw new TypeError(`auth must return text, not ${tag(token)}`);
  return token;
}

function noCredential(err: unknown): SessionError {
  return new SessionError("unauthenticated", `no credential: ${String(err)}`);
}

/** Returns the end of an RPC on a channel that is closed for good. */
function finalEnd(why: SessionError): ReturnType<typeof bridgeEnd> {
  return why.reason === "closed" ? bridgeEnd(CANCELLED, why.reason, why.message) : lossEnd(why, false);
}
