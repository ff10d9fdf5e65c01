// The engine as a part of the Go engine's simulation (internal/enginetest,
// TestSimJS): it gets what happens from stdin, a step a line, and answers each
// with what it does and when it wants to be woken. Bytes follow their line as they
// are. Time stands still meanwhile.

import { readSync, writeSync } from "node:fs";
import { type Carrier, type Socket, type SocketEvents, LinkError } from "../../src/dialer/carrier.js";
import { Ladder, type Transport } from "../../src/dialer/ladder.js";
import { Memory } from "../../src/dialer/memory.js";
import { bridgeEnd, CANCELLED, SessionError } from "../../src/engine/errors.js";
import { Session } from "../../src/dialer/session.js";
import { Stream } from "../../src/engine/stream.js";
import type { End, Metadatum } from "../../src/wire/batch.js";
import { advance, due, fire, install, reset } from "./clock.js";

/** What happens. id names an RPC, an exchange or a WebSocket; size is the length of data, which follows. */
interface Event {
  type: string;
  id: number;
  size: number | undefined;
  data: Uint8Array<ArrayBuffer>;
  text: string;
  seed: number;
  transports: Transport[];
  multiplexed: boolean;
  method: string;
  metadata: WireMetadatum[];
  singleRequest: boolean;
  singleResponse: boolean;
}

interface WireMetadatum {
  key: string;
  value: string;
}

interface Step {
  now: number;
  events: Event[];
}

const bytes = (data: string): Uint8Array<ArrayBuffer> => new Uint8Array(Buffer.from(data, "base64"));
const base64 = (data: Uint8Array): string => Buffer.from(data.buffer, data.byteOffset, data.length).toString("base64");
const pairs = (metadata: Metadatum[]): WireMetadatum[] => metadata.map(({ key, value }) => ({ key, value: base64(value) }));

const flush = ((immediate) => (): Promise<void> => new Promise((resolve) => immediate(() => resolve())))(setImmediate);

/** What lets readers go on in the next step, once its events were handled. */
let readers: (() => void)[] = [];
let out: object[] = [];
let outBytes: Uint8Array[] = [];
const say = (type: string, id: number, fields: object = {}): void => void out.push({ type, id, ...fields });
const sayBytes = (type: string, id: number, data: Uint8Array, fields: object = {}): void => {
  say(type, id, { size: data.length, ...fields });
  outBytes.push(data);
};

/** A carrier whose other end is in the simulation. */
class SimCarrier implements Carrier {
  readonly sendsOrigin = true;
  readonly multiplexed: boolean;
  readonly exchanges = new Map<number, { resolve: (body: Uint8Array) => void; reject: (why: Error) => void }>();
  readonly sockets = new Map<number, SocketEvents>();
  #next = 0;

  constructor(multiplexed: boolean) {
    this.multiplexed = multiplexed;
  }

  exchange(sid: string, batch: Uint8Array<ArrayBuffer>, signal: AbortSignal): Promise<Uint8Array> {
    const id = ++this.#next;
    sayBytes("exchange", id, batch, { text: sid });
    return new Promise((resolve, reject) => {
      this.exchanges.set(id, { resolve, reject });
      signal.addEventListener("abort", () => {
        if (this.exchanges.delete(id)) say("abort", id);
        reject(new LinkError("network", "aborted"));
      });
    });
  }

  beacon(): void {}

  dial(sid: string, events: SocketEvents): Socket {
    const id = ++this.#next;
    this.sockets.set(id, events);
    say("dial", id, { text: sid });
    return {
      bufferedAmount: 0,
      send: (batch) => sayBytes("write", id, batch),
      close: () => {
        if (this.sockets.delete(id)) say("hangup", id);
      },
    };
  }
}

