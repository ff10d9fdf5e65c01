// The checks, one after the other. internal/netcheck/probe makes some of them for
// "bridge check", and sees more of TLS and proxies than a page can.

import { type Asker, type Kind, pause, type Reply, type Seen, checksum } from "./ask.js";
import { type Facts, inBytes, inRate, inTime, list, moving, rateOf } from "./report.js";

/** What earlier checks found, for later ones. */
export interface Found {
  readonly asker: Asker;
  /** What checks came to. */
  readonly outcomes: Map<string, string>;
  say(check: string, outcome: string, facts?: Facts): void;
  seen?: Seen;
  /** Milliseconds. */
  rtt: number;
  jitter: number;
  /** Round trip and rate of the WebSocket, for people. */
  ws: string;
  up: string;
  down: string;
  narrow: boolean;
}

/** Names that browsers add to requests themselves. */
const USUAL = /^(accept|accept-encoding|accept-language|cache-control|connection|content-length|content-type|cookie|dnt|host|origin|pragma|priority|referer|save-data|sec-.*|user-agent|x-requested-with)$/;

/** reach finds out whether requests get to the bridge at all. */
export async function reach(f: Found): Promise<boolean> {
  const p = await f.asker.tries(4, { ask: { seen: true } });
  const ours = p.headers.has("Pollbridge");
  const facts = { status: String(p.status), problem: p.problem };
  if (p.kind === "" && p.answer.seen) {
    f.seen = p.answer.seen;
    f.rtt = p.took;
    const http = versionOf(f);
    f.say("reach", http === "HTTP/1.0" ? "http10" : "ok", { http, rtt: inTime(p.took) });
    looks(f, p);
    return true;
  }
  if (p.kind === "told") f.say("reach", "busy", facts);
  else if (ours && p.status === 403) f.say("reach", "origin", facts);
  else if (ours && (p.status === 404 || p.status === 405)) f.say("reach", "off", facts);
  else if (p.status === 407 || p.status === 511) f.say("reach", "login", facts);
  else if (p.kind === "page" || p.kind === "stale") f.say("reach", "page", facts);
  else if (p.kind === "status") f.say("reach", "refused", facts);
  else if (p.kind === "mute") f.say("reach", "mute", facts);
  else f.say("reach", "unreachable", facts);
  return false;
}

/** Returns the version of HTTP from here to the next hop, where the browser tells. */
function versionOf({ asker, seen }: Found): string {
  const entries = performance.getEntriesByName?.(`${asker.way.base}/v1/check/echo`) ?? [];
  const hop = (entries.at(-1) as { nextHopProtocol?: string } | undefined)?.nextHopProtocol;
  if (hop === "h2") return "HTTP/2";
  if (hop === "h3") return "HTTP/3";
  return hop?.startsWith("http/") ? hop.toUpperCase() : (seen?.proto ?? "HTTP");
}

function looks(f: Found, first: Reply): void {
  const seen = f.seen!;
  const via = seen.via ? ` (Via: ${seen.via})` : "";
  const secure = f.asker.way.base.startsWith("https:");
  const version = versionOf(f);
  if (!secure) f.say("tls", "plain", { via });
  else if (!seen.tls) f.say("tls", "terminated", { via });
  else f.say("tls", version.slice(0, 6) === seen.proto.slice(0, 6) ? "unknown" : "hint", { via });

  const stripped = ["Cache-Control", "Pollbridge", "X-Content-Type-Options"].filter((name) => !first.headers.has(name));
  const added = seen.headers.filter((name) => !USUAL.test(name));
  if (seen.content_type !== "application/octet-stream") f.say("headers", "changed", { type: seen.content_type ?? "none" });
  else if (stripped.length > 0) f.say("headers", "stripped", { names: list(stripped) });
  else if (added.length > 0) f.say("headers", "added", { names: list(added) });
  else f.say("headers", "ok");

  const encoding = first.headers.get("Content-Encoding");
  f.say("encoding", encoding ? "compressed" : "ok", { encoding: encoding ?? "" });
}

const STEADY = 12;
const LATE = 1000; // what is late by more than this and 5 round trips is late

