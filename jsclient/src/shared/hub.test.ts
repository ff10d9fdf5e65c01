import assert, { deepEqual, equal } from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { mock, test, type TestContext } from "node:test";
import { HttpCarrier } from "../dialer/http.js";
import { base64, fromBase64 } from "../wire/base64.js";
import { decodeAnswers } from "./bundle.js";
import { Hub, type Tell } from "./hub.js";
import { Tab } from "./tab.js";

const sids = ["AAAAAAAAAAAAAAAAAAAAAA", "AQEBAQEBAQEBAQEBAQEBAQ", "AgICAgICAgICAgICAgICAg"] as const;

/** A request that the network has, and the test answers. */
interface Request {
  url: string;
  /** Place of the session among sids, first byte of the batch, and whether it is patient. */
  items: [number, number, boolean][];
  hold: number;
  /** It came as base64. */
  text: boolean;
  headers: Record<string, string>;
  answer(answers: Record<number, number[]>): Promise<void>;
  respond(response: Response | Error): Promise<void>;
  aborted: boolean;
}

/** A hub, its network, and what it heard. */
function stage(hold = 0): { hub: Hub; sent: Request[]; heard: Tell[]; ask(id: string, session: number, bytes: number, size?: number, text?: boolean): Promise<void> } {
  const sent: Request[] = [];
  const heard: Tell[] = [];
  const network: typeof fetch = (input, init) =>
    new Promise((resolve, reject) => {
      const text = typeof init!.body === "string";
      const body = text ? fromBase64(init!.body as string) : (init!.body as Uint8Array<ArrayBuffer>);
      const bundle = String(input).endsWith("/bundle");
      const request: Request = {
        url: String(input),
        hold: bundle ? new DataView(body.buffer).getUint32(4) : 0,
        items: bundle ? itemsOf(body) : [],
        aborted: false,
        text,
        headers: init!.headers as Record<string, string>,
        answer: (answers) => request.respond(new Response(text ? base64(bundleOf(answers)) : bundleOf(answers))),
        async respond(response) {
          if (response instanceof Error) reject(response);
          else resolve(await read(response));
          await settled();
        },
      };
      init!.signal?.addEventListener("abort", () => {
        request.aborted = true;
        reject(new Error("aborted"));
      });
      sent.push(request);
    });
  const hub = new Hub({ fetch: network, holdMillis: () => hold });
  return {
    hub, sent, heard,
    async ask(id, session, first, size = 3, text = false) {
      const batch = new Uint8Array(size).fill(first);
      hub.take({ type: "exchange", tab: id[0]!, id, base: "http://x/v1/", group: "g", sid: sids[session]!, batch, text, credentials: "omit", headers: {} }, (tell) => heard.push(tell));
      await settled();
    },
  };
}

/** The same response with its body at hand, so that one turn of the event loop settles all. */
async function read(response: Response): Promise<Response> {
  const body = response.arrayBuffer();
  await body.catch(() => undefined);
  return { status: response.status, headers: response.headers, arrayBuffer: () => body } as Response;
}

function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function itemsOf(body: Uint8Array<ArrayBuffer>): Request["items"] {
  const view = new DataView(body.buffer);
  const items: Request["items"] = [];
  for (let at = 8; at < body.length; at += 21 + view.getUint32(at + 17)) items.push([body[at]!, body[at + 21]!, body[at + 16] === 1]);
  return items;
}

function bundleOf(answers: Record<number, number[]>): Uint8Array<ArrayBuffer> {
  const out = [0xb1, 0xd7, 1, 0];
  for (const [place, bytes] of Object.entries(answers)) out.push(0, Number(place), 0, 0, 0, bytes.length, ...bytes);
  return Uint8Array.from(out);
}

const answered = (heard: Tell[]): unknown[] => heard.map((tell) => (tell.type === "answer" ? [tell.id, tell.status, ...tell.body!] : tell));

