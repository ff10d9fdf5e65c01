// One request of a check: internal/netcheck/wire.go says what crosses.

import type { WebSocketConstructor } from "../dialer/carrier.js";
import { crc32c } from "../wire/crc.js";

export const FRAME_SIZE = 16;
export const PAD_SIZE: number = 64 << 10;
export const FRAME_GAP = 700;

/** How a request went; "" is fine. */
export type Kind = "" | "mute" | "eof" | "cut" | "status" | "page" | "short" | "stale" | "told";

/** What a request asks for. */
export interface Ask {
  hold_ms?: number;
  down?: number;
  status?: number;
  stream?: "frames" | "padded" | "drip";
  seen?: boolean;
  record?: boolean;
}

/** What a request looked like when it came. */
export interface Seen {
  readonly release: string;
  readonly proto: string;
  readonly tls?: string;
  readonly headers: readonly string[];
  readonly content_type?: string;
  readonly via?: string;
}

/** What the bridge has seen of a run. */
export interface RunRecord {
  readonly copies: number;
  readonly latest_ms: number;
  readonly peak: number;
  readonly arrivals: readonly { readonly n: number; readonly ms: number }[];
  readonly gone: readonly number[];
  readonly sockets: readonly { readonly n: number; readonly upgrade: boolean }[];
}

interface Answer {
  readonly run?: string;
  readonly n?: number;
  readonly sum?: number;
  readonly error?: string;
  readonly seen?: Seen;
  readonly record?: RunRecord;
}

/** How one request went. */
export interface Reply {
  kind: Kind;
  status: number;
  headers: Headers;
  answer: Answer;
  /** Bytes of the answer, and of the request. */
  got: number;
  sent: number;
  took: number;
  n: number;
  /** What went wrong, or the beginning of a foreign page. */
  problem: string;
}

/** A request that a check makes. */
export interface Request {
  ask?: Ask;
  payload?: Uint8Array<ArrayBuffer>;
  type?: "text/plain";
  /** Milliseconds beside the hold and the bodies. */
  limit?: number;
  signal?: AbortSignal;
}

export const ASK_LIMIT = 10_000;
const SLOWEST_RATE = 8 << 10; // bytes a second: below it a body has failed
const LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz";

/** What requests are made with. */
export interface Way {
  /** Of the bridge, up to the prefix. */
  readonly base: string;
  readonly fetch: typeof fetch;
  readonly WebSocket: WebSocketConstructor | undefined;
  readonly credentials: RequestCredentials;
  readonly signal: AbortSignal;
}

/** Asker makes the requests of one run. */
export class Asker {
  readonly way: Way;
  readonly run: string = Array.from(crypto.getRandomValues(new Uint8Array(22)), (b) => LETTERS[b % LETTERS.length]).join("");
  #count = 0;

  constructor(way: Way) {
    this.way = way;
  }

  /** Returns the number of the next request or WebSocket. */
  number(): number {
    return ++this.#count;
  }

  /** POSTs an ask; throws what fetch throws. */
  post(ask: Ask, n: number, signal: AbortSignal, payload?: Uint8Array<ArrayBuffer>, type?: string): { response: Promise<Response>; sent: number } {
    const line = new TextEncoder().encode(JSON.stringify({ run: this.run, n, ...ask }) + "\n");
    const body = new Uint8Array(line.length + (payload?.length ?? 0));
    body.set(line);
    if (payload) body.set(payload, line.length);
    const response = this.way.fetch(`${this.way.base}/v1/check/echo`, {
      method: "POST",
      headers: { "Content-Type": type ?? "application/octet-stream" },
      body,
      cache: "no-store",
      credentials: this.way.credentials,
      redirect: "manual",
      signal,
    });
    return { response, sent: body.length };
  }

  /** Makes one request. */
  async send({ ask = {}, payload, type, limit = ASK_LIMIT, signal }: Request = {}): Promise<Reply> {
    const n = this.number();
    const bytes = (payload?.length ?? 0) + (ask.down ?? 0);
    const late = AbortSignal.timeout(limit + (ask.hold_ms ?? 0) + (1000 * bytes) / SLOWEST_RATE);
    const signals = [late, this.way.signal, ...(signal ? [signal] : [])];
    const reply: Reply = { kind: "", status: 0, headers: new Headers(), answer: {}, got: 0, sent: 0, took: 0, n, problem: "" };
    const start = performance.now();
    try {
      const { response, sent } = this.post(ask, n, anyOf(signals), payload, type);
      reply.sent = sent;
      await this.#read(await response, reply, ask);
    } catch (error) {
      reply.kind = signals.some((s) => s.aborted) ? "mute" : reply.status ? "cut" : "eof";
      reply.problem = error instanceof Error ? error.message : String(error);
    }
    reply.took = performance.now() - start;
    return reply;
  }

  async #read(response: Response, reply: Reply, ask: Ask): Promise<void> {
    reply.status = response.status;
    reply.headers = response.headers;
    if (response.type === "opaqueredirect") {
      reply.kind = "page";
      reply.problem = "a redirect";
      return;
    }
    const body = new Uint8Array(await response.arrayBuffer());
    reply.got = body.length;
    const end = body.indexOf(10);
    const answer = end < 0 ? undefined : parse(body.subarray(0, end));
    if (answer) reply.answer = answer;
    if (answer?.error) {
      reply.kind = "told";
      reply.problem = answer.error;
    } else if (answer?.run === this.run && answer.n === reply.n && response.status === (ask.status ?? 200)) {
      if (body.length - end - 1 !== (ask.down ?? 0)) reply.kind = "cut";
    } else if (answer?.run) {
      reply.kind = "stale";
    } else if (response.status !== 200) {
      reply.kind = "status";
      reply.problem = glimpse(body);
    } else if (body.length === 0) {
      reply.kind = "short";
    } else if (text(body.subarray(0, 8)).startsWith('{"run":"'.slice(0, body.length))) {
      reply.kind = "cut";
    } else {
      reply.kind = "page";
      reply.problem = glimpse(body);
    }
  }

  /** Makes a request until it is fine, up to so many times. */
  async tries(times: number, request: Request): Promise<Reply> {
    for (;;) {
      const reply = await this.send(request);
      if (reply.kind === "" || reply.kind === "told" || --times === 0 || this.way.signal.aborted) return reply;
    }
  }

  /** Asks what the bridge has seen of the run. */
  async record(): Promise<RunRecord | undefined> {
    const { kind, answer } = await this.tries(4, { ask: { record: true } });
    return kind === "" ? answer.record : undefined;
  }
}

/** Does what AbortSignal.any does, which browsers before 2024 lack. */
function anyOf(signals: readonly AbortSignal[]): AbortSignal {
  const controller = new AbortController();
  for (const signal of signals) {
    if (signal.aborted) controller.abort(signal.reason);
    signal.addEventListener("abort", () => controller.abort(signal.reason), { once: true, signal: controller.signal });
  }
  return controller.signal;
}

/** The checksum that answers have. */
export const checksum = (data: Uint8Array): number => crc32c(data) >>> 0;

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

function parse(line: Uint8Array): Answer | undefined {
  try {
    const value: unknown = JSON.parse(text(line));
    return typeof value === "object" && value !== null ? (value as Answer) : undefined;
  } catch {
    return undefined;
  }
}

/** Returns the beginning of a page's text, without its tags. */
function glimpse(body: Uint8Array): string {
  const words = text(body.subarray(0, 512)).replace(/<[^>]*>/g, "\n").trim();
  return (words.split("\n")[0] ?? "").slice(0, 80);
}

/** Waits, but not beyond the signal. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
  });
}