/** steady makes one request after the other: what strikes each nth shows. */
export async function steady(f: Found): Promise<void> {
  const replies: Reply[] = [];
  for (let i = 0; i < STEADY; i++) replies.push(await f.asker.send());
  const took = replies.filter((p) => p.kind === "").map((p) => p.took).sort((a, b) => a - b);
  const isLate = (ms: number): boolean => ms > LATE + 5 * took[0]!;
  const bad = new Map<Kind | "late", Reply[]>();
  for (const p of replies) {
    const kind = p.kind || (isLate(p.took) ? "late" : "");
    if (kind) bad.set(kind, [...(bad.get(kind) ?? []), p]);
  }
  const good = took.filter((ms) => !isLate(ms));
  if (good.length > 0) {
    f.rtt = good[good.length >> 1]!;
    f.jitter = good.at(-1)! - good[0]!;
  }
  const [worst] = [...bad].sort(([, a], [, b]) => b.length - a.length);
  const count = String(STEADY);
  if (!worst) return f.say("steady", "ok", { count });
  const [kind, those] = worst;
  const last = those.at(-1)!;
  const facts = { count, bad: String(those.length), status: String(last.status), problem: last.problem, longest: inTime(last.took) };
  if (kind === "status") f.say("steady", (await arrived(f, last.n)) ? "lost" : "refused", facts);
  else f.say("steady", kind === "eof" || kind === "short" ? "cut" : kind, facts);
}

async function arrived({ asker }: Found, n: number): Promise<boolean> {
  return (await asker.record())?.arrivals.some((a) => a.n === n) ?? false;
}

/** errors wants an error of the bridge's own. */
export async function errors(f: Found): Promise<void> {
  const p = await f.asker.tries(3, { ask: { status: 404 } });
  f.say("errors", p.kind === "" ? "ok" : "rewritten", { status: String(p.status) });
}

/** types sends each kind of body, and asks as a browser does before a page of another origin may. */
export async function types(f: Found): Promise<void> {
  const binary = Uint8Array.from({ length: 1024 }, (_, i) => i);
  const base64 = new TextEncoder().encode("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/".repeat(16));
  const passes = async (payload: Uint8Array<ArrayBuffer>, type?: "text/plain"): Promise<boolean> => {
    const p = await f.asker.tries(3, { payload, ...(type && { type }) });
    return p.kind === "" && p.answer.sum === checksum(payload);
  };
  if (!(await passes(binary))) return f.say("types", "binary");
  if (!(await passes(base64, "text/plain"))) return f.say("types", "text");
  let status = 0;
  for (let i = 0; i < 3 && status !== 204; i++) status = await preflight(f);
  f.say("types", status === 204 ? "ok" : "preflight", { status: String(status) });
}

async function preflight({ asker: { way } }: Found): Promise<number> {
  try {
    const { status } = await way.fetch(`${way.base}/v1/check/echo`, { method: "OPTIONS", cache: "no-store", signal: way.signal });
    return status;
  } catch {
    return 0;
  }
}

/** cache asks twice for what is never the same. */
export async function cache(f: Found): Promise<void> {
  const first = await nonce(f);
  f.say("cache", first && first === (await nonce(f)) ? "cached" : "ok");
}

async function nonce({ asker: { way } }: Found): Promise<string> {
  for (let i = 0; i < 3; i++) {
    try {
      const response = await way.fetch(`${way.base}/v1/check/nonce`, { cache: "no-store", credentials: way.credentials, signal: way.signal });
      const text = await response.text();
      if (response.status === 200 && text && !text.startsWith("<")) return text;
    } catch {
      // By chance: once more.
    }
  }
  return "";
}

const SIZES = [4, 16, 32, 64, 128, 256, 512, 1000].map((kib) => kib << 10);
const SLOW_BODY = 3000; // ends the growing: larger ones would tell nothing more
const NARROW = 40 << 10; // bytes a second

/** How far bodies could grow. */
interface Growth {
  passed: number;
  best: number;
  rate: string;
  narrow: boolean;
  slow: string;
  failed?: Reply;
  cut?: Reply;
}

async function grow(f: Found, send: (size: number) => Promise<Reply>, moved: (p: Reply) => number): Promise<Growth> {
  const g: Growth = { passed: 0, best: 0, rate: "?", narrow: false, slow: "" };
  for (const size of SIZES) {
    let p!: Reply;
    for (let i = 0; i < 3; i++) { // what fails, or is slow, once may be chance
      p = await send(size);
      if (p.kind === "cut") g.cut = p;
      if ((p.kind === "" && p.took < SLOW_BODY) || f.asker.way.signal.aborted) break;
    }
    if (p.kind) return { ...g, failed: p };
    g.passed = size;
    const spent = moving(p.took, f.rtt);
    const rate = rateOf(moved(p), spent);
    if (rate > g.best) [g.best, g.rate] = [rate, inRate(moved(p), spent)];
    g.narrow = g.best < NARROW && size >= 16 << 10;
    if (p.took > SLOW_BODY) return { ...g, slow: `; larger ones were not tried, because this took ${inTime(p.took)}` };
  }
  return g;
}

