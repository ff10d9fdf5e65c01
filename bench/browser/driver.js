// Drives Chromium: prints its version, then does what each line on standard
// input asks, as JSON, and answers with one line. Ends with its standard input.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const executablePath = execFileSync("sh", ["-c", "command -v chromium || command -v google-chrome"], { encoding: "utf8" }).trim();
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
const pages = new Map(); // what sends to the page of a way

/** A page in a context of its own: no cache, no socket and no renderer is another's. */
async function open(url) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(url);
  await page.waitForFunction("globalThis.bench");
  return { context, page };
}

const root = await browser.newBrowserCDPSession();
const answers = new Map(); // what takes the answer, by the number of the question
let asked = 0;
root.on("Target.receivedMessageFromTarget", ({ message }) => {
  const { id, ...answer } = JSON.parse(message);
  answers.get(id)?.(answer);
  answers.delete(id);
});

/**
 * A page that only this driver knows, and gives what sends to it. Playwright
 * would have each WebSocket message told to it, with its bytes, which costs
 * the page and this machine more than the message does.
 */
async function openAside(url) {
  const { browserContextId } = await root.send("Target.createBrowserContext");
  const { targetId } = await root.send("Target.createTarget", { url, browserContextId });
  const { sessionId } = await root.send("Target.attachToTarget", { targetId });
  return async (method, params = {}) => {
    const id = ++asked;
    const answer = new Promise((resolve) => answers.set(id, resolve));
    await root.send("Target.sendMessageToTarget", { sessionId, message: JSON.stringify({ id, method, params }) });
    const { result, error } = await answer;
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  };
}

async function evaluate(send, expression) {
  const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
  return result.value;
}

/** The page of a way, which it keeps from one round to the next, so that its code is compiled. */
async function pageOf({ way, page: url }) {
  if (!pages.has(way)) {
    const send = await openAside(url);
    while (!(await evaluate(send, "Boolean(globalThis.bench)"))) await new Promise((resolve) => setTimeout(resolve, 20));
    await send("Performance.enable", { timeDomain: "threadTicks" }); // of the CPU, whatever else runs
    pages.set(way, send);
  }
  return pages.get(way);
}

async function taskDuration(send) {
  const { metrics } = await send("Performance.getMetrics");
  return metrics.find(({ name }) => name === "TaskDuration").value;
}

const asks = {
  /** Receives a stream for so many milliseconds, and tells what the main thread did for it, in seconds; its profile goes into a file if there is one. */
  async stream(ask) {
    const send = await pageOf(ask);
    const run = (millis) => evaluate(send, `bench.stream("${ask.kind}", "${ask.url}", ${ask.bytes}, ${millis})`);
    await run(ask.millis / 2);
    if (ask.file) {
      await send("Profiler.enable");
      await send("Profiler.start");
    }
    const before = await taskDuration(send);
    const got = await run(ask.millis);
    const task = (await taskDuration(send)) - before;
    if (ask.file) writeFileSync(ask.file, JSON.stringify((await send("Profiler.stop")).profile));
    return { ...got, task };
  },
  /** Receives one stream, and counts what comes after a while. */
  async far(ask) {
    const send = await pageOf(ask);
    const rest = `"${ask.url}", ${ask.bytes}, ${ask.millis}, ${ask.warmup}`;
    return evaluate(send, ask.kind === "fetch" ? `bench.fetch(${rest})` : `bench.stream("${ask.kind}", ${rest})`);
  },
  /** Times the first call of a page that nobody has used. */
  async first({ page: url, kind, method, bytes }) {
    const { context, page } = await open(url);
    try {
      const call = kind === "post" ? `bench.post("/echo", ${bytes})` : `bench.first("${kind}", "${method}", "/", ${bytes})`;
      return { millis: await page.evaluate(call) };
    } finally {
      await context.close();
    }
  },
};

function reply(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

process.stdout.write(`Chromium ${browser.version()}\n`);
for await (const line of createInterface(process.stdin)) {
  const ask = JSON.parse(line);
  try {
    reply(await asks[ask.what](ask));
  } catch (err) {
    reply({ error: String(err.message ?? err).split("\n")[0] });
  }
}
await browser.close();
