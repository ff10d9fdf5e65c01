import assert from "node:assert/strict";
import { test } from "node:test";
import { Channel, type ChannelOptions, Code, type StatusError } from "./index.js";
import { asPage, type Bridge, channelTo, echo, stopClocks, WELCOME } from "./testing.js";
import { type Batch, TYPE_CLOSE, TYPE_HEADERS, TYPE_OPEN } from "./wire/batch.js";

test("the URL without a path means /bridge; a path is the prefix", async (t) => {
  const urls: string[] = [];
  const spy: Bridge = (_, url) => (urls.push(url), undefined);
  channelTo(t, spy);
  const direct = channelTo(t, spy, { lazy: true });
  assert.equal(urls.length, 0);
  await new Promise((resolve) => setImmediate(resolve));
  assert.match(urls[0]!, /^http:\/\/bridge\.test\/bridge\/v1\/[\w-]{22}\/poll$/);
  assert.equal(direct.state, "connecting");
  assert.equal(urls.length, 1, "a lazy channel waits for its first RPC");
});

test("where one response is to come, another number is UNIMPLEMENTED", async (t) => {
  const unary = async (channel: Channel): Promise<Uint8Array> => (await channel.unary("s/m", Uint8Array.of(1))).message;
  const clientStream = async (channel: Channel): Promise<Uint8Array> => {
    const call = channel.open("s/m", { singleResponse: true });
    call.closeSend();
    const messages: Uint8Array[] = [];
    try {
      for await (const message of call.messages) messages.push(message);
    } catch (err) {
      assert.equal(messages.length, 0, "no message but of an RPC that ended OK");
      assert.equal((await call.status).code, (err as StatusError).code);
      throw err;
    }
    assert.equal(messages.length, 1);
    return messages[0]!;
  };
  for (const kind of [unary, clientStream]) {
    assert.deepEqual(await kind(channelTo(t, echo(1))), Uint8Array.of(0));
    for (const count of [0, 2]) {
      await assert.rejects(kind(channelTo(t, echo(count))), (err: StatusError) => {
        assert.deepEqual([err.name, err.code, err.status.reason], ["StatusError", Code.Unimplemented, "cardinality"]);
        return true;
      });
    }
  }
});

test("after a restart of the bridge a sent RPC ends once, the next one finds a new session (E2)", async (t) => {
  const [first, second] = [1n << 32n, 2n << 32n];
  let restarted = false;
  let opened: () => void;
  const open = new Promise<void>((resolve) => (opened = resolve));
  const sessions = new Set<string>();
  const channel = channelTo(t, (batch, url) => {
    sessions.add(Buffer.from(batch.session!).toString("hex"));
    if (batch.hello) return { welcome: WELCOME, incarnation: restarted ? second : first };
    if (batch.incarnation === second) return { ...(echo(1)(batch, url) as Partial<Batch>), incarnation: second };
    if (restarted) return { incarnation: second, close: { code: 5, message: "no such session", retryAfterMillis: 0, limit: 0 } };
    if (batch.frames.length > 0) opened();
    return batch.frames.length > 0 ? { ack: 1, incarnation: first } : undefined;
  });
  const call = channel.open("s/m");
  await open;
  restarted = true;
  await call.send(Uint8Array.of(1));
  const status = await call.status;
  assert.deepEqual([status.code, status.reason, status.origin], [Code.Unavailable, "bridge_restarted", "bridge"]);
  assert.deepEqual((await channel.unary("s/m", Uint8Array.of(1))).message, Uint8Array.of(0));
  assert.equal(sessions.size, 2);
});

test("a call after a quiet time asks whether the bridge is still there, and begins once, on the next session (E2)", async (t) => {
  const now = performance.now.bind(performance);
  let quiet = 0;
  t.mock.method(performance, "now", () => now() + quiet);
  const [first, second] = [1n << 32n, 2n << 32n];
  for (const restart of ["unknown", "going away"]) {
    let restarted = false;
    const begun: string[] = [];
    const asked: string[] = [];
    const channel = channelTo(t, (batch, url) => {
      if (batch.hello) return { welcome: WELCOME, incarnation: restarted ? second : first };
      const at = batch.incarnation === first ? "first" : "second";
      if (batch.frames.length === 0) asked.push(at);
      if (batch.frames.some((f) => f.type === TYPE_OPEN)) begun.push(at);
      if (restarted && at === "first" && restart === "unknown") return { incarnation: second, close: { code: 5, message: "no such session", retryAfterMillis: 0, limit: 0 } };
      const goAway = restarted && at === "first" ? { goAway: { spreadMillis: 0 } } : {};
      const said = echo(1)(batch, url) ?? (batch.holdMillis ? undefined : {});
      return said && { ...(said as Partial<Batch>), ...goAway, incarnation: batch.incarnation };
    });
    await channel.unary("s/m", Uint8Array.of(1));
    quiet += 5_000;
    restarted = true;
    assert.deepEqual((await channel.unary("s/m", Uint8Array.of(1))).message, Uint8Array.of(0), restart);
    assert.deepEqual([begun, asked], [["first", "second"], ["first"]], restart);
    channel.close();
  }
});