test("a bundle's answers go to their exchanges, the rest is sent again", async () => {
  const { sent, heard, ask } = stage();
  await ask("a1", 0, 10);
  await ask("b1", 1, 11);
  equal(sent[0]!.url, "http://x/v1/g/bundle");
  deepEqual(sent.map((r) => r.items), [[[0, 10, true]], [[1, 11, true], [0, 10, true]]]);
  await sent[0]!.answer({}); // released by the second
  equal(sent.length, 2);
  await sent[1]!.answer({ 0: [7, 8] });
  deepEqual(answered(heard), [["b1", 200, 7, 8]]);
  deepEqual(sent[2]!.items, [[0, 10, true]]);
  await sent[2]!.answer({ 0: [9] });
  deepEqual(answered(heard).at(-1), ["a1", 200, 9]);
  equal(sent.length, 3);
});

test("exchanges share a bundle only with those of the same headers", async () => {
  const { hub, sent } = stage();
  for (const [i, tenant] of ["a", "b", "a"].entries()) {
    hub.take({ type: "exchange", tab: `${i}`, id: `${i} 1`, base: "http://x/v1/", group: "g", sid: sids[i]!, batch: Uint8Array.of(i), text: false, credentials: "omit", headers: { tenant } }, () => undefined);
    await settled();
  }
  deepEqual(sent.map(({ items }) => items.map(([session]) => session)), [[0], [1], [2, 0]]);
  deepEqual(sent.map(({ headers }) => headers["tenant"]), ["a", "b", "a"]);
});

test("two bundles are in flight at most, what comes meanwhile shares the next", async () => {
  const { sent, ask } = stage();
  for (const [i, session] of [0, 1, 2, 0].entries()) await ask(`t${i}`, session, i);
  equal(sent.length, 2);
  await sent[0]!.answer({});
  deepEqual(sent[2]!.items, [[2, 2, true], [0, 3, true], [1, 1, true]]);
});

test("neither a long exchange nor one that its session has gone beyond is carried twice", async () => {
  const { sent, ask } = stage();
  await ask("a1", 0, 1);
  await ask("a2", 0, 2, 2000);
  deepEqual(sent[1]!.items, [[0, 2, false]]);
  await sent[0]!.answer({ 0: [] });
  await ask("b1", 1, 3);
  deepEqual(sent[2]!.items, [[1, 3, true]]);
});

test("an answer that is not ours goes to all whom no other bundle carries", async () => {
  const { sent, heard, ask } = stage();
  await ask("a1", 0, 1);
  await ask("b1", 1, 2, 2000);
  await sent[0]!.respond(new Response("<html>", { status: 502, headers: { "Retry-After": "3" } }));
  equal(heard.length, 0); // the second bundle has it
  await sent[1]!.respond(new TypeError("no network"));
  deepEqual(heard, [{ type: "failed", id: "b1", message: "no network" }, { type: "failed", id: "a1", message: "no network" }]);
  await ask("c1", 2, 3);
  await sent[2]!.respond(new Response("<html>", { status: 502, headers: { "Retry-After": "3" } }));
  const last = heard.at(-1) as Tell;
  assert(last.type === "answer");
  deepEqual([last.id, last.status, new TextDecoder().decode(last.body)], ["c1", 502, "<html>"]);
  equal(new Headers(last.headers).get("retry-after"), "3");
});

test("a bundle that comes back with nothing, unreleased, has failed", async () => {
  const { sent, heard, ask } = stage();
  await ask("a1", 0, 1);
  await sent[0]!.answer({});
  equal(heard[0]?.type, "failed");
  equal(sent.length, 1);
});

test("a bundle with a hold may come back with nothing, and is sent again", async () => {
  const { sent, heard, ask } = stage(2000);
  await ask("a1", 0, 1);
  equal(sent[0]!.hold, 2000);
  await sent[0]!.answer({});
  deepEqual([heard.length, sent.length], [0, 2]);
});

test("base64 has bundles of its own, and gets its answers as base64", async () => {
  const { sent, heard, ask } = stage();
  for (const [i, text] of [false, true, false, true].entries()) await ask(`t${i}`, i % 3, i, 3, text);
  deepEqual(sent.map(({ text, items }) => [text, items]), [
    [false, [[0, 0, true]]],
    [true, [[1, 1, true]]],
    [false, [[2, 2, true], [0, 0, true]]],
    [true, [[0, 3, true], [1, 1, true]]],
  ]);
  await sent[3]!.answer({ 0: [7, 8] });
  await sent[1]!.respond(new Response("<html>"));
  deepEqual(answered(heard), [["t3", 200, ...new TextEncoder().encode("Bwg=")], ["t1", 200, ...new TextEncoder().encode("<html>")]]);
});

