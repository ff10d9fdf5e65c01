// What unit tests share: a bridge under the test's control, and time.

import { mock, type TestContext } from "node:test";
import { Channel } from "./channel.js";
import type { ChannelOptions } from "./options.js";
import type { Carrier, Socket, SocketEvents } from "./dialer/carrier.js";
import { LinkError } from "./dialer/carrier.js";
import { Ladder, type Transport } from "./dialer/ladder.js";
import { Memory } from "./dialer/memory.js";
import { SessionError } from "./engine/errors.js";
import { Session } from "./dialer/session.js";
import { Stream } from "./engine/stream.js";
import type { Network } from "./tune/network.js";
import { base64, fromBase64 } from "./wire/base64.js";
import { type Batch, type Frame, type Open, TYPE_CLOSE, TYPE_END, TYPE_MESSAGE, TYPE_OPEN, type Welcome } from "./wire/batch.js";
import { encodeBatch, newBatch, parseBatch } from "./wire/codec.js";

export const INCARNATION = 0x1234567890abcdefn;

export const WELCOME: Welcome = {
  version: 1,
  release: "test",
  holdMillis: 25_000,
  resumeMillis: 120_000,
  pauseMaxMillis: 1_800_000,
  streamWindow: 64 << 10,
  sessionWindow: 1 << 20,
  maxMessageBytes: 16 << 20,
  maxBatchBytes: 1 << 20,
  maxMetadataBytes: 64 << 10,
  maxStreams: 4096,
  ignoresTokens: false,
  maxExchanges: 8,
};

/** Reports whether parseBatch has refused what is not a batch, rather than failed. */
export function isRefusal(err: unknown): boolean {
  const { message, code } = err as { message: string; code?: string };
  return message === "not a batch" || code === "ERR_ENCODING_INVALID_ENCODED_DATA" || (err instanceof RangeError && message.includes("outside the bounds"));
}

/** One exchange as the bridge sees it. */
export interface FakeExchange {
  batch: Batch;
  /** Whether it came as base64. */
  text: boolean;
  aborted: boolean;
  answer(fields?: Partial<Batch>): Promise<void>;
  /** Answers with any bytes. */
  garble(bytes: Uint8Array): Promise<void>;
  fail(error?: Error): Promise<void>;
}

/** One WebSocket as the bridge sees it. */
export interface FakeSocket {
  batches: Batch[];
  closed: boolean;
  open(): Promise<void>;
  say(fields?: Partial<Batch>): Promise<void>;
  /** Answers both pings of the probe. */
  prove(fields?: Partial<Batch>): Promise<void>;
  /** Loses it; draining: as a bridge closes it that takes no new sessions. */
  lose(draining?: boolean): Promise<void>;
}

/** FakeCarrier records what comes and lets the test answer. */
export class FakeCarrier implements Carrier {
  sendsOrigin: boolean = true;
  multiplexed: boolean = false;
  readonly exchanges: FakeExchange[] = [];
  readonly sockets: FakeSocket[] = [];
  readonly beacons: Batch[] = [];
  /** Whether each beacon came as base64. */
  readonly beaconForms: boolean[] = [];

  /** The exchanges that wait for an answer. */
  readonly waiting: Set<FakeExchange> = new Set();

  exchange(_sid: string, bytes: Uint8Array<ArrayBuffer>, signal: AbortSignal, text: boolean): Promise<Uint8Array> {
    const batch = parseBatch(bytes.slice());
    return new Promise((resolve, reject) => {
      const settle = async (what: () => void): Promise<void> => {
        this.waiting.delete(exchange);
        what();
        await flush();
      };
      const exchange: FakeExchange = {
        batch,
        text,
        aborted: false,
        answer: (fields = {}) => settle(() => resolve(encodeBatch(answerTo(batch, fields)))),
        garble: (raw) => settle(() => resolve(raw)),
        fail: (error = new LinkError("network", "refused")) => settle(() => reject(error)),
      };
      signal.addEventListener("abort", () => {
        exchange.aborted = true;
        this.waiting.delete(exchange);
        reject(new LinkError("network", "aborted"));
      });
      this.exchanges.push(exchange);
      this.waiting.add(exchange);
    });
  }

  beacon(_sid: string, bytes: Uint8Array<ArrayBuffer>, text: boolean): void {
    this.beaconForms.push(text);
    this.beacons.push(parseBatch(bytes.slice()));
  }

  dial(_sid: string, events: SocketEvents): Socket {
    const socket: FakeSocket = {
      batches: [],
      closed: false,
      open: () => (events.opened(), flush()),
      say: (fields = {}) => (events.received(encodeBatch(answerTo(socket.batches[0]!, fields))), flush()),
      async prove(fields = {}) {
        await socket.say({ pong: socket.batches[0]!.ping });
        const { ping, padding } = socket.batches.at(-1)!;
        await socket.say({ ...fields, pong: ping, padding: padding! });
      },
      lose: (draining) => (events.lost("lost", draining), flush()),
    };
    this.sockets.push(socket);
    return { send: (raw) => void socket.batches.push(parseBatch(raw.slice())), bufferedAmount: 0, close: () => (socket.closed = true) };
  }

  /** The latest exchange. */
  get last(): FakeExchange {
    return this.exchanges.at(-1)!;
  }
}

/** An answer to a batch; with a Welcome when Hello came. */
function answerTo(batch: Batch, fields: Partial<Batch>): Batch {
  const welcome = batch.hello && { welcome: WELCOME };
  return { ...newBatch(), session: batch.session!, x: batch.x, incarnation: INCARNATION, ...welcome, ...fields };
}

