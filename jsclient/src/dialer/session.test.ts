import assert from "node:assert/strict";
import { after, test } from "node:test";
import { endFrame, INCARNATION, messageFrame, WELCOME } from "../testing.js";
import { type Batch, type Frame, type Open, TYPE_CANCEL, TYPE_HALF_CLOSE, TYPE_MESSAGE, TYPE_OPEN, TYPE_WINDOW } from "../wire/batch.js";
import { newBatch } from "../wire/codec.js";
import { bridgeEnd, SessionError } from "../engine/errors.js";
import { Session } from "./session.js";
import { Stream } from "../engine/stream.js";

const OPEN: Open = {
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

interface Fixture {
  session: Session;
  lost: SessionError[];
  orphans: Stream[];
  open(fields?: Partial<Open>): Stream;
  /** What a link x would carry now. */
  fill(x?: number, max?: number, room?: number): Frame[];
  say(fields: Partial<Batch>): boolean;
}

const sessions: Session[] = [];
after(() => sessions.forEach((session) => session.end(new SessionError("closed", "the tests are over"))));

function fixture(welcomed = true): Fixture {
  const lost: SessionError[] = [];
  const orphans: Stream[] = [];
  const session = new Session(
    { url: "http://bridge.test/bridge", known: false, release: "test", token: "", streamWindow: 64 << 10, maxMessageBytes: 16 << 20 },
    { changed: () => undefined, goAway: () => undefined, tokenExpired: () => undefined, tokenIgnored: () => undefined, over: (why, left) => (lost.push(why), orphans.push(...left)) },
  );
  sessions.push(session);
  const say = (fields: Partial<Batch>): boolean =>
    session.receive({ ...newBatch(), incarnation: INCARNATION, ...fields }, session.endpoint.now(), () => true);
  if (welcomed) say({ welcome: WELCOME });
  return {
    session,
    lost,
    orphans,
    say,
    open(fields = {}) {
      const stream = new Stream({ ...OPEN, ...fields }, 64 << 10);
      session.endpoint.adopt(stream);
      return stream;
    },
    fill(x = 1, max = 512 << 10, room = Infinity) {
      session.header(x, true);
      return session.endpoint.out.fill({ number: x, kind: "oneShot" }, session.endpoint.now(), max, room);
    },
  };
}

const brief = (frames: Frame[]): string[] => frames.map((f) => `${f.seq}:${f.stream}:${f.type}`);

test("only early RPCs go before the Welcome, within 16 KiB (O4)", () => {
  const { open, fill, say, session } = fixture(false);
  void open().send(Uint8Array.of(1));
  const early = open({ early: true });
  void early.send(new Uint8Array(40_000));
  const frames = fill();
  assert.deepEqual(brief(frames), [`1:1:${TYPE_OPEN}`, `2:1:${TYPE_MESSAGE}`]);
  assert.equal(frames[1]!.data!.length, 16384 - 32);
  assert.ok(session.header(1, true).hello);
  say({ welcome: WELCOME });
  assert.equal(session.header(2, true).hello, undefined);
  assert.equal(session.header(2, true).incarnation, INCARNATION);
  assert.ok(fill(2).some((f) => f.type === TYPE_OPEN && f.stream === 2));
});

test("metadata over the bridge's limit ends its RPC before it is sent, as soon as the limit is known (section 7)", async () => {
  const { open, fill, say, lost } = fixture(false);
  const of = (length: number): Partial<Open> => ({ metadata: [{ key: "long", value: new Uint8Array(length) }] });
  const before = open(of(965));
  const fits = open(of(964));
  assert.equal(before.status, undefined);
  say({ welcome: { ...WELCOME, maxMetadataBytes: 1000 } });
  for (const stream of [before, open(of(965))]) {
    const end = await stream.ended;
    assert.deepEqual([end.status, end.reason, end.message, stream.id], [8, "limit", "metadata of 1001 bytes is over the limit of 1000", 0]);
  }
  assert.deepEqual([brief(fill()), fits.id], [[`1:1:${TYPE_OPEN}`], 1]);
  assert.equal(lost.length, 0);
});

test("streams are served in turn, one frame each; a stream's number comes with its OPEN", () => {
  const { open, fill } = fixture();
  const a = open();
  const b = open();
  void a.send(Uint8Array.of(1));
  void a.send(Uint8Array.of(2));
  b.closeSend();
  assert.deepEqual([a.id, b.id], [0, 0]);
  assert.deepEqual(brief(fill()), [`1:1:${TYPE_OPEN}`, `2:2:${TYPE_OPEN}`, `3:1:${TYPE_MESSAGE}`, `4:2:${TYPE_HALF_CLOSE}`, `5:1:${TYPE_MESSAGE}`]);
  assert.deepEqual([a.id, b.id], [1, 2]);
});

test("CANCEL and WINDOW leave before everything else (W5)", async () => {
  const { open, fill, say } = fixture();
  const a = open();
  const b = open();
  fill();
  say({ frames: [messageFrame(1, 2, new Uint8Array(16384))] });
  for (let seq = 2; seq <= 3; seq++) say({ frames: [messageFrame(seq, 2, new Uint8Array(16384))] });
  for (let i = 0; i < 3; i++) await b.recv();
  void b.recv();
  void b.send(Uint8Array.of(1));
  a.giveUp(bridgeEnd(1, "cancelled", ""));
  assert.deepEqual(brief(fill()), [`3:1:${TYPE_CANCEL}`, `4:2:${TYPE_WINDOW}`, `5:2:${TYPE_MESSAGE}`]);
});

test("a message is cut into fragments of 16 KiB when it is sent, the first states its length; once one was lost of 4 KiB, until longer batches got through", () => {
  const { open, fill, say, session } = fixture();
  const bytes = Uint8Array.from({ length: 40_000 }, (_, i) => i);
  const long = [16384, 16384, 7232];
  const short = [...Array<number>(9).fill(4096), 3136];
  for (const [lengths, lost] of [[long, false], [long, true], [short, false], [long, false]] as const) {
    void open().send(bytes);
    const fragments = fill().slice(1);
    session.endpoint.out.sentIn(40_500, Infinity);
    assert.deepEqual(fragments.map((f) => f.data!.length), lengths);
    assert.deepEqual(fragments.map((f) => f.length), lengths.map((_, i) => (i === 0 ? 40_000 : undefined)));
    assert.deepEqual(Buffer.concat(fragments.map((f) => f.data!)), Buffer.from(bytes));
    if (lost) {
      session.lose(() => true);
      fill();
    }
    say({ ack: fragments.at(-1)!.seq });
  }
});

test("frames are kept until acked and sent again with the same seq when their link is lost", () => {
  const { open, fill, say, session } = fixture();
  const stream = open();
  void stream.send(Uint8Array.of(1));
  stream.closeSend();
  assert.deepEqual(brief(fill(1)), [`1:1:${TYPE_OPEN}`, `2:1:${TYPE_MESSAGE}`, `3:1:${TYPE_HALF_CLOSE}`]);
  assert.deepEqual(fill(1), []);
  say({ ack: 1 });
  session.lose((on) => on.number === 1);
  assert.deepEqual(brief(fill(2)), [`2:1:${TYPE_MESSAGE}`, `3:1:${TYPE_HALF_CLOSE}`]);
  session.lose((on) => on.number === 1);
  assert.equal(session.endpoint.out.sendable, false);
  say({ ack: 3 });
  session.lose(() => true);
  assert.deepEqual(fill(3), []);
});

test("an ack of what was never sent ends the session as a protocol violation (D1)", async () => {
  const { open, fill, say, lost } = fixture();
  const stream = open();
  fill();
  say({ ack: 2 });
  assert.equal(lost[0]!.reason, "protocol_violation");
  assert.deepEqual([(await stream.ended).status, (await stream.ended).reason], [14, "protocol_violation"]);
});

test("a stream sends no more than its window, WINDOW lets it go on (D3)", () => {
  const { open, fill, say } = fixture();
  const stream = open();
  void stream.send(new Uint8Array(100_000));
  const sent = fill().slice(1);
  assert.equal(sent.reduce((n, f) => n + f.data!.length, 0), (64 << 10) - 32);
  assert.deepEqual(fill(), []);
  say({ frames: [{ seq: 1, stream: 1, type: TYPE_WINDOW, limit: 100_032 }] });
  assert.equal(fill().reduce((n, f) => n + f.data!.length, 0), 100_000 - (64 << 10) + 32);
});

test("the session's window bounds what is sent and not acked (D2)", () => {
  const { open, fill, say } = fixture();
  say({ welcome: { ...WELCOME, sessionWindow: 1 << 20 } });
  for (let i = 0; i < 40; i++) void open().send(new Uint8Array(60_000));
  let cost = 0;
  for (let frames = fill(); frames.length > 0; frames = fill()) for (const f of frames) cost += 32 + (f.data?.length ?? f.open!.method.length);
  assert.ok(cost <= 1 << 20 && cost > (1 << 20) - 20_000, `${cost} bytes are in flight`);
});

test("send waits while more than 64 KiB are queued", async () => {
  const { open, fill, say } = fixture();
  const stream = open();
  await stream.send(new Uint8Array(64 << 10));
  let resolved = false;
  void stream.send(new Uint8Array(64 << 10)).then(() => (resolved = true));
  await Promise.resolve();
  assert.equal(resolved, false);
  fill();
  say({ frames: [{ seq: 1, stream: 1, type: TYPE_WINDOW, limit: 70_000 }] });
  fill();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(resolved, true);
});

test("a large message is credited once its length is known (D4)", () => {
  const { open, fill, say } = fixture();
  open();
  fill();
  say({ frames: [{ seq: 1, stream: 1, type: TYPE_MESSAGE, data: new Uint8Array(16384), length: 5 << 20 }] });
  assert.equal(fill().find((f) => f.type === TYPE_WINDOW)!.limit, (5 << 20) + 32);
});

test("an RPC that is over gives back what its unread long messages hold of the budget (D4)", async () => {
  const { open, fill, say } = fixture();
  const length = 16 << 20;
  const data = new Uint8Array(16384);
  for (let id = 1, seq = 1; id <= 4; id++) {
    const stream = open();
    fill();
    for (let i = 0; i < length / data.length; i++, seq++) {
      say({ frames: [{ seq, stream: id, type: TYPE_MESSAGE, data, ...(i === 0 && { length }) }] });
      if (i === 0) assert.ok(fill().some((f) => f.type === TYPE_WINDOW), `no room for message ${id}`);
    }
    say({ frames: [endFrame(seq++, id)] });
    stream.giveUp(bridgeEnd(1, "cancelled", ""));
    assert.deepEqual([stream.status!.status, (await stream.recv())!.length], [0, length]);
  }
});

test("a message over the limit ends its RPC, not the session", async () => {
  const { open, fill, say, lost } = fixture();
  const stream = open();
  fill();
  say({ frames: [{ seq: 1, stream: 1, type: TYPE_MESSAGE, data: new Uint8Array(1), length: (16 << 20) + 1 }] });
  assert.deepEqual([(await stream.ended).status, (await stream.ended).reason], [8, "limit"]);
  assert.deepEqual(brief(fill()), [`2:1:${TYPE_CANCEL}`]);
  assert.equal(lost.length, 0);
});

for (const [what, frames] of Object.entries({
  "bytes beyond the window": Array.from({ length: 5 }, (_, i) => messageFrame(i + 1, 1, new Uint8Array(16384))),
  "a fragment without a first one": [{ seq: 1, stream: 1, type: TYPE_MESSAGE, data: Uint8Array.of(1) }],
  "a fragment longer than its message": [{ seq: 1, stream: 1, type: TYPE_MESSAGE, data: new Uint8Array(2), length: 1 }],
  "an empty fragment": [{ seq: 1, stream: 1, type: TYPE_MESSAGE, length: 1 }],
})) {
  test(`${what}: a protocol violation`, () => {
    const { open, fill, say, lost } = fixture();
    open();
    fill();
    say({ frames });
    assert.equal(lost[0]?.reason, "protocol_violation");
  });
}

test("frames of an RPC that is over are ignored but acked (D5)", async () => {
  const { open, fill, say, session } = fixture();
  const stream = open();
  fill();
  assert.equal(session.endpoint.numStreams, 1);
  say({ frames: [messageFrame(1, 1, Uint8Array.of(7)), endFrame(2, 1), endFrame(3, 1), messageFrame(4, 9, Uint8Array.of(1))] });
  assert.equal(session.endpoint.inbox.taken, 4);
  assert.equal(session.endpoint.numStreams, 0);
  assert.deepEqual(await stream.recv(), Uint8Array.of(7));
  assert.equal(await stream.recv(), undefined);
});

test("an unknown frame type ends its RPC only if it is critical (W3)", async () => {
  const { open, fill, say } = fixture();
  const stream = open();
  fill();
  say({ frames: [{ seq: 1, stream: 1, type: 99 }] });
  assert.equal(stream.status, undefined);
  say({ frames: [{ seq: 2, stream: 1, type: 99, critical: true }] });
  assert.equal((await stream.ended).status, 12);
});

test("when a session is lost, RPCs of which nothing was sent are handed over, the others end once (E2)", async () => {
  const { open, fill, say, lost, orphans } = fixture();
  const sent = open();
  fill();
  const unsent = open();
  say({ close: { code: 5, message: "", retryAfterMillis: 0, limit: 0 }, incarnation: 99n });
  assert.deepEqual(lost.map((why) => why.reason), ["bridge_restarted"]);
  assert.deepEqual(orphans, [unsent]);
  const end = await sent.ended;
  assert.deepEqual([end.status, end.reason, end.origin], [14, "bridge_restarted", 1]);
  assert.match(end.message, /may have run/);
  assert.equal(unsent.status, undefined);
});

test("an RPC that was never sent can be cancelled without a word to the bridge", () => {
  const { open, fill } = fixture();
  open().giveUp(bridgeEnd(1, "cancelled", ""));
  assert.deepEqual(fill(), []);
});

test("an RPC that was given up does not begin again on another session, though it may be sent again (E2)", async () => {
  const { session, fill, orphans } = fixture();
  const [kept, given] = [0, 1].map(() => new Stream({ ...OPEN, early: true, singleRequest: true }, 64 << 10, 3)) as [Stream, Stream];
  for (const stream of [kept, given]) {
    session.endpoint.adopt(stream);
    void stream.send(Uint8Array.of(1));
    stream.closeSend();
  }
  assert.equal(fill().length, 6);
  given.giveUp(bridgeEnd(1, "cancelled", "cancelled by the caller"));
  session.end(new SessionError("unknown_session", "no such session"));
  assert.deepEqual(orphans, [kept]);
  assert.equal((await given.ended).reason, "cancelled");
});