test("only what is idempotent and not yet answered is sent again to another session, and only if asked (E2)", async (t) => {
  const [first, second] = [1n << 32n, 2n << 32n];
  /** How often an RPC was opened, and how it ended, when the bridge is restarted after its OPEN, and perhaps after its headers. */
  const run = async (options: ChannelOptions, idempotent: boolean, headers: boolean): Promise<[number, number]> => {
    let restarted = false;
    let opened = 0;
    let welcomed: () => void;
    const welcome = new Promise<void>((resolve) => (welcomed = resolve));
    const channel = channelTo(t, (batch, url) => {
      const open = batch.frames.find((f) => f.type === TYPE_OPEN);
      if (open) opened++;
      if (batch.hello && !restarted) return setImmediate(() => welcomed()), { welcome: WELCOME, incarnation: first };
      if (batch.hello || batch.incarnation === second) {
        const answer = open ? (echo(1)({ ...batch, hello: undefined! }, url) as Partial<Batch>) : {};
        return { ...answer, welcome: WELCOME, incarnation: second };
      }
      if (restarted || !open) return { incarnation: second, close: { code: 5, message: "no such session", retryAfterMillis: 0, limit: 0 } };
      restarted = true;
      const answer = { seq: 1, stream: open.stream, type: TYPE_HEADERS, headers: { metadata: [] } };
      return { ack: batch.frames.at(-1)!.seq, incarnation: first, frames: headers ? [answer] : [] };
    }, options);
    await welcome;
    const call = channel.open("s/m", { idempotent, singleRequest: true });
    void call.send(Uint8Array.of(1));
    call.closeSend();
    const { code } = await call.status;
    return [opened, code];
  };
  assert.deepEqual(await run({ resendIdempotent: true }, true, false), [2, Code.Ok]);
  assert.deepEqual(await run({ resendIdempotent: true }, true, true), [1, Code.Unavailable]);
  assert.deepEqual(await run({ resendIdempotent: true }, false, false), [1, Code.Unavailable]);
  assert.deepEqual(await run({}, true, false), [1, Code.Unavailable]);
});

test("close ends every RPC with CANCELLED, says so to the bridge, and may be called again", async (t) => {
  const seen: number[] = [];
  const channel = channelTo(t, (batch, url) => {
    seen.push(...batch.frames.map((f) => f.type));
    return echo(0)(batch, url) && batch.frames.some((f) => f.type === TYPE_OPEN) ? { ack: 1 } : echo(0)(batch, url);
  });
  const states: string[] = [];
  channel.addEventListener("statechange", () => states.push(channel.state));
  const call = channel.open("s/m");
  await new Promise((resolve) => setTimeout(resolve, 20));
  channel.close();
  channel.close();
  assert.deepEqual([(await call.status).code, (await call.status).reason], [Code.Canceled, "closed"]);
  assert.equal((await channel.open("s/m").status).reason, "closed");
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(seen.at(-1), TYPE_CLOSE);
  assert.deepEqual(states, ["open", "closed"]);
});

test("an origin that the bridge refuses is final and says how to mend it (W4)", async (t) => {
  const refused: Bridge = () => new Response("origin \"http://a.test\" is not allowed; if it should be, give the bridge --allow-origin http://a.test", { status: 403, headers: { Pollbridge: "1" } });
  const channel = channelTo(t, refused);
  const status = await channel.open("s/m").status;
  assert.deepEqual([status.code, status.reason], [Code.Unavailable, "origin"]);
  assert.match(status.message, /--allow-origin/);
  assert.equal(channel.state, "closed");
});

test("a foreign 403 ends no session", async (t) => {
  let answers = 0;
  const channel = channelTo(t, (batch, url) => (answers++ === 0 ? new Response("<html>", { status: 403 }) : echo(1)(batch, url)));
  await channel.unary("s/m", Uint8Array.of(1));
  assert.equal(channel.lastError?.message, "HTTP status 403");
  assert.equal(channel.state, "open");
});

