import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { type ChannelEvent, Code, type Network, type StateChangeEvent } from "./index.js";
import { type Bridge, channelTo, echo, endFrame, messageFrame, WELCOME } from "./testing.js";
import { CODE_UNAUTHENTICATED, type Frame, ORIGIN_BRIDGE, TYPE_OPEN } from "./wire/batch.js";

const one = Uint8Array.of(1);

/** What a guarded bridge saw. */
interface Seen {
  tokens: string[];
  sessions: Set<string>;
}

/** A bridge that echoes each RPC if its latest token is good. */
function guarded(good: Set<string>, seen: Seen): Bridge {
  let current = "";
  let seq = 0;
  const serve = (stream: number): Frame[] => {
    if (good.has(current)) return [messageFrame(++seq, stream, one), endFrame(++seq, stream)];
    const end = endFrame(++seq, stream, Code.Unauthenticated);
    Object.assign(end.end!, { origin: ORIGIN_BRIDGE, reason: "unauthenticated", message: `${current} has expired` });
    return [end];
  };
  return (batch, url) => {
    seen.sessions.add(url);
    if (batch.token) seen.tokens.push((current = batch.token));
    if (batch.hello) return { welcome: WELCOME };
    const frames = batch.frames.filter((f) => f.type === TYPE_OPEN).flatMap((f) => serve(f.stream));
    return batch.frames.length > 0 ? { ack: batch.frames.at(-1)!.seq, frames } : undefined;
  };
}

test("an expired token is refreshed on the same session; RPCs opened meanwhile wait for it (O5)", async (t) => {
  const seen: Seen = { tokens: [], sessions: new Set() };
  let asked = 0;
  const channel = channelTo(t, guarded(new Set(["token 2"]), seen), { auth: async () => `token ${++asked}` });
  await assert.rejects(channel.unary("s/m", one), /status 16/);
  await Promise.all([channel.unary("s/m", one), channel.unary("s/m", one)]);
  await channel.unary("s/m", one);
  assert.deepEqual([asked, seen.sessions.size], [2, 1]);
  assert.deepEqual(new Set(seen.tokens), new Set(["token 1", "token 2"]));
  assert.equal(seen.tokens.at(-1), "token 2");
  assert.deepEqual(channel.events.filter((e) => e.type === "auth").length, 1);
});

test("a credential that the bridge ignores is an event each time, and told on the console once (O5)", async (t) => {
  const warned = t.mock.method(console, "warn", () => undefined);
  let events = 0;
  const bridge: Bridge = ({ hello }) => hello && { welcome: { ...WELCOME, ignoresTokens: true } };
  for (const auth of [undefined, () => "token"]) {
    const channel = channelTo(t, bridge, { auth });
    await channel.ready();
    events += channel.events.filter((event) => event.type === "auth" && event.ignored).length;
  }
  assert.equal(events, 1);
  assert.equal(warned.mock.callCount(), 1);
  assert.match(String(warned.mock.calls[0]!.arguments), /^pollbridge: the bridge at http\S+ ignores what auth gives/);
});

test("where no fresh token is to be had, RPCs go on ending UNAUTHENTICATED, each with one more question", async (t) => {
  const seen: Seen = { tokens: [], sessions: new Set() };
  let asked = 0;
  const auth = (): string => {
    if (asked++ > 0) throw new Error("logged out");
    return "token 1";
  };
  const channel = channelTo(t, guarded(new Set(), seen), { auth });
  for (let i = 0; i < 3; i++) await assert.rejects(channel.unary("s/m", one), /status 16/);
  assert.deepEqual([asked, seen.sessions.size, channel.state], [4, 1, "open"]);
  assert.match(channel.lastError!.message, /logged out/);
});

