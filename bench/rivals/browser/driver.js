// Drives Chromium: prints its version, then does what each line on standard
// input asks, as JSON, and answers with one line. Ends with its standard input.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const executablePath = execFileSync("sh", ["-c", "command -v chromium || command -v google-chrome"], { encoding: "utf8" }).trim();
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
const pages = new Map(); // by the way that each serves

/** A page in a context of its own: no cache, no socket and no renderer is another's. */
async function open(url) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(url);
  await page.waitForFunction("globalThis.bench");
  return { context, page };
}

/** The page of a way, which it keeps from one round to the next, so that its code is compiled. */
async function pageOf({ way, page: url }) {
  if (!pages.has(way)) {
    const { context, page } = await open(url);
    const cdp = await context.newCDPSession(page);
    await cdp.send("Performance.enable", { timeDomain: "threadTicks" }); // of the CPU, whatever else runs
    pages.set(way, { page, cdp });
  }
  return pages.get(way);
}

async function taskDuration(cdp) {
  const { metrics } = await cdp.send("Performance.getMetrics");
  return metrics.find(({ name }) => name === "TaskDuration").value;
}

const asks = {
  /** Receives a stream for so many milliseconds, and tells what the main thread did for it, in seconds; its profile goes into a file if there is one. */
  async stream(ask) {
    const { page, cdp } = await pageOf(ask);
    const run = (millis) => page.evaluate((ask) => bench.stream(ask.kind, ask.url, ask.bytes, ask.millis), { ...ask, millis });
    await run(ask.millis / 2);
    if (ask.file) {
      await cdp.send("Profiler.enable");
      await cdp.send("Profiler.start");
    }
    const before = await taskDuration(cdp);
    const got = await run(ask.millis);
    const task = (await taskDuration(cdp)) - before;
    if (ask.file) writeFileSync(ask.file, JSON.stringify((await cdp.send("Profiler.stop")).profile));
    return { ...got, task };
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
