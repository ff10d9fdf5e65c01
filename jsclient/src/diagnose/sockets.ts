// What becomes of WebSockets, of answers in pieces, and of long waits.

import { ASK_LIMIT, FRAME_GAP, FRAME_SIZE, PAD_SIZE, pause, type Reply } from "./ask.js";
import type { Found } from "./checks.js";
import { inRate, inTime, moving } from "./report.js";

const SUBPROTOCOL = "pollbridge.v1";
const DIAL_TRIES = 4;
/** A WebSocket without a first echo for so long, and for so many round trips, is mute: sessions wait for 3 s and 4. */
const MUTE = 5_000;
const MUTE_TRIPS = 10;

/** An open WebSocket to the bridge's echo. */
interface EchoSocket {
  /** Resolves with what came back, undefined if nothing did in time. */
  echo(message: Uint8Array<ArrayBuffer>, limit?: number): Promise<Uint8Array | undefined>;
  close(): void;
}

interface Dialled {
  readonly socket?: EchoSocket;
  readonly n: number;
  readonly mute: boolean;
  readonly took: number;
}

function dialOnce({ asker }: Found): Promise<Dialled> {
  const n = asker.number();
  const start = performance.now();
  const url = `ws${asker.way.base.slice("http".length)}/v1/check/ws?run=${asker.run}&n=${n}`;
  return new Promise((resolve) => {
    const over = (mute: boolean): void => resolve({ n, mute, took: performance.now() - start });
    const socket = new asker.way.WebSocket!(url, [SUBPROTOCOL]);
    let take: ((message: Uint8Array | undefined) => void) | undefined;
    socket.binaryType = "arraybuffer";
    const timer = setTimeout(() => (over(true), socket.close()), ASK_LIMIT);
    socket.onmessage = ({ data }: { data: unknown }) => take?.(data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array());
    socket.onerror = () => undefined; // close follows
    let closed = false;
    socket.onclose = () => ((closed = true), clearTimeout(timer), take?.(undefined), over(false));
    socket.onopen = () => {
      clearTimeout(timer);
      const echo: EchoSocket["echo"] = (message, limit = ASK_LIMIT) =>
        new Promise((done) => {
          const late = setTimeout(() => take?.(undefined), limit);
          take = (back) => (clearTimeout(late), (take = undefined), done(back));
          if (closed) take(undefined); // send would say nothing
          else socket.send(message);
        });
      resolve({ n, mute: false, took: performance.now() - start, socket: { echo, close: () => socket.close() } });
    };
  });
}

/** Tries a few times: a network may lose some handshakes only. */
async function dial(f: Found): Promise<Dialled> {
  for (let i = 1; ; i++) {
    const d = await dialOnce(f);
    if (d.socket || d.mute || i === DIAL_TRIES || f.asker.way.signal.aborted) return d;
  }
}

const equal = (a: Uint8Array, b: Uint8Array | undefined): boolean => a.length === b?.length && a.every((byte, i) => byte === b[i]);

/** websocket opens one and has messages echoed, from tiny to large, with every value that a byte can have. */
export async function websocket(f: Found): Promise<void> {
  if (!f.asker.way.WebSocket) return f.say("websocket", "none");
  let d = await dialOnce(f);
  for (let i = 1; !d.socket; i++) {
    const outcome = await refusal(f, d);
    if (outcome !== "refused" || i === DIAL_TRIES || f.asker.way.signal.aborted) return f.say("websocket", outcome, { status: "" });
    d = await dialOnce(f);
  }
  const { socket } = d;
  const rtt = await trip(socket, Math.max(MUTE, MUTE_TRIPS * f.rtt));
  if (rtt === undefined) {
    socket.close();
    return f.say("websocket", "mute");
  }
  const values = Uint8Array.from({ length: 256 }, (_, i) => i);
  const large = Uint8Array.from({ length: 64 << 10 }, (_, i) => i ^ (i >> 8));
  let outcome = "ok";
  let took = 0;
  for (const message of [values, large]) {
    const start = performance.now();
    const back = await socket.echo(message, 2 * ASK_LIMIT);
    took = performance.now() - start;
    if (equal(message, back)) continue;
    outcome = back ? "changed" : "breaks";
    break;
  }
  f.say("websocket", outcome, { opened: inTime(d.took), problem: "the browser does not say why" });
  if (outcome === "ok") f.ws = await pace(socket, rtt, inRate(2 * large.length, moving(took, rtt)));
  socket.close();
}