test("no token, payload or metadata is in URLs, events, log or report, whatever fails", async (t) => {
  const secrets = ["the-first-token", "the-second-token", "a-payload", "a-header"];
  const said: unknown[] = [];
  const seen: Seen = { tokens: [], sessions: new Set() };
  const bridge = guarded(new Set([secrets[1]!]), seen);
  let asked = 0;
  let answers = 0;
  const channel = channelTo(
    t,
    (batch, url) => {
      said.push(url);
      const failures = [new Response("", { status: 502 }), new Response("<html>"), undefined];
      return ++answers % 4 === 0 ? failures[(answers / 4) % 2] : bridge(batch, url);
    },
    {
      logger: (event) => said.push(event),
      auth: () => {
        if (++asked === 3) throw new Error(`cannot renew ${secrets[1]!}`);
        return secrets[asked - 1]!;
      },
    },
  );
  channel.addEventListener("statechange", (e) => said.push({ ...e }, (e as StateChangeEvent).reason));
  const payload = new TextEncoder().encode(secrets[2]);
  for (let i = 0; i < 5; i++) await channel.unary("s/m", payload, { metadata: [["x", secrets[3]!]] }).catch(() => undefined);
  const refused = channelTo(t, () => ({ close: { code: CODE_UNAUTHENTICATED, message: `no such user: ${secrets[0]!}`, retryAfterMillis: 0, limit: 0 } }), {
    auth: () => secrets[0]!,
    logger: (event) => said.push(event),
  });
  await refused.open("s/m").status;
  const failing = channelTo(t, echo(1), { logger: (event) => said.push(event), auth: () => { throw new Error(secrets[1]); } });
  await failing.open("s/m").status;
  said.push(channel.network, ...[channel, refused, failing].map((c) => JSON.stringify(c)), channel.lastError?.message);
  const all = JSON.stringify(said);
  for (const secret of secrets) assert.ok(!all.includes(secret), `${secret} is in ${all}`);
  assert.deepEqual(new Set(seen.tokens), new Set(secrets.slice(0, 2)));
});

test("the events tell what happened, in order, and JSON.stringify gives all that a ticket needs", async (t) => {
  const logged: ChannelEvent[] = [];
  let answers = 0;
  const channel = channelTo(t, (batch, url) => (answers++ === 0 ? new Response("", { status: 403 }) : echo(1)(batch, url)), {
    logger: (event) => event.type !== "rpc" && logged.push(event),
  });
  await channel.unary("s/m", one);
  channel.close();
  const brief = logged.map((e) => {
    if (e.type === "state") return [e.type, e.state, e.transport ?? ""];
    return e.type === "session" || e.type === "error" ? [e.type, e.reason ?? "", e.message ?? ""] : [e.type];
  });
  assert.deepEqual(brief, [
    ["session", "", ""],
    ["error", "status", "HTTP status 403"],
    ["state", "open", "longpoll"],
    ["state", "closed", ""],
  ]);
  assert.deepEqual(channel.events, logged);
  const report = JSON.parse(JSON.stringify(channel)) as Record<string, unknown>;
  assert.deepEqual([report["bridge"], report["state"], (report["events"] as unknown[]).length], ["http://bridge.test/bridge/v1/", "closed", 4]);
  assert.equal((report["network"] as Network).form, "binary");
});

test("a logger gets a line for each RPC, which events and report do not keep", async (t) => {
  const lines: ChannelEvent[] = [];
  const channel = channelTo(t, echo(1), { logger: (event) => event.type === "rpc" && lines.push(event) });
  await channel.unary("s/m", new Uint8Array(10));
  const call = channel.open("/s.S/Watch");
  call.cancel();
  await call.status;
  const facts = lines.map(({ at, ...line }) => (line.type === "rpc" ? { ...line, ms: line.ms >= 0 && line.ms < 60_000 && at > 0 } : line));
  assert.deepEqual(facts, [
    { type: "rpc", method: "/s/m", code: Code.Ok, reason: "", ms: true, sentBytes: 10, receivedBytes: 1, transport: "longpoll" },
    { type: "rpc", method: "/s.S/Watch", code: Code.Canceled, reason: "cancelled", ms: true, sentBytes: 0, receivedBytes: 0, transport: "longpoll" },
  ]);
  assert.ok(!channel.events.some(({ type }) => (type as string) === "rpc"));
});

