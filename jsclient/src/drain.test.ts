// What becomes of RPCs on a session whose bridge drains (E3).

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Bridge, channelTo, echo, WELCOME } from "./testing.js";
import { CODE_DRAINED, TYPE_OPEN } from "./wire/batch.js";

/** A bridge whose first session takes RPCs, asks to go elsewhere, and is closed with them open; others echo. */
function draining(): Bridge {
  let first: string | undefined;
  let taken = 0;
  return (batch, url) => {
    if (url !== (first ??= url)) return echo(1)(batch, url);
    if (batch.hello) return { welcome: WELCOME };
    taken += batch.frames.filter((f) => f.type === TYPE_OPEN).length;
    if (batch.frames.length > 0) return { ack: batch.frames.at(-1)!.seq, goAway: { spreadMillis: 0 } };
    return taken > 0 ? { ack: taken, close: { code: CODE_DRAINED, message: "the bridge is shutting down", retryAfterMillis: 0, limit: 0 } } : undefined;
  };
}

for (const asked of [true, false]) {
  test(`an idempotent RPC that was begun there ${asked ? "is sent again on the next session" : "ends UNAVAILABLE"}`, { timeout: 10_000 }, async (t) => {
    const channel = channelTo(t, draining(), { resendIdempotent: asked });
    await channel.ready();
    const call = channel.open("s/m", { idempotent: true, singleRequest: true, singleResponse: true });
    void call.send(Uint8Array.of(1));
    call.closeSend();
    const { code, reason } = await call.status;
    assert.deepEqual([code, reason], asked ? [0, ""] : [14, "drained"]);
  });
}