/** Returns how long a tiny echo took, in milliseconds; undefined if it did not come. */
async function trip(socket: EchoSocket, limit?: number): Promise<number | undefined> {
  const start = performance.now();
  return (await socket.echo(Uint8Array.of(0), limit)) && performance.now() - start;
}

const PINGS = 4;

/** Returns what a row says of a WebSocket's round trip, its variation and its rate; rtt is one round trip, in milliseconds. */
async function pace(socket: EchoSocket, rtt: number, rate: string): Promise<string> {
  const trips = [rtt];
  for (let i = 0; i < PINGS; i++) {
    const one = await trip(socket);
    if (one === undefined) break;
    trips.push(one);
  }
  trips.sort((a, b) => a - b);
  return `; on WebSocket ${inTime(trips[trips.length >> 1]!)} ± ${inTime(trips.at(-1)! - trips[0]!)}, ${rate}`;
}

/** A browser never says why there is no WebSocket; the bridge knows what came. */
async function refusal({ asker }: Found, { n, mute }: Dialled): Promise<"stripped" | "swallowed" | "refused"> {
  const came = (await asker.record())?.sockets.find((s) => s.n === n);
  if (came && !came.upgrade) return "stripped";
  return mute && !came ? "swallowed" : "refused";
}

/**
 * How much later than each of the first two frames a whole answer is sent, and
 * how much later than that the frame may come: together between the 265 ms by
 * which proxies that cork are late and the 601 ms of those that buffer.
 */
const AFTER = [FRAME_GAP / 2, FRAME_GAP + FRAME_GAP / 2] as const;
const LEEWAY = FRAME_GAP / 4;
const WARM_UP = 2_000;

/** When the frames came, and when the whole answers came that were sent after the first two, by the same machines and the same network. */
interface Frames {
  readonly came: readonly [number, number, number];
  readonly whole: readonly number[];
}

const lag = ({ came }: Frames, i: 0 | 1, rtt: number): number => Math.max(0, came[i] - rtt - i * FRAME_GAP);

/** Frames came as they were sent: well apart. */
const passes = ({ came: [a, b, c] }: Frames): boolean => b - a > FRAME_GAP / 2 && c - b > FRAME_GAP / 2;

/** A frame came after what was sent later. If they neither passed nor were held, something stood still for a moment. */
const held = ({ came: [a, b], whole }: Frames): boolean => a > whole[0]! + LEEWAY || b > whole[1]! + LEEWAY;

/** Streamed answers that are asked for until one passes, or some were held: one of them may be chance. */
const STREAM_TRIES = 5;
const ENOUGH_HELD = 2;

/**
 * streaming finds out whether pieces of an answer pass as they are sent. To
 * decide on the first one alone would be wrong: padding gets through where
 * every later small piece is stuck.
 */