for (const [wanted, first] of [[null, undefined], ["rpc", "rpc"], ["all", "session"]] as const) {
  test(`localStorage["pollbridge.log"] = ${JSON.stringify(wanted)} has the console told`, async (t) => {
    const said: string[] = [];
    t.mock.method(console, "info", (line: string) => said.push(line));
    const localStorage = { getItem: (key: string) => (key === "pollbridge.log" ? wanted : null), setItem: () => undefined };
    for (const [name, value] of Object.entries({ document: {}, localStorage })) {
      const before = Object.getOwnPropertyDescriptor(globalThis, name);
      Object.defineProperty(globalThis, name, { value, configurable: true });
      t.after(() => (before ? Object.defineProperty(globalThis, name, before) : delete (globalThis as Record<string, unknown>)[name]));
    }
    await new Promise<void>((resolve) => {
      const channel = channelTo(t, echo(1), { logger: (e) => e.type === "session" && e.reason && resolve() });
      void channel.unary("s/m", one).then(() => channel.close());
    });
    assert.equal(said[0]?.split(" ")[1], first);
    const lines = said.filter((line) => line.startsWith("pollbridge rpc"));
    assert.equal(lines.length, wanted ? 1 : 0);
    if (wanted) assert.match(lines[0]!, /^pollbridge rpc \/s\/m OK in \d+ ms, 1 B sent, 1 B received, over longpoll$/);
  });
}

test("no more than 200 events are kept, the latest ones", async (t) => {
  let failures = 0;
  const channel = channelTo(t, (batch, url) => (++failures < 300 ? new Response("", { status: 400 + (failures % 2) }) : echo(1)(batch, url)), {
    backoff: { leastMs: 0, mostMs: 0, idleMs: 0 },
  });
  await channel.unary("s/m", one);
  assert.equal(channel.events.length, 200);
  const last = channel.events.at(-1)!;
  assert.equal(last.type === "state" && last.state, "open");
});

test("a change of state says why", async (t) => {
  let answers = 0;
  const channel = channelTo(t, (batch, url) => {
    if (batch.hello) return { welcome: WELCOME };
    return ++answers < 2 ? new Response("<html>log in", { status: 200 }) : echo(1)(batch, url);
  });
  const changes: string[] = [];
  channel.addEventListener("statechange", (e) => {
    const { state, transport, reason } = e as StateChangeEvent;
    changes.push(`${state} ${transport} ${reason}`);
  });
  await channel.unary("s/m", one);
  channel.close();
  assert.deepEqual(changes, ["open longpoll ", "retrying undefined foreign", "open longpoll ", "closed undefined closed"]);
});

test("two mounts under React's StrictMode leave one session", async (t) => {
  const sessions = new Set<string>();
  const bridge: Bridge = (batch, url) => (sessions.add(url), echo(1)(batch, url));
  // An effect is run, cleaned up and run again at once; a state's initializer is run twice.
  channelTo(t, bridge).close();
  const mounted = channelTo(t, bridge);
  channelTo(t, bridge, { lazy: true });
  await mounted.unary("s/m", one);
  assert.equal(sessions.size, 1);
});

test("importing does nothing, and a lazy channel keeps no process alive", () => {
  const module = new URL("./index.js", import.meta.url).href;
  const script = `
    const before = Object.getOwnPropertyNames(globalThis).join();
    const { Channel } = await import(${JSON.stringify(module)});
    new Channel("http://bridge.test", { lazy: true });
    console.log(process.getActiveResourcesInfo().filter((r) => r === "Timeout").length, before === Object.getOwnPropertyNames(globalThis).join());`;
  const said = execFileSync(process.execPath, ["--input-type=module", "--eval", script], { encoding: "utf8", timeout: 60_000 });
  assert.equal(said.trim(), "0 true");
});
