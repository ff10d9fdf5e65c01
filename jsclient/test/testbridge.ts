// Starts the far side of the tests: see internal/cmd/testbridge.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

export interface Stats {
  connections: { open: number; peak: number; total: number };
  rpcs: { Started: number; Active: number; Cancelled: number };
}

/** A bridge with the test service behind it, in a process of its own. */
export interface TestBridge {
  url: string;
  stats(): Promise<Stats>;
  /** Reads one of the bridge's metrics, e.g. "pollbridge_sessions". */
  metric(name: string): Promise<number>;
  /** Counts connections from here on. */
  reset(): Promise<void>;
  cut(): Promise<void>;
  /** Puts a new bridge in the place of the old, which knows none of its sessions. */
  restart(): Promise<void>;
  outage(millis: number): Promise<void>;
  /** From now on swallows binary bodies, or no more. */
  swallow(on: boolean): Promise<void>;
  stop(): Promise<void>;
}

/** Starts one, of the project in that folder, with further flags. */
export async function startTestBridge(source = "..", ...flags: string[]): Promise<TestBridge> {
  const child = spawn("go", ["run", "./internal/cmd/testbridge", "-static", "jsclient/.test", ...flags], {
    cwd: source,
    stdio: ["pipe", "pipe", "inherit"],
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const line = await new Promise<string>((resolve, reject) => {
    createInterface(child.stdout).once("line", resolve);
    void exited.then(() => reject(new Error("testbridge did not start")));
  });
  const { url, control } = JSON.parse(line) as { url: string; control: string };
  const post = async (path: string): Promise<void> => void (await (await fetch(control + path, { method: "POST" })).text());
  return {
    url,
    stats: async () => (await (await fetch(control + "/stats")).json()) as Stats,
    async metric(name) {
      const text = await (await fetch(control + "/metrics")).text();
      return Number(new RegExp(`^${name} (.*)$`, "m").exec(text)?.[1]);
    },
    reset: () => post("/reset"),
    cut: () => post("/cut"),
    restart: () => post("/restart"),
    swallow: (on) => post(`/swallow?on=${on}`),
    async outage(millis) {
      await post("/refuse?on=true");
      await new Promise((resolve) => setTimeout(resolve, millis));
      await post("/refuse?on=false");
    },
    async stop() {
      child.stdin.end();
      await exited;
    },
  };
}
