// Where there is no page, and where there is not even all that a client needs.

import { deepEqual, equal, rejects } from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { diagnose } from "./diagnose.js";
import { Channel, Code, type SessionError } from "./index.js";
import { asPage } from "./testing.js";

test("a relative URL where there is no page: nothing is done, and RPCs say what to do", async (t) => {
  const fetched: unknown[] = [];
  const fetch = (url: unknown): Promise<Response> => (fetched.push(url), Promise.reject(new Error("none")));
  for (const url of ["/", "/some/prefix", "bridge"]) {
    const channel = new Channel(url, { fetch });
    const events: Event[] = [];
    for (const type of ["statechange", "lost"] as const) channel.addEventListener(type, (event) => events.push(event));
    equal(channel.state, "connecting", "as a page has it that a server renders");
    const says = /^session lost: bridge URL \/\S*: a relative one needs a page; give an absolute one; the RPC has not run$/;
    const { code, reason, message } = await channel.open("s/m").status;
    deepEqual([code, reason, says.test(message)], [Code.Unavailable, "unreachable", true], message);
    await rejects(channel.unary("s/m", new Uint8Array()), { code: Code.Unavailable });
    await rejects(channel.ready(), ({ reason, message }: SessionError) => reason === "unreachable" && /needs a page/.test(message));
    channel.retryNow();
    deepEqual([events.length, channel.events.length, fetched.length], [0, 0, 0]);
    channel.close();
    equal(channel.state, "closed");
    equal((await channel.open("s/m").status).code, Code.Canceled);
  }
  await rejects(diagnose("/", { fetch }), { name: "TypeError", message: /needs a page/ });
  asPage(t, "http://page.test/at/a/path");
  equal(new Channel("/", { lazy: true }).url, "http://page.test/bridge");
});

test("importing fails nowhere; a channel names what is missing", () => {
  const index = new URL("index.js", import.meta.url);
  const run = (without: string[]): string => {
    const script = `
      for (const name of ${JSON.stringify(without)}) delete globalThis[name];
      const { Channel } = await import("${index}");
      try {
        new Channel("http://bridge.test", { lazy: true });
        console.log("fine");
      } catch (err) {
        console.log(String(err));
      }`;
    return execFileSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" }).trim();
  };
  equal(run([]), "fine");
  equal(run(["localStorage", "location", "document", "navigator", "WebSocket"]), "fine");
  const needed = ["AbortController", "Event", "EventTarget", "TextDecoder", "TextEncoder", "crypto", "performance"];
  for (const name of needed) equal(run([name]), `TypeError: no ${name}: import polyfills before`);
  equal(run(needed), `TypeError: no ${needed.join()}: import polyfills before`);
});
