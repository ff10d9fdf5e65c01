// React's StrictMode, which mounts everything twice, in a page and with a bridge.

import { deepEqual } from "node:assert/strict";
import { after, before, test } from "node:test";
import { build } from "esbuild";
import type { Browser } from "playwright-core";
import { startTestBridge, type TestBridge } from "../testbridge.js";
import { launchChromium } from "./chromium.js";

/** Counts its mounts, shows the channel's state, and what a server-streaming RPC brings. */
const PAGE = `
import { Channel } from "pollbridge";
import { useChannelState, useStream } from "pollbridge/react";
import { StrictMode, createElement, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { encode } from "echo";

let mounts = 0;

function Counter({ channel }) {
  const state = useChannelState(channel);
  const { messages, done, error } = useStream((signal) => {
    const call = channel.open("/pollbridge.test.v1.Echo/ServerStream", { signal, singleRequest: true });
    void call.send(encode({ number: 1, script: { replies: 5 } }));
    call.closeSend();
    return call.messages;
  }, [channel]);
  useEffect(() => void mounts++, []);
  return createElement("p", { "data-done": done }, [state, mounts, messages.length, error ? String(error) : "no error"].join());
}

const outside = new Channel("/", { lazy: true });
const Outside = () => createElement(Counter, { channel: outside });

function Inside() {
  const [channel, setChannel] = useState();
  useEffect(() => {
    const made = new Channel("/");
    setChannel(made);
    return () => made.close();
  }, []);
  return channel && createElement(Counter, { channel });
}

const root = createRoot(document.body);
root.render(createElement(StrictMode, null, createElement(location.hash === "#inside" ? Inside : Outside)));
addEventListener("keydown", () => {
  root.unmount();
  outside.close();
});
`;

let bridge: TestBridge;
let browser: Browser;
before(async () => {
  await build({
    stdin: { contents: PAGE, resolveDir: "." },
    alias: { "pollbridge/react": `${process.cwd()}/.test/src/react.js`, pollbridge: `${process.cwd()}/.test/src/index.js`, echo: `${process.cwd()}/.test/test/echo.js` },
    define: { "process.env.NODE_ENV": '"development"' }, // StrictMode mounts twice there only
    outfile: ".test/bundled/react.js",
    bundle: true,
    format: "esm",
  });
  bridge = await startTestBridge();
  browser = await launchChromium();
});
after(async () => {
  await browser?.close();
  await bridge?.stop();
});

const sessions = async (): Promise<number[]> => [await bridge.metric("pollbridge_sessions"), await bridge.metric("pollbridge_sessions_opened_total")];

for (const [i, where] of ["outside", "inside"].entries()) {
  test(`a channel made ${where} of components: two mounts leave one session, unmounting none`, { timeout: 60_000 }, async () => {
    const page = await browser.newPage();
    await page.goto(`${bridge.url}/#${where}`);
    await page.evaluate(() => import("/static/bundled/react.js" as string));
    await page.locator("p[data-done=true]", { hasText: "open,2,5,no error" }).waitFor();
    deepEqual(await sessions(), [1, i + 1]);
    await page.keyboard.press("x");
    while ((await sessions())[0] !== 0) await new Promise((resolve) => setTimeout(resolve, 20));
    deepEqual(await sessions(), [0, i + 1]);
    await page.close();
  });
}
