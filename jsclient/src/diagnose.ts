// The network check: what a network does on the way to a bridge, in plain
// words. The page at {prefix}/check is this function with a face.

import { bridgeURL, pageless } from "./dialer/url.js";
import type { ChannelOptions } from "./options.js";
import { Asker } from "./diagnose/ask.js";
import * as checks from "./diagnose/checks.js";
import { judge, type Level, type Report, reportText, type Row, rowOf } from "./diagnose/report.js";
import { trySession } from "./diagnose/rpcs.js";
import { streaming, wait, websocket } from "./diagnose/sockets.js";
import { table } from "./diagnose/table.js";
import type { WebSocketConstructor } from "./dialer/carrier.js";

export { type Level, type Report, reportText, type Row };

/** What a check takes. */
export interface DiagnoseOptions extends Pick<ChannelOptions, "auth" | "credentials" | "fetch" | "WebSocket"> {
  /** Waits to try, ascending, in milliseconds, each 100 to 60,000: a check takes some ten seconds more than the longest. Default: 10, 25, 40 and 55 s. */
  holdsMs?: readonly number[] | undefined;
  /** Called with each row as soon as there is one. */
  onrow?: ((row: Row) => void) | undefined;
  /** Called with a check's title when it begins. */
  onstart?: ((title: string) => void) | undefined;
  /** Ends the check early: the report has what is known by then. */
  signal?: AbortSignal | undefined;
}

const HOLDS = [10_000, 25_000, 40_000, 55_000];

/** The checks, in the order in which a report shows them: their ids and titles. */
export const checkTitles: ReadonlyMap<string, string> = new Map(table.checks.map(({ id, title }) => [id, title]));

/**
 * Finds out what the network between this page and the bridge at url does to
 * requests and WebSockets, and makes RPCs of all four kinds. The bridge must
 * have its network check switched on; where it has not, only sessions are
 * opened. Throws TypeError for a bad url or option; what fails on the way is in
 * the report.
 */
export async function diagnose(url: string | URL, options: DiagnoseOptions = {}): Promise<Report> {
  const { holdsMs = HOLDS, onrow, onstart, signal = new AbortController().signal } = options;
  if (holdsMs.length === 0 || holdsMs.some((ms) => !(ms >= 100 && ms <= 60_000))) throw new TypeError(`holdsMs ${JSON.stringify(holdsMs)}: each must be 100 to 60,000`);
  const start = performance.now();
  const base = bridgeURL(url);
  const nowhere = pageless(base);
  if (nowhere) throw new TypeError(nowhere);
  const rows = new Map<string, Row>();
  const outcomes = new Map<string, string>();
  const found: checks.Found = {
    asker: new Asker({
      base,
      fetch: options.fetch ?? ((input, init) => fetch(input, init)),
      WebSocket: options.WebSocket ?? (globalThis.WebSocket as WebSocketConstructor | undefined),
      credentials: options.credentials ?? "same-origin",
      signal,
    }),
    outcomes,
    say(check, outcome, facts) {
      const row = rowOf(table, check, outcome, facts);
      rows.set(check, row);
      outcomes.set(check, outcome);
      onrow?.(row);
    },
    rtt: 0, jitter: 0, ws: "", up: "?", down: "?", narrow: false,
  };
  const step = async (check: string, run: () => Promise<unknown> | unknown): Promise<void> => {
    if (signal.aborted) return;
    onstart?.(checkTitles.get(check) ?? check);
    await run();
  };

  await step("reach", () => checks.reach(found));
  if (found.seen) {
    await step("websocket", () => websocket(found));
    await step("streaming", () => streaming(found));
    for (const check of ["steady", "errors", "types", "cache", "upload", "download", "parallel", "order", "abort"] as const) {
      await step(check, () => checks[check](found));
    }
    await step("hold", () => wait(found, holdsMs));
    await step("copies", () => checks.copies(found));
    await step("speed", () => checks.speed(found));
  }
  await sessions(found, base, options, step);

  const all = table.checks.map(({ id }) => rows.get(id) ?? rowOf(table, id, ""));
  return {
    url: base,
    ...(found.seen && { bridge: found.seen.release }),
    works: ["ok", "opens"].includes(outcomes.get("longpoll") ?? ""),
    ...judge(table, all),
    rows: all,
    seconds: Math.round(performance.now() - start) / 1000,
  };
}

/** Has the product itself tried, on each transport that has a chance. */
async function sessions(found: checks.Found, base: string, options: DiagnoseOptions, step: (check: string, run: () => Promise<unknown>) => Promise<void>): Promise<void> {
  if (["mute", "unreachable", "untrusted", "login"].includes(found.outcomes.get("reach") ?? "")) return;
  const rpcs = found.seen !== undefined;
  const { auth, credentials, fetch, WebSocket } = options;
  for (const transport of ["longpoll", "ws"] as const) {
    const socket = found.outcomes.get("websocket");
    if (transport === "ws" && (!found.asker.way.WebSocket || (socket && !["ok", "breaks", "changed"].includes(socket)))) {
      found.say("ws", "none");
      continue;
    }
    await step(transport, async () => {
      const { took, problem = "", unauthenticated } = await trySession(base, transport, rpcs, { auth, credentials, fetch, WebSocket });
      const outcome = unauthenticated ? "unauthenticated" : problem ? "fails" : rpcs ? "ok" : "opens";
      found.say(transport, outcome, { took: seconds(took), problem });
    });
  }
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
