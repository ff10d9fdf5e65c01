// What becomes of WebSockets, of answers in pieces, and of long waits.

import { ASK_LIMIT, FRAME_GAP, FRAME_SIZE, PAD_SIZE, pause, type Reply } from "./ask.js";
import type { Found } from "./checks.js";
import { inRate, inTime, moving } from "./report.js";

const SUBPROTOCOL = "pollbridge.v1";
const DIAL_TRIES = 4;

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
    socket.onclose = () => (clearTimeout(timer), take?.(undefined), over(false));
    socket.onopen = () => {
      clearTimeout(timer);
      const echo: EchoSocket["echo"] = (message, limit = ASK_LIMIT) =>
        new Promise((done) => {
          const late = setTimeout(() => take?.(undefined), limit);
          take = (back) => (clearTimeout(late), (take = undefined), done(back));
          try {
            socket.send(message);
          } catch {
            take(undefined);
          }
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
  const rtt = await trip(socket);
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

/** How long a tiny echo took, in milliseconds; undefined if it did not come. */
async function trip(socket: EchoSocket): Promise<number | undefined> {
  const start = performance.now();
  return (await socket.echo(Uint8Array.of(0))) && performance.now() - start;
}

const PINGS = 4;

/** The round trip of a WebSocket, of which one is known, how much it varies, and its rate. */
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

const LAG_LIMIT = 600; // between the 265 ms of proxies that cork and the 1,301 ms of those that buffer

type Frames = [number, number, number];

const lag = (f: Frames, i: 0 | 1, rtt: number): number => Math.max(0, f[i] - rtt - i * FRAME_GAP);

/** Frames came as they were sent: the first two in time, or all late but well apart. */
const passes = (f: Frames, rtt: number): boolean =>
  (lag(f, 0, rtt) < LAG_LIMIT && lag(f, 1, rtt) < LAG_LIMIT) || (f[1] - f[0] > FRAME_GAP / 2 && f[2] - f[1] > FRAME_GAP / 2);

/**
 * streaming finds out whether pieces of an answer pass as they are sent. To
 * decide on the first one alone would be wrong: padding gets through where
 * every later small piece is stuck.
 */
export async function streaming(f: Found): Promise<void> {
  let came: Frames | undefined;
  for (let i = 0; i < 2; i++) { // one late frame may be chance
    came = await frames(f, "frames");
    if (came && passes(came, f.rtt)) {
      return f.say("streaming", "ok", { lag: inTime(Math.max(lag(came, 0, f.rtt), lag(came, 1, f.rtt))) });
    }
  }
  if (!came) return f.say("streaming", "unknown", { problem: "no such answer came whole" });
  if (came[1] - came[0] > FRAME_GAP / 2) return f.say("streaming", "onebehind");
  const padded = await frames(f, "padded");
  f.say("streaming", padded && padded[2] - padded[0] > FRAME_GAP ? "threshold" : "buffered");
}

async function frames(f: Found, stream: "frames" | "padded"): Promise<Frames | undefined> {
  const ends = [FRAME_SIZE, 2 * FRAME_SIZE, 3 * FRAME_SIZE].map((end, i) => (stream === "padded" && i > 0 ? end + PAD_SIZE : end));
  let overdue = 0; // tries that were cut before anything came, although the first frame was late
  for (let i = 0; i < 4; i++) {
    const start = performance.now();
    const times: number[] = [];
    let first = "";
    await read(f, { stream }, 2 * ASK_LIMIT, (total, piece) => {
      first ||= new TextDecoder().decode(piece.subarray(0, 6));
      while (times.length < 3 && total >= ends[times.length]!) times.push(performance.now() - start);
    });
    if (times.length === 2) times.push(performance.now() - start); // it is of use only where the first two are late
    if (times.length === 3 && first === `A${f.asker.run.slice(0, 5)}`) return times as Frames;
    const took = performance.now() - start - f.rtt;
    if (times.length === 0 && took > LAG_LIMIT && took < 3 * FRAME_GAP) overdue++;
  }
  return overdue > 1 ? [2 * FRAME_GAP, 2 * FRAME_GAP, 2 * FRAME_GAP] : undefined;
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

/** How long an answer of one byte every 500 ms lived. */
async function dripLife(f: Found, life: number): Promise<number> {
  const start = performance.now();
  let last = 0;
  await read(f, { stream: "drip", hold_ms: life }, life + ASK_LIMIT, () => (last = performance.now() - start));
  return last;
}

/** Tells whether a WebSocket still echoes after so long a silence. */
async function quiet(f: Found, silence: number): Promise<boolean> {
  const { socket } = await dial(f);
  if (!socket || !(await socket.echo(Uint8Array.of(1)))) return false;
  await pause(silence, f.asker.way.signal);
  const alive = (await socket.echo(Uint8Array.of(2))) !== undefined;
  socket.close();
  return alive;
}

/** Keeps a WebSocket busy and tells how long it lived. */
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