test("what is cut is heard as cut", async () => {
  const { sent, heard, ask } = stage();
  await ask("a1", 0, 1);
  const body = new ReadableStream({ start: (controller) => controller.error(new Error("cut")) });
  await sent[0]!.respond(new Response(body));
  deepEqual(heard.map((tell) => ("body" in tell ? tell.body : tell)), [undefined]);
});

test("an exchange that is given up takes a bundle with it that is as old as a session waits, what else it carried is sent again", async (t) => {
  t.mock.timers.enable({ apis: ["Date"] });
  t.mock.method(performance, "now", () => Date.now());
  const { hub, sent, ask } = stage();
  const abort = async (id: string): Promise<void> => {
    hub.take({ type: "abort", tab: id[0]!, id }, () => undefined);
    await settled();
  };
  await ask("a1", 0, 1);
  await ask("b1", 1, 2);
  await abort("b1");
  deepEqual(sent.map((r) => r.aborted), [false, false]);
  t.mock.timers.tick(3000);
  await ask("c1", 2, 3);
  equal(sent.length, 2); // both are under way
  await abort("c1"); // it could not leave: what is oldest is dead
  deepEqual(sent.map((r) => r.aborted), [true, false]);
  await ask("c2", 2, 4);
  deepEqual(sent[2]!.items, [[2, 4, true], [0, 1, true]]);
  await ask("c3", 2, 5, 2000);
  await abort("a1");
  deepEqual(sent.map((r) => r.aborted), [true, true, false, false]);
  deepEqual(sent[3]!.items, [[2, 5, false]]);
});

test("a session that makes room for its next exchange, and a tab that goes, leave bundles with others as they are", async (t) => {
  t.mock.timers.enable({ apis: ["Date"] });
  t.mock.method(performance, "now", () => Date.now());
  const { hub, sent, heard, ask } = stage();
  await ask("a1", 0, 1);
  await ask("b1", 1, 2);
  t.mock.timers.tick(3000);
  await sent[0]!.answer({});
  await ask("b2", 1, 3);
  hub.take({ type: "abort", tab: "b", id: "b1" }, () => undefined);
  hub.take({ type: "gone", tab: "b" }, () => undefined);
  await settled();
  deepEqual(sent.map((r) => r.aborted), [false, false, false]);
  hub.take({ type: "gone", tab: "a" }, () => undefined);
  await settled();
  deepEqual(sent.map((r) => r.aborted), [false, true, true]);
  deepEqual([heard.length, sent.length], [0, 3]);
});

test("a bridge that knows no bundles gets exchanges", async () => {
  const { sent, heard, ask } = stage();
  await ask("a1", 0, 1);
  await sent[0]!.respond(new Response("", { status: 404, headers: { Pollbridge: "1" } }));
  equal(sent[1]!.url, `http://x/v1/${sids[0]}/poll`);
  await sent[1]!.respond(new Response(Uint8Array.of(5)));
  deepEqual(answered(heard), [["a1", 200, 5]]);
});

/** Hands an exchange to a hub as a client does that shares requests. Returns why it failed. */
async function whyNot(t: TestContext, bridge: string, network: typeof fetch): Promise<unknown> {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const hub = new Hub({ fetch: network, holdMillis: () => 0 });
  const tab = new Tab("t", "g");
  tab.use({ post: (ask) => hub.take(ask, (tell) => tab.heard(tell)), renew: () => undefined, close: () => undefined });
  const carrier = new HttpCarrier(bridge, { fetch: tab.fetch }, () => undefined);
  const { reason, message } = await carrier.exchange(sids[0], Uint8Array.of(1), new AbortController().signal, false).then(() => assert.fail(), (err) => err);
  return [reason, message];
}

test("a redirect is named with where it leads, and nothing goes there", async (t) => {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url!);
    response.writeHead(307, { Location: "/login" }).end("moved");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  deepEqual(await whyNot(t, `http://127.0.0.1:${port}`, fetch), ["foreign", "a redirect to /login"]);
  deepEqual(asked, ["/bridge/v1/g/bundle"]);
});