/** Lets everything run that waits for nothing but promises. */
export function flush(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Stops the clocks; the function returned lets time pass. */
export function stopClocks(t: TestContext): (millis: number) => Promise<void> {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  t.mock.method(performance, "now", () => Date.now());
  t.after(() => mock.timers.reset());
  return passTime;
}

async function passTime(millis: number): Promise<void> {
  mock.timers.tick(millis);
  await flush();
}

/** A whole short message from the bridge. */
export function messageFrame(seq: number, stream: number, data: Uint8Array): Frame {
  return { seq, stream, type: TYPE_MESSAGE, data, length: data.length };
}

export function endFrame(seq: number, stream: number, status = 0): Frame {
  const end = { status, message: "", details: new Uint8Array(0), trailers: [], origin: 0, reason: "" };
  return { seq, stream, type: TYPE_END, end };
}

export const OPEN: Open = {
  method: "/s/m",
  metadata: [],
  createdMicros: 0,
  compression: "",
  early: false,
  contentSubtype: "",
  waitForReady: false,
  singleRequest: false,
  singleResponse: false,
};

/** A session with links, and the far side of them. */
export interface Fixture {
  session: Session;
  ladder: Ladder;
  carrier: FakeCarrier;
  network: Network;
  lost: SessionError[];
  /** What the bridge asked for by go_away, in milliseconds. */
  away: number[];
  tick(millis: number): Promise<void>;
  /** Holds so many polls to their end, with nothing in their answers. */
  quiet(polls: number): Promise<void>;
  open(): Promise<Stream>;
}

/** A session with links; welcomed by default. Unless begun, the test starts it. network: what another one has learnt. */
export async function fixture(t: TestContext, transports: Transport[], welcomed = true, begun = true, network?: Network, sendsOrigin = true): Promise<Fixture> {
  const tick = network ? passTime : stopClocks(t);
  network ??= new Memory("test", undefined, 25_000).network;
  t.mock.method(Math, "random", () => 1);
  const lost: SessionError[] = [];
  const away: number[] = [];
  const carrier = new FakeCarrier();
  carrier.sendsOrigin = sendsOrigin;
  const session = new Session(
    { url: "http://bridge.test/bridge", known: false, release: "test", token: "", streamWindow: 64 << 10, maxMessageBytes: 16 << 20 },
    { changed: () => undefined, goAway: (spread) => away.push(spread), tokenExpired: () => undefined, tokenIgnored: () => undefined, over: (why) => lost.push(why) },
  );
  const ladder = new Ladder(session, carrier, transports, { holdMs: 25_000, backoff: undefined, network });
  if (begun) session.start(ladder);
  t.after(() => session.end(new SessionError("closed", "the test is over")));
  await flush();
  if (welcomed && transports.includes("longpoll")) {
    await carrier.last.answer();
    await tick(0); // a WebSocket is dialled
  }
  const open = async (): Promise<Stream> => {
    const stream = new Stream({ ...OPEN }, 64 << 10);
    session.adopt(stream);
    await flush();
    return stream;
  };
  const quiet = async (polls: number): Promise<void> => {
    for (let i = 0; i < polls; i++) {
      const { holdMillis } = carrier.last.batch;
      await tick(holdMillis);
      await carrier.last.answer({ ack: session.endpoint.out.acked, heldMicros: 1000 * holdMillis });
    }
  };
  return { session, ladder, carrier, network, lost, away, tick, quiet, open };
}

/** What a bridge says to a batch; undefined: it holds the exchange for ever. */
export type Bridge = (batch: Batch, url: string) => Partial<Batch> | Response | undefined;

/** A channel to a bridge that a function plays. */
export function channelTo(t: TestContext, bridge: Bridge, options: ChannelOptions = {}): Channel {
  const fake: typeof fetch = (url, init) =>
    new Promise((resolve, reject) => {
      init!.signal!.addEventListener("abort", () => reject(new Error("aborted")));
      const { body } = init!;
      const batch = parseBatch(typeof body === "string" ? fromBase64(body) : new Uint8Array(body as ArrayBuffer));
      const fields = bridge(batch, String(url));
      if (fields instanceof Response) resolve(fields);
      else if (fields) {
        const answer = encodeBatch({ ...newBatch(), session: batch.session!, x: batch.x, incarnation: INCARNATION, ...fields });
        resolve(new Response(typeof body === "string" ? base64(answer) : answer));
      }
    });
  const channel = new Channel("http://bridge.test", { transports: ["longpoll"], fetch: fake, ...options });
  t.after(() => channel.close());
  return channel;
}

/** Has channels of this test take the process for a page of that origin, as far as a location goes. */
export function asPage(t: TestContext, origin = "http://page.test"): void {
  Object.defineProperty(globalThis, "location", { value: new URL(origin), configurable: true });
  t.after(() => delete (globalThis as { location?: unknown }).location);
}

/** A bridge that welcomes, and answers each RPC with so many one-byte messages. */
export function echo(messages: number): Bridge {
  return (batch) => {
    if (batch.hello) return { welcome: WELCOME };
    if (batch.frames.some((f) => f.type === TYPE_CLOSE)) return { close: { code: 16, message: "", retryAfterMillis: 0, limit: 0 } };
    const open = batch.frames.find((f) => f.type === TYPE_OPEN);
    if (!open) return undefined;
    const frames = Array.from({ length: messages }, (_, i) => messageFrame(i + 1, open.stream, Uint8Array.of(i)));
    return { ack: batch.frames.at(-1)!.seq, frames: [...frames, endFrame(messages + 1, open.stream)] };
  };
}
