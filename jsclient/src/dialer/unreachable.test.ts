// What is certain ends RPCs soon; what may come yet is waited for. Errors name the URL.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, LinkError, type Status } from "../index.js";
import { channelTo, echo, fixture, stopClocks, WELCOME } from "../testing.js";
import { CODE_UNKNOWN } from "../wire/batch.js";

const one = Uint8Array.of(1);

for (const status of [404, 405]) {
  test(`an HTTP status ${status} where no bridge was before ends RPCs in 2 s, and names URL, status and mend`, async (t) => {
    const tick = stopClocks(t);
    let answers = 0;
    const channel = channelTo(t, () => (answers++, new Response("", { status })));
    let ended: Status | undefined;
    void channel.open("s/m").status.then((end) => (ended = end));
    for (let millis = 0; millis < 2_000 && !ended; millis += 10) await tick(10);
    assert.equal(
      ended?.message,
      `session lost: no bridge at http://bridge.test/bridge: HTTP status ${status}; is this its URL and its prefix, and does a proxy before it pass both on?; the RPC has not run`,
    );
    assert.deepEqual([ended.code, ended.reason], [Code.Unavailable, "unreachable"]);
    const before = answers;
    await tick(60_000);
    assert.equal(answers, before, "asked again, though no RPC is open");
  });
}

test("once a bridge was there, a 404 is waited out, by another session too", async (t) => {
  let failures = 0;
  let gone = false;
  const bridge = echo(1);
  const sessions = new Set<string>();
  const channel = channelTo(
    t,
    (batch, url) => {
      sessions.add(url);
      if (!gone) return bridge(batch, url);
      if (failures++ < 20) return new Response("", { status: 404 });
      return batch.hello ? bridge(batch, url) : (sessions.size < 2 ? { close: { code: CODE_UNKNOWN, message: "no such session", retryAfterMillis: 0, limit: 0 } } : bridge(batch, url));
    },
    { backoff: { leastMs: 1, mostMs: 1, idleMs: 1 } },
  );
  await channel.unary("s/m", one);
  gone = true;
  await assert.rejects(channel.unary("s/m", one), /unknown|no such session/);
  failures = 0;
  assert.deepEqual([...(await channel.unary("s/m", one)).message], [0]);
  assert.deepEqual([failures > 20, sessions.size], [true, 2]);
});

test("a status that a bridge may come behind is waited for, and told at once", async (t) => {
  const { session, carrier, lost, tick } = await fixture(t, ["longpoll"], false);
  for (let i = 0; i < 30; i++) {
    for (const exchange of [...carrier.waiting]) await exchange.fail(new LinkError("status", "HTTP status 502", { status: 502 }));
    assert.equal(session.lastError?.message, "HTTP status 502");
    await tick(500);
  }
  while (carrier.waiting.size === 0 && lost.length === 0) await tick(100);
  for (const exchange of [...carrier.waiting]) await exchange.answer({ welcome: WELCOME });
  assert.deepEqual([session.phase, lost], ["open", []]);
});

for (const reason of ["csp", "mixed_content"] as const) {
  test(`${reason} ends the session at once`, async (t) => {
    const { carrier, lost } = await fixture(t, ["longpoll"], false);
    await carrier.last.fail(new LinkError(reason, "what mends it"));
    assert.deepEqual(lost.map((why) => [why.reason, why.message]), [["unreachable", "the page may not reach http://bridge.test/bridge: what mends it"]]);
  });
}

test("a lost session's error names the bridge", async (t) => {
  const { open, tick, lost } = await fixture(t, ["longpoll"]);
  await open();
  await tick(145_000);
  assert.match(lost[0]!.message, /^no answer from http:\/\/bridge\.test\/bridge for \d+ s/);
});
