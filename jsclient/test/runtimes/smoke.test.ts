// The built package in Deno and Bun, of npm's packages of those names: their
// commands have to be on the PATH. ./test.sh full has them there.

import { deepEqual } from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { encode, SERVICE } from "../echo.js";
import { startTestBridge, type TestBridge } from "../testbridge.js";

const FOLDER = ".test/runtimes";

/** Makes an RPC of two kinds, with a cut in the middle of a stream, and prints what came of it. */
const SCRIPT = `
import { Channel } from "pollbridge";
const [url, transport, one, hundred] = process.argv.slice(2);
const channel = new Channel(url, { transports: [transport] });
const bytes = (text) => Uint8Array.from(text.split(","), Number);
const { message } = await channel.unary("${SERVICE}Unary", bytes(one));
const call = channel.open("${SERVICE}ServerStream", { singleRequest: true });
call.send(bytes(hundred));
call.closeSend();
const numbers = [];
for await (const [, number] of call.messages) if (numbers.push(number) === 50) channel.disrupt();
const { code } = await call.status;
await channel.ready();
console.log(JSON.stringify({ unary: message[1], in_order: numbers.every((n, i) => n === i + 1), numbers: numbers.length, code, transport: channel.transport }));
channel.close();
`;

let bridge: TestBridge;
before(async () => {
  await mkdir(`${FOLDER}/node_modules`, { recursive: true });
  await symlink("../../..", `${FOLDER}/node_modules/pollbridge`);
  await writeFile(`${FOLDER}/package.json`, '{"type":"module"}');
  await writeFile(`${FOLDER}/smoke.js`, SCRIPT);
  bridge = await startTestBridge();
});
after(() => bridge?.stop());

const runtimes: Record<string, string[]> = {
  deno: ["run", "--no-lock", "--node-modules-dir=manual", "--allow-net", "--allow-read", "--allow-env"],
  bun: ["run"],
};

for (const [runtime, args] of Object.entries(runtimes)) {
  for (const transport of ["longpoll", "ws"]) {
    test(`${runtime}, ${transport}`, { timeout: 60_000 }, async () => {
      const requests = [encode({ number: 1 }), encode({ number: 1, script: { replies: 100 } })].map(String);
      const { stdout } = await promisify(execFile)(runtime, [...args, "smoke.js", bridge.url, transport, ...requests], { cwd: FOLDER, env: { ...process.env, DENO_NO_UPDATE_CHECK: "1" } });
      deepEqual(JSON.parse(stdout), { unary: 1, in_order: true, numbers: 100, code: 0, transport });
    });
  }
}