export async function streaming(f: Found): Promise<void> {
  await Promise.all([0, ...AFTER].map(() => f.asker.send({ limit: WARM_UP }))); // so that none has to wait for a connection while others do not
  const late: Frames[] = [];
  for (let i = 0; i < STREAM_TRIES && late.length < ENOUGH_HELD; i++) {
    const got = await frames(f, "frames");
    if (!got) return f.say("streaming", "unknown", { problem: "no such answer came whole" });
    if (passes(got)) return f.say("streaming", "ok", { lag: inTime(Math.max(lag(got, 0, f.rtt), lag(got, 1, f.rtt))) });
    if (held(got)) late.push(got);
  }
  const last = late.at(-1)?.came;
  if (!last) return f.say("streaming", "unknown", { problem: "everything stood still now and then" });
  if (last[1] - last[0] > FRAME_GAP / 2) return f.say("streaming", "onebehind");
  for (let i = 0; i < ENOUGH_HELD; i++) {
    const padded = (await frames(f, "padded"))?.came;
    if (padded && padded[2] - padded[0] > FRAME_GAP) return f.say("streaming", "threshold");
  }
  f.say("streaming", "buffered");
}

async function frames(f: Found, stream: "frames" | "padded"): Promise<Frames | undefined> {
  const ends = [FRAME_SIZE, 2 * FRAME_SIZE, 3 * FRAME_SIZE].map((end, i) => (stream === "padded" && i > 0 ? end + PAD_SIZE : end));
  let overdue = 0; // tries that were cut before anything came, although the first frame was late
  for (let i = 0; i < 4; i++) {
    const start = performance.now();
    const times: number[] = [];
    let first = "";
    const beside = wholes(f, start);
    await read(f, { stream }, 2 * ASK_LIMIT, (total, piece) => {
      first ||= new TextDecoder().decode(piece.subarray(0, 6));
      while (times.length < 3 && total >= ends[times.length]!) times.push(performance.now() - start);
    });
    if (times.length === 2) times.push(performance.now() - start); // it is of use only where the first two are late
    const ended = performance.now() - start;
    const whole = await beside();
    if (times.length === 3 && first === `A${f.asker.run.slice(0, 5)}`) return { came: times as [number, number, number], whole };
    if (times.length === 0 && ended > whole[0]! + LEEWAY && ended < f.rtt + 3 * FRAME_GAP) overdue++;
  }
  const late = 2 * FRAME_GAP;
  return overdue > 1 ? { came: [late, late, late], whole: AFTER } : undefined;
}

/** Has whole answers sent, and tells a while later when they came. For one that did not the round trip stands in. */
function wholes({ asker, rtt }: Found, start: number): () => Promise<number[]> {
  const controller = new AbortController();
  const all = Promise.all(
    AFTER.map(async (hold_ms) => {
      const { kind } = await asker.send({ ask: { hold_ms }, signal: controller.signal });
      return kind ? rtt + hold_ms : performance.now() - start;
    }),
  );
  return () => {
    setTimeout(() => controller.abort(), FRAME_GAP); // it has been sent, and is on the way if it comes at all
    return all;
  };
}

/** Reads an answer in pieces to its end, whatever that is. */
async function read(f: Found, ask: { stream: "frames" | "padded" | "drip"; hold_ms?: number }, limit: number, took: (total: number, piece: Uint8Array) => void): Promise<void> {
  const controller = new AbortController();
  const stop = (): void => controller.abort();
  const timer = setTimeout(stop, limit);
  f.asker.way.signal.addEventListener("abort", stop);
  try {
    const response = await f.asker.post(ask, f.asker.number(), controller.signal).response;
    const reader = response.body?.getReader();
    if (response.status !== 200 || !reader) return;
    for (let total = 0; ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      total += value.length;
      took(total, value);
    }
  } catch {
    // It ended early: the times tell.
  } finally {
    clearTimeout(timer);
    f.asker.way.signal.removeEventListener("abort", stop);
    stop();
  }
}

const BUSY_EVERY = 500;
const HOLD_TRIES = 8; // side by side, chance strikes one of many
const QUICKLY = 500; // below this age the end of a wait is chance

/**
 * wait tries each hold: requests that are answered only then, WebSockets that
 * are quiet for so long, and beside them an answer and a WebSocket that are
 * never quiet, to tell idle from old.
 */