test("where a page answers, whatever the form, RPCs end with what it says, though links broke after it", async (t) => {
  asPage(t);
  const tick = stopClocks(t);
  const forms: string[] = [];
  const fake: typeof fetch = async (_, init) => {
    forms.push((init!.headers as Record<string, string>)["Content-Type"]!);
    if (forms.length > 4) throw new TypeError("Failed to fetch");
    return new Response("<html>Log in to the network</html>");
  };
  const channel = channelTo(t, () => undefined, { fetch: fake });
  const call = channel.open("s/m");
  while (channel.state !== "closed" && forms.length < 1_000) await tick(100);
  assert.match((await call.status).message, /last seen: not the bridge's answer: <html>Log in to the network/);
  assert.deepEqual(new Set(forms.slice(0, 4)), new Set(["application/octet-stream", "text/plain"]));
});

test("credentials go with Hello; one that cannot be had ends the RPCs with UNAUTHENTICATED", async (t) => {
  const tokens: string[] = [];
  const channel = channelTo(t, (batch, url) => (tokens.push(batch.token), echo(1)(batch, url)), { auth: async () => "secret" });
  await channel.unary("s/m", Uint8Array.of(1));
  assert.deepEqual(tokens, ["secret", ""]);
  const failing = channelTo(t, echo(1), { auth: () => { throw new Error("no login"); }, lazy: true });
  const status = await failing.open("s/m").status;
  assert.equal(status.code, Code.Unauthenticated);
  assert.match(status.message, /no login/);
});

test("what gRPC forbids is refused by name before anything is sent", (t) => {
  const channel = channelTo(t, () => undefined, { lazy: true });
  assert.throws(() => channel.open("nonsense"), /nonsense/);
  assert.throws(() => channel.open("s/m", { metadata: [["grpc-timeout", "1"]] }), /grpc-timeout/);
  assert.throws(() => channel.open("s/m", { metadata: [["a b", "1"]] }), /a b/);
  assert.throws(() => channel.open("s/m", { metadata: [["x", "ü"]] }), /metadata x/);
  assert.throws(() => channel.open("s/m", { metadata: [["x-bin", "text"]] }), /metadata x-bin/);
  assert.throws(() => channel.open("s/m", { timeoutMs: -1 }), /timeoutMs -1/);
  assert.throws(() => new Channel("ftp://bridge.test"), /ftp:/);
  assert.throws(() => new Channel("http://bridge.test", { transports: [] }), /transports/);
});

test("a message sent after the half-close is an error, a deadline is a status", async (t) => {
  const channel = channelTo(t, (batch) => (batch.hello ? { welcome: WELCOME } : undefined));
  const call = channel.open("s/m", { timeoutMs: 30 });
  call.closeSend();
  await assert.rejects(call.send(Uint8Array.of(1)), /half-close/);
  assert.deepEqual([(await call.status).code, (await call.status).reason], [Code.DeadlineExceeded, "deadline"]);
  assert.deepEqual(await call.headers, []);
  await assert.rejects(call.messages.next(), /gRPC status 4: deadline/);
});

test("a URL that cannot be a bridge's is refused, and no password is shown", () => {
  for (const [url, says] of [
    ["http://bridge.test/?a=1", /query/], ["http://bridge.test/bridge?", /query/], ["http://bridge.test/#x", /fragment/],
    ["http://user:secret@bridge.test/", /user and password/], ["ftp://user:secret@bridge.test/", /user and password/], ["ws://bridge.test/", /http or https/],
  ] as const) {
    assert.throws(() => new Channel(url), (error: Error) => error instanceof TypeError && says.test(error.message) && !error.message.includes("secret"), url);
  }
});

test("a method is pkg.Service/Method and nothing else", (t) => {
  const channel = channelTo(t, () => new Response());
  for (const name of ["", "s", "/s/", "//m", "a.x/../b.S/M", "a%2eB/C", "a..B/C", ".a/C", "a./C", "1a/C", "a/1", "a/b/c", "a b/C", "a/C D", "a/C\n", "é/C"]) {
    assert.throws(() => channel.open(name), TypeError, name);
  }
});

test("a redirect is named with where it leads", async (t) => {
  const away: Bridge = () => new Response(null, { status: 302, headers: { Location: "https://login.test/here" } });
  const channel = channelTo(t, away);
  const seen = new Promise<string>((resolve) => channel.addEventListener("statechange", () => channel.lastError && resolve(channel.lastError.message)));
  void channel.open("s/m").status;
  assert.match(await seen, /a redirect to https:\/\/login\.test\/here/);
});

test("an untrusted certificate, as Node tells of it, ends RPCs at once", async (t) => {
  const fetch = (): Promise<Response> => Promise.reject(new TypeError("fetch failed", { cause: Object.assign(new Error("self-signed certificate"), { code: "DEPTH_ZERO_SELF_SIGNED_CERT" }) }));
  // A WebSocket that fails tells nothing.
  const WebSocket = class extends EventTarget {
    onclose?: (event: object) => void;
    constructor() {
      super();
      queueMicrotask(() => this.onclose?.({ code: 1006, reason: "" }));
    }
    close(): void {}
  } as unknown as typeof globalThis.WebSocket;
  for (const transport of ["longpoll", "ws"] as const) {
    const channel = new Channel("https://bridge.test", { fetch, WebSocket, transports: [transport] });
    t.after(() => channel.close());
    const status = await channel.open("s/m").status;
    assert.deepEqual([status.code, status.reason], [Code.Unavailable, "unreachable"], transport);
    assert.match(status.message, /self-signed certificate/);
    assert.doesNotMatch(status.message, /no answer/);
  }
});
