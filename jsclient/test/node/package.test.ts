// The package by its own name, as it is published.

import { deepEqual, equal } from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { promisify } from "node:util";
import { SERVICE } from "../echo.js";
import { startTestBridge } from "../testbridge.js";

const { exports, sideEffects } = JSON.parse(await readFile("package.json", "utf8")) as {
  exports: Record<string, string | Record<string, string>>;
  sideEffects: boolean;
};
const modules = Object.entries(exports).flatMap(([path, target]) => (typeof target === "string" ? [] : [{ path, target }]));

/** Runs a script that must end by itself: what it loads leaves nothing running. */
function run(script: string): string {
  return execFileSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8", timeout: 60_000 }).trim();
}

test("every module can be imported where there is no page, and does nothing", () => {
  const names = modules.map(({ path }) => `pollbridge${path.slice(1)}`);
  const script = `
    const before = Object.getOwnPropertyNames(globalThis).length;
    await Promise.all(${JSON.stringify(names)}.map((name) => import(name)));
    console.log(Object.getOwnPropertyNames(globalThis).length - before);`;
  equal(run(script), "0");
  equal(sideEffects, false);
});

test("types come first, and every file is there", async () => {
  for (const { target } of modules) {
    deepEqual(Object.keys(target), ["types", "default"]);
    for (const file of Object.values(target)) await readFile(file);
    if (target["default"]!.startsWith("./dist/")) await readFile(`${target["default"]}.map`);
  }
});

test("the package carries every transport", { timeout: 60_000 }, async () => {
  const bridge = await startTestBridge();
  try {
    for (const transports of [["longpoll"], ["ws"], ["longpoll", "ws"]]) {
      const script = `
        import { WebSocket } from "ws";
        import { Channel } from "pollbridge";
        const channel = new Channel("${bridge.url}", { WebSocket, transports: ${JSON.stringify(transports)} });
        const { message } = await channel.unary("${SERVICE}Unary", new Uint8Array([8, 1]));
        while (channel.transport !== "${transports.at(-1)}") await new Promise((resolve) => channel.addEventListener("statechange", resolve, { once: true }));
        console.log(message.subarray(0, 2).join());
        channel.close();`;
      const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script]);
      equal(stdout, "8,1\n");
    }
  } finally {
    await bridge.stop();
  }
});

test("what is published has licence, changelog and types, and its pages point nowhere outside", async () => {
  const [{ files }] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json"], { encoding: "utf8" })) as [{ files: { path: string }[] }];
  const packed = new Set(files.map(({ path }) => `./${path}`));
  const wanted = modules.flatMap(({ target }) => Object.values(target));
  deepEqual(["./LICENSE", "./CHANGELOG.md", "./README.md", ...wanted].filter((path) => !packed.has(path)), []);
  deepEqual([...packed].filter((path) => /\.test\.|\/testing\./.test(path)), []);
  for (const page of ["README.md", "CHANGELOG.md"]) {
    deepEqual([...(await readFile(page, "utf8")).matchAll(/\]\((?!https:|#)[^)]*\)/g)].map(String), [], page);
  }
});

test("TypeScript knows client.js, and the global of the classic script", async () => {
  await mkdir(".test/consumer/node_modules", { recursive: true });
  await symlink("../../..", ".test/consumer/node_modules/pollbridge");
  await writeFile(".test/consumer/index.ts", `
    /// <reference types="pollbridge/client.global.js" />
    import { Channel, type State } from "pollbridge/client.js";
    export const state: State = new Channel("/").state;
    export const closed: State = new pollbridge.Channel("/").state;
    // @ts-expect-error a channel has no such member
    new pollbridge.Channel("/").nonsense;`);
  const flags = ["--ignoreConfig", "--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--types", "", "--lib", "es2022,dom,dom.asynciterable"];
  await promisify(execFile)(process.execPath, ["node_modules/typescript/bin/tsc", ...flags, ".test/consumer/index.ts"]);
});

test("CommonJS gets the package by require", () => {
  const script = 'import { createRequire } from "node:module"; console.log(typeof createRequire(process.cwd() + "/x.cjs")("pollbridge").Channel);';
  equal(run(script), "function");
});