export async function wait(f: Found, holds: readonly number[]): Promise<void> {
  const longest = holds.at(-1)!;
  const sockets = f.outcomes.get("websocket") === "ok";
  const serial = f.outcomes.get("parallel") === "one";
  const [replies, drip, idle, busy] = await Promise.all([
    serial ? inTurn(holds, (ms) => hold(f, ms)) : Promise.all(holds.map((ms) => hold(f, ms))),
    !serial && f.outcomes.get("streaming") === "ok" ? dripLife(f, longest) : undefined,
    sockets ? Promise.all(holds.map((ms) => quiet(f, ms))) : ([] as boolean[]),
    sockets ? chatter(f, longest) : undefined,
  ]);
  sayHold(f, holds, replies, drip ?? busy);
  if (busy === undefined) return f.say("idle", "none");
  const dead = idle.indexOf(false);
  if (dead < 0) f.say("idle", "ok", { longest: inTime(longest) });
  else if (busy < holds[dead]!) f.say("idle", "age", { cut: inTime(busy) });
  else f.say("idle", "idle", { cut: inTime(holds[dead]!), longest: before(holds, dead) });
}

async function inTurn<T>(holds: readonly number[], each: (ms: number) => Promise<T>): Promise<T[]> {
  const out: T[] = [];
  for (const ms of holds) out.push(await each(ms));
  return out;
}

const before = (holds: readonly number[], i: number): string => (i === 0 ? "a moment" : inTime(holds[i - 1]!));

/** What fails at once is chance, and so is an answer that is lost when its time has come. */
async function hold({ asker, rtt }: Found, ms: number): Promise<Reply> {
  for (let i = 1; ; i++) {
    const p = await asker.send({ ask: { hold_ms: ms } });
    if (p.kind !== "" && p.kind !== "mute" && p.took >= ms) p.kind = "";
    if (p.kind === "" || p.took > Math.min(QUICKLY + 2 * rtt, ms / 2) || i === HOLD_TRIES || asker.way.signal.aborted) return p;
  }
}

/** Returns how long an answer of one byte every 500 ms lived, in milliseconds. */
async function dripLife(f: Found, life: number): Promise<number> {
  const start = performance.now();
  let last = 0;
  await read(f, { stream: "drip", hold_ms: life }, life + ASK_LIMIT, () => (last = performance.now() - start));
  return last;
}

/** Reports whether a WebSocket still echoes after so long a silence. */
async function quiet(f: Found, silence: number): Promise<boolean> {
  const { socket } = await dial(f);
  if (!socket || !(await socket.echo(Uint8Array.of(1)))) return false;
  await pause(silence, f.asker.way.signal);
  const alive = (await socket.echo(Uint8Array.of(2))) !== undefined;
  socket.close();
  return alive;
}

/** Keeps a WebSocket busy, and returns how long it lived, in milliseconds. */
async function chatter(f: Found, life: number): Promise<number> {
  const { socket } = await dial(f);
  const start = performance.now();
  const age = (): number => performance.now() - start;
  if (!socket) return 0;
  while (age() < life) {
    if (!(await socket.echo(Uint8Array.of(3), ASK_LIMIT / 2))) return age();
    await pause(Math.min(BUSY_EVERY, life / 4), f.asker.way.signal);
  }
  socket.close();
  return life;
}

function sayHold(f: Found, holds: readonly number[], replies: readonly Reply[], busy: number | undefined): void {
  const i = replies.findIndex((p) => p.kind !== "");
  if (i < 0) return f.say("hold", "ok", { longest: inTime(holds.at(-1)!) });
  const { kind, took, status } = replies[i]!;
  const facts = { longest: before(holds, i), cut: inTime(took), status: String(status) };
  if (kind === "mute") f.say("hold", busy !== undefined && busy < holds[i]! ? "age" : "idle", facts);
  else if (kind === "status") f.say("hold", "status", facts);
  else f.say("hold", kind === "short" || kind === "page" || kind === "stale" ? "short" : "eof", facts);
}
