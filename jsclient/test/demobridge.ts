// Starts `bridge demo` for the tests of pages.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** A running demo. */
export interface Demo {
  url: string;
  /** The page of what the bridge is doing, with the flag --admin. */
  admin?: string;
  stop(): Promise<void>;
}

export async function startDemo(...flags: string[]): Promise<Demo> {
  // A group of its own: `go run` does not pass signals on to what it runs.
  const child = spawn("go", ["run", "./cmd/bridge", "demo", "--listen", "127.0.0.1:0", ...flags], {
    cwd: "..",
    detached: true,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const failed = exited.then(() => Promise.reject(new Error("the demo ended before it listened")));
  failed.catch(() => undefined); // it ends after the tests, too
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => (await Promise.race([lines.next(), failed])).value ?? "";
  const line = await next();
  const url = /^listening on (http:.*)$/.exec(line)?.[1];
  if (!url) throw new Error(`the demo began with ${JSON.stringify(line)}`);
  let admin: string | undefined;
  while (flags.includes("--admin") && !admin) admin = /^What the bridge is doing: (http:.*)$/.exec(await next())?.[1];
  return {
    url,
    ...(admin ? { admin } : {}),
    async stop() {
      if (child.exitCode === null) process.kill(-child.pid!, "SIGTERM");
      await exited;
    },
  };
}