test("a redirect that a browser keeps back is named as one", async (t) => {
  const kept = { type: "opaqueredirect", status: 0, headers: new Headers(), arrayBuffer: async () => new ArrayBuffer(0) } as unknown as Response;
  deepEqual(await whyNot(t, "http://bridge.test", async () => kept), ["foreign", "a redirect"]);
});

test("what is asked twice is carried once, and heard to who asked last", async () => {
  const { hub, sent, heard, ask } = stage();
  hub.take({ type: "exchange", tab: "a", id: "a1", base: "http://x/v1/", group: "g", sid: sids[0], batch: Uint8Array.of(1), text: false, credentials: "omit", headers: {} }, () => assert.fail());
  await ask("a1", 0, 1);
  equal(sent.length, 1);
  await sent[0]!.answer({ 0: [4] });
  deepEqual(answered(heard), [["a1", 200, 4]]);
});

test("bodies that are no bundle have no answers", () => {
  for (const bytes of [[], [0xb1], [0xb1, 0xd7, 2, 0], [0xb1, 0xd7, 1, 0, 0], [0xb1, 0xd7, 1, 0, 0, 0, 255, 255, 255, 255]]) {
    equal(decodeAnswers(Uint8Array.from(bytes), false), undefined);
  }
});

test("a hub that says nothing is passed by although nothing waits whenever the tab looks", async (t) => {
  let look: (() => void) | undefined;
  t.mock.method(globalThis, "setInterval", (what: () => void) => ((look = what), 1));
  t.mock.method(globalThis, "clearInterval", () => (look = undefined));
  const network = t.mock.method(globalThis, "fetch", async () => new Response(Uint8Array.of(1)));
  const tab = new Tab("t", "g");
  tab.use({ post: () => undefined, renew: () => undefined, close: () => undefined });
  const exchange = (): AbortController => {
    const controller = new AbortController();
    tab.fetch(`http://x/v1/${sids[0]}/poll`, { method: "POST", body: Uint8Array.of(1), signal: controller.signal }).catch(() => undefined);
    return controller;
  };
  const given = exchange(); // for 10 s, which is two looks; its session asks again a little later
  look!();
  given.abort();
  await settled();
  look!();
  exchange();
  look!();
  await settled();
  equal(network.mock.callCount(), 1);
});

test("a hub that says nothing is passed by, and used again when it speaks", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const network = mock.method(globalThis, "fetch", async () => new Response(Uint8Array.of(1)));
  t.after(() => network.mock.restore());
  const asked: string[] = [];
  let renewed = 0;
  const tab = new Tab("t", "g");
  tab.use({ post: (ask) => asked.push(ask.type), renew: () => renewed++, close: () => undefined });
  const exchange = (): Promise<Response> => tab.fetch(`http://x/v1/${sids[0]}/poll`, { method: "POST", body: Uint8Array.of(1) });
  const first = exchange();
  t.mock.timers.tick(5000);
  equal(network.mock.callCount(), 0);
  t.mock.timers.tick(5000);
  equal((await first).status, 200);
  await exchange();
  deepEqual([network.mock.callCount(), renewed], [2, 1]);
  equal(network.mock.calls[1]!.arguments[0], "http://x/v1/t/bundle"); // not of the origin's group: what others have under way stays there
  tab.heard({ type: "pong" });
  const third = exchange();
  tab.heard({ type: "answer", id: "t 3", status: 204, headers: [], body: new Uint8Array(0) });
  equal((await third).status, 204);
  deepEqual(asked, ["exchange", "ping", "ping", "exchange"]);
  const controller = new AbortController();
  const fourth = tab.fetch(`http://x/v1/${sids[0]}/poll`, { method: "POST", body: Uint8Array.of(1), signal: controller.signal });
  controller.abort(new Error("enough"));
  await assert.rejects(fourth, /enough/);
  equal(asked.at(-1), "abort");
  await tab.fetch(`http://x/v1/${sids[0]}/poll`, { method: "POST", body: Uint8Array.of(1), keepalive: true }); // a beacon
  equal(network.mock.callCount(), 3);
});