/** upload finds out how large a request's body may be. */
export async function upload(f: Found): Promise<void> {
  const payload = new Uint8Array(SIZES.at(-1)!);
  for (let at = 0; at < payload.length; at += 65_536) crypto.getRandomValues(payload.subarray(at, at + 65_536));
  const g = await grow(f, (size) => f.asker.send({ payload: payload.slice(0, size) }), (p) => p.sent);
  f.up = g.rate;
  f.narrow = g.narrow;
  const facts = { size: inBytes(g.passed), slow: g.slow, status: String(g.failed?.status ?? "") };
  if (!g.failed) f.say("upload", "ok", facts);
  else if (!g.passed) f.say("upload", "none", facts);
  else f.say("upload", g.failed.kind === "status" ? "status" : "reset", facts);
}

/** download finds out how large an answer may be. */
export async function download(f: Found): Promise<void> {
  const g = await grow(f, (size) => f.asker.send({ ask: { down: size } }), (p) => p.got);
  f.down = g.rate;
  f.narrow ||= g.narrow;
  const facts = { size: inBytes(g.passed), slow: g.slow, status: String(g.failed?.status ?? "") };
  if (g.cut) f.say("download", "cut", { ...facts, cut: g.cut.got ? inBytes(g.cut.got) : "a part of it" });
  else if (!g.failed) f.say("download", "ok", facts);
  else f.say("download", g.passed ? "status" : "none", facts);
}

const MANY = 10;
const FEW = 5;

/** parallel counts how many requests the bridge has at once. */
export async function parallel(f: Found): Promise<void> {
  const hold = Math.round(1500 + 2 * f.rtt);
  await Promise.all(Array.from({ length: MANY }, () => f.asker.send({ ask: { hold_ms: hold }, limit: 10_000 + MANY * hold })));
  const record = await f.asker.record();
  if (!record) return;
  const outcome = record.peak <= 1 ? "one" : record.peak < FEW ? "few" : "ok";
  f.say("parallel", outcome, { peak: String(record.peak) });
}

const PAIRS = 3;

/**
 * order sends pairs of requests, the second well after the first. One request
 * between the pairs lets what strikes every second one meet both of a pair.
 */
export async function order(f: Found): Promise<void> {
  const apart = Math.round(Math.max(500, 2 * f.rtt));
  const sent: [number, number][] = [];
  for (let i = 0; i < PAIRS; i++) {
    const first = f.asker.send({ ask: { hold_ms: 2 * apart } });
    await pause(apart, f.asker.way.signal);
    const second = await f.asker.send();
    sent.push([(await first).n, second.n]);
    await f.asker.send();
  }
  const arrivals = (await f.asker.record())?.arrivals ?? [];
  const at = (n: number): number => arrivals.findIndex((a) => a.n === n);
  // One that came long after was not held back for the other, but late.
  const overtaken = sent.some(([one, two]) => {
    const [i, k] = [at(one), at(two)];
    return i >= 0 && k >= 0 && k < i && arrivals[i]!.ms - arrivals[k]!.ms < apart;
  });
  f.say("order", overtaken ? "reordered" : "ok");
}

/** abort cancels a request and asks whether the bridge noticed. */
export async function abort(f: Found): Promise<void> {
  const apart = Math.round(300 + 2 * f.rtt);
  let came = false;
  for (let i = 0; i < 3; i++) {
    const { n } = await f.asker.send({ ask: { hold_ms: 10_000 }, signal: AbortSignal.timeout(apart) });
    await pause(2 * apart, f.asker.way.signal);
    const record = await f.asker.record();
    if (record?.gone.includes(n)) return f.say("abort", "ok");
    came ||= record?.arrivals.some((a) => a.n === n) ?? false;
  }
  f.say("abort", came ? "untold" : "unknown");
}

const LATE_COPY = 500;

/** copies asks at the end what came more than once. */
export async function copies(f: Found): Promise<void> {
  const record = await f.asker.record();
  if (!record) return f.say("copies", "unknown");
  const facts = { copies: String(record.copies), late: inTime(record.latest_ms) };
  f.say("copies", record.copies === 0 ? "ok" : record.latest_ms >= LATE_COPY ? "late" : "twice", facts);
}

const FAR = 250; // milliseconds: a round trip at which people notice

/** speed sums up. */
export function speed(f: Found): void {
  f.say("speed", f.narrow ? "narrow" : f.rtt >= FAR ? "far" : "ok", {
    rtt: inTime(f.rtt), jitter: inTime(f.jitter), up: f.up, down: f.down, ws: f.ws,
  });
}
