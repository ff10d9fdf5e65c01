// docs/recipes: what components show, in each framework.

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { createBridgeTransport } from "pollbridge/connect";
import type { Channel } from "pollbridge";
import { createElement } from "react";
import { createRoot } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { compile } from "svelte/compiler";
import { get } from "svelte/store";
import { createApp, defineComponent, effectScope, h, ref, watch } from "vue";
import { Demo } from "../../.test/recipes/react/gen/demo_pb.js";
import { received, stateOf } from "../../.test/recipes/svelte/stores.js";
import { Greeting, newQueryClient, Providers } from "../../.test/recipes/tanstack-query/app.js";
import { useChannelState, useStream } from "../../.test/recipes/vue/use-channel.js";
import { main, newBridge, until } from "./page.js";

const { bridge, greets } = newBridge();

function counter(channel: Channel): (to: number) => (signal: AbortSignal) => AsyncIterable<number> {
  const client = createClient(Demo, createBridgeTransport(channel));
  return (to) =>
    async function* (signal) {
      for await (const { number } of client.count({ to }, { signal })) yield number;
    };
}

test("Vue: a component counts, anew when a ref changes, and lets go", async () => {
  const channel = bridge.channel();
  const count = counter(channel);
  const to = ref(5);
  const Counter = defineComponent(() => {
    const state = useChannelState(channel);
    const numbers = useStream((signal) => count(to.value)(signal), 3);
    return () => h("p", `${state.value} ${numbers.value.messages} ${numbers.value.done}`);
  });
  const app = createApp(Counter);
  app.mount(main);
  await until(() => main.textContent === "open 3,4,5 true");
  to.value = 7;
  await until(() => main.textContent === "open 5,6,7 true");
  bridge.setOffline(true);
  await until(() => main.textContent === "retrying 5,6,7 true");
  bridge.setOffline(false);
  await until(() => main.textContent === "open 5,6,7 true");
  app.unmount();
  assert.equal(main.textContent, "");
});

test("Vue: a stream that fails tells why, and one whose scope has ended is cancelled", async () => {
  const channel = bridge.channel();
  let aborted = false;
  const scope = effectScope();
  const failed = scope.run(() => useStream<number>((signal) => {
    signal.addEventListener("abort", () => (aborted = true));
    return counter(channel)(1_000_000)(signal);
  }))!;
  await new Promise<void>((resolve) => watch(failed, () => resolve()));
  scope.stop();
  assert.equal(aborted, true);
  const other = effectScope();
  const why = new Error("why");
  const thrown = other.run(() => useStream<number>(async function* () {
    throw why;
  }))!;
  await until(() => thrown.value.done);
  assert.equal(thrown.value.error, why);
  other.stop();
});

test("Svelte: stores follow, and a stream runs while somebody is subscribed", async () => {
  const channel = bridge.channel();
  const state = stateOf(channel);
  const seen: string[] = [];
  const unsubscribe = state.subscribe((now) => seen.push(now));
  await channel.ready();
  unsubscribe();
  assert.deepEqual(seen, ["connecting", "open"]);
  const numbers = received(counter(channel)(5), 3);
  let done = false;
  const leave = numbers.subscribe((now) => (done = now.done));
  await until(() => done);
  assert.deepEqual(get(numbers).messages.length, 3);
  leave();
  assert.equal(get(state), "open");
});

test("Svelte: a component counts", async () => {
  const folder = ".test/recipes/svelte";
  const { js } = compile(await readFile(`${folder}/Count.svelte`, "utf8"), { generate: "client" });
  await writeFile(`${folder}/Count.js`, js.code);
  await (await import("esbuild")).build({
    stdin: { contents: 'export { mount, unmount } from "svelte"; export { default as Count } from "./Count.js";', resolveDir: folder },
    bundle: true, format: "esm", outfile: `${folder}/bundled.mjs`, conditions: ["browser"], packages: "bundle", logLevel: "warning",
  });
  const { mount, unmount, Count } = (await import(`${process.cwd()}/${folder}/bundled.mjs`)) as { mount(component: unknown, options: object): object; unmount(component: object): Promise<void>; Count: unknown };
  const channel = bridge.channel();
  const component = mount(Count, { target: main, props: { channel, count: counter(channel)(4) } });
  await until(() => main.textContent === "open: 1 2 3 4");
  await unmount(component);
});

test("TanStack Query: a query has its answer, is asked again when a session was lost, and not before", async () => {
  const channel = bridge.channel();
  const queries = newQueryClient(channel);
  const root = createRoot(main);
  const page = (name: string): void => root.render(createElement(Providers, { channel, queries, children: createElement(Greeting, { name }) }));
  greets.length = 0;
  page("Ada");
  await until(() => main.textContent === "Hello, Ada!");
  bridge.setOffline(true);
  await until(() => channel.state === "retrying");
  bridge.setOffline(false);
  await channel.ready();
  assert.equal(greets.length, 1);
  bridge.restart();
  await until(() => greets.length === 2);
  page("");
  await until(() => main.textContent!.includes("name: 1 to 100 characters"));
  root.unmount();
  queries.clear();
});

test("React: the recipe's components, and what a server makes of them", async () => {
  const { Count, Greeting: Greets, channel } = await import("../../.test/recipes/react/notes.js");
  assert.equal(renderToString(createElement(Greets, { name: "Ada" })), "<p>connecting</p>");
  assert.equal(renderToString(createElement(Count, { to: 3 })), '<p data-done="false"></p>');
  channel.close();
});

test("Next.js: a server renders a client component, whose channel is the page's only one", async () => {
  const { Greeting: Greets } = await import("../../.test/recipes/servers/greeting.js");
  const { channel } = await import("../../.test/recipes/servers/channel.js");
  assert.equal(renderToString(createElement(Greets, { name: "Ada" })), "<p>connecting</p>");
  assert.equal((globalThis as { channel?: unknown }).channel, channel);
  channel.close();
});