/** A small seeded generator. */
function mulberry32(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One simulated session. */
class Simulated {
  readonly carrier: SimCarrier;
  readonly session: Session;
  readonly ladder: Ladder;
  readonly #rpcs = new Map<number, Stream>();

  constructor({ transports, multiplexed }: Event) {
    this.carrier = new SimCarrier(multiplexed);
    this.session = new Session(
      { url: "http://bridge.test/bridge", known: false, release: "sim", token: "", streamWindow: 64 << 10, maxMessageBytes: 16 << 20 },
      {
        changed: () => undefined,
        goAway: () => undefined,
        tokenExpired: () => undefined,
        tokenIgnored: () => undefined,
        over: (why, orphans) => {
          say("over", 0, { reason: why.reason, text: why.message });
          for (const stream of orphans) stream.finish(bridgeEnd(14, why.reason, why.message));
        },
      },
    );
    this.ladder = new Ladder(this.session, this.carrier, transports, {
      holdMs: 25_000,
      backoff: undefined,
      network: new Memory("sim", undefined, 25_000).network,
    });
    this.session.start(this.ladder);
  }

  handle(event: Event): void {
    const { type, id, data, text } = event;
    const exchange = this.carrier.exchanges.get(id);
    const socket = this.carrier.sockets.get(id);
    const stream = this.#rpcs.get(id);
    switch (type) {
      case "open":
        return this.#open(event);
      case "send":
        return void stream?.send(data).then(() => say("sent", id));
      case "closeSend":
        return stream?.closeSend();
      case "cancel":
        return stream?.giveUp(bridgeEnd(CANCELLED, "cancelled", "cancelled by the caller"));
      case "answer":
        this.carrier.exchanges.delete(id);
        return exchange?.resolve(data);
      case "failed":
        this.carrier.exchanges.delete(id);
        return exchange?.reject(new LinkError("network", text));
      case "opened":
        return socket?.opened();
      case "received":
        return socket?.received(data);
      case "lost":
        this.carrier.sockets.delete(id);
        return socket?.lost(text);
      case "kill":
        return this.ladder.drop();
      case "forget":
        return this.ladder.retryNow(true);
      case "close":
        return this.session.close();
      case "dump":
        return say("dump", 0, { text: this.#dump() });
      case "stop":
        return this.session.end(new SessionError("closed", "the simulation is over"));
    }
    throw new Error(`event ${type}`);
  }

  #open({ id, method, metadata, singleRequest, singleResponse }: Event): void {
    const request = {
      method,
      metadata: metadata.map(({ key, value }) => ({ key, value: bytes(value) })),
      createdMicros: 0,
      compression: "",
      early: false,
      contentSubtype: "",
      waitForReady: false,
      singleRequest,
      singleResponse,
    };
    const stream = new Stream(request, 64 << 10);
    this.#rpcs.set(id, stream);
    void stream.headers.then((headers) => say("headers", id, { metadata: pairs(headers) }));
    void this.#receive(id, stream);
    this.session.adopt(stream);
  }

  /** Reads all messages. The last one that is there is consumed in the next step: whoever reads it may send something first. */
  async #receive(id: number, stream: Stream): Promise<void> {
    for (let message = await stream.recv(); message; message = await stream.recv()) {
      sayBytes("message", id, message);
      if (this.session.endpoint.unread === 1) await new Promise<void>((resolve) => readers.push(resolve));
    }
    const end: End = stream.status!;
    say("end", id, { end: { ...end, details: base64(end.details), trailers: pairs(end.trailers) } });
    this.#rpcs.delete(id);
  }

  #dump(): string {
    const { session: s, ladder, carrier } = this;
    const { out, inbox } = s.endpoint;
    return JSON.stringify({
      phase: s.phase, error: s.error?.message, lastError: s.lastError?.message, transport: ladder.transport, preferred: s.preferred,
      open: s.endpoint.numStreams, latestLink: s.latestLink, acked: out.acked, lastSeq: out.lastSeq, sendable: out.sendable, taken: inbox.taken, lacks: inbox.hasGap,
      exchanges: [...carrier.exchanges.keys()], sockets: [...carrier.sockets.keys()], now: s.endpoint.now(), due: due(),
    });
  }
}

/** What was read of stdin and not used. */
let unread = Buffer.alloc(0);

/** Reads more of stdin, waiting for it: nothing else may go on meanwhile. False at its end. */
function readMore(): boolean {
  const chunk = Buffer.allocUnsafe(1 << 18);
  const n = readSync(0, chunk);
  unread = Buffer.concat([unread, chunk.subarray(0, n)]);
  return n > 0;
}

/** Takes the next bytes. */
function take(size: number): Uint8Array<ArrayBuffer> {
  while (unread.length < size && readMore());
  const taken = new Uint8Array(unread.subarray(0, size));
  unread = unread.subarray(size);
  return taken;
}

/** Takes the next line; undefined at the end. */
function takeLine(): string | undefined {
  while (unread.indexOf(10) < 0) if (!readMore()) return undefined;
  return Buffer.from(take(unread.indexOf(10) + 1)).toString();
}

/** Reads the steps, each with its bytes. */
function* steps(): Generator<Step> {
  for (let line = takeLine(); line !== undefined; line = takeLine()) {
    const step = JSON.parse(line) as Step;
    for (const event of step.events) event.data = take(event.size ?? 0);
    yield step;
  }
}

function write(line: string, data: Uint8Array[]): void {
  const buffer = Buffer.concat([Buffer.from(line + "\n"), ...data]);
  for (let at = 0; at < buffer.length;) at += writeSync(1, buffer, at);
}

/** Begins another session, with the clock and the dice of its seed. */
function start(event: Event, now: number): Simulated {
  reset(now);
  const random = mulberry32(event.seed);
  Math.random = random;
  crypto.getRandomValues = (array) => {
    new Uint8Array(array!.buffer).forEach((_, i, all) => (all[i] = 256 * random()));
    return array;
  };
  return new Simulated(event);
}

install();
let simulated: Simulated | undefined;
for (const { now, events } of steps()) {
  advance(now);
  const waiting = readers;
  readers = [];
  for (const event of events) {
    if (event.type === "start") simulated = start(event, now);
    else simulated!.handle(event);
    await flush();
  }
  for (const resume of waiting) resume();
  await flush();
  while (fire()) await flush();
  write(JSON.stringify({ due: readers.length > 0 ? now + 1e-6 : due(), out }), outBytes);
  out = [];
  outBytes = [];
}
