// What a check has found, and the table from which it is said.

/** How good or bad an outcome is: "none" is not tried, or nothing to be said. */
export type Level = "good" | "warn" | "bad" | "none";

/** One row of a report. */
export interface Row {
  readonly check: string;
  readonly title: string;
  readonly outcome: string;
  readonly level: Level;
  readonly says: string;
  readonly advice?: string;
  readonly facts?: Facts;
}

/** Report is what a check has found. It holds no secret: neither credentials nor values of headers. */
export interface Report {
  /** Of the bridge, its prefix included. */
  readonly url: string;
  /** What the bridge calls itself. */
  readonly bridge?: string;
  /** Over long-polling. */
  readonly works: boolean;
  readonly level: Level;
  /** One line, in plain words. */
  readonly verdict: string;
  /** Kinds of network; "clean" if nothing is wrong. */
  readonly profiles: readonly string[];
  readonly rows: readonly Row[];
  /** That the check took. */
  readonly seconds: number;
}

/** Stand for {words} in the table's sentences. */
export type Facts = Readonly<Record<string, string>>;

type Outcomes = Readonly<Record<string, readonly string[]>>;

interface Saying {
  readonly level: Level;
  readonly says: string;
  readonly advice?: string;
}

interface Profile {
  readonly id: string;
  readonly says: string;
  readonly when?: Outcomes;
  readonly unless?: Outcomes;
  readonly alone?: boolean;
}

interface Verdict {
  readonly when: Outcomes;
  readonly clean?: boolean;
  readonly level: Level;
  readonly says: string;
}

/** What checks can come to, and what follows from it: internal/netcheck/table.json. */
export interface Table {
  readonly checks: readonly { readonly id: string; readonly title: string; readonly outcomes: Readonly<Record<string, Saying>> }[];
  readonly skipped: Saying;
  readonly profiles: readonly Profile[];
  readonly clean: Profile;
  readonly verdicts: readonly Verdict[];
}

/** Returns the row that states an outcome. */
export function rowOf(table: Table, check: string, outcome: string, facts?: Facts): Row {
  const known = table.checks.find((c) => c.id === check);
  const said = known?.outcomes[outcome];
  const { level, says, advice } = said ?? table.skipped;
  return {
    check,
    title: known?.title ?? check,
    outcome: said ? outcome : "skipped",
    level,
    says: fill(says, facts),
    ...(advice && { advice: fill(advice, facts) }),
    ...(facts && { facts }),
  };
}

function fill(text: string, facts: Facts = {}): string {
  return text.replace(/\{(\w+)\}/g, (all, word: string) => facts[word] ?? all);
}

const holds = (wanted: Outcomes | undefined, found: ReadonlyMap<string, string>): boolean =>
  Object.entries(wanted ?? {}).every(([check, outcomes]) => outcomes.includes(found.get(check) ?? ""));

/** Draws the conclusion from all rows. */
export function judge(table: Table, rows: readonly Row[]): { profiles: string[]; verdict: string; level: Level } {
  const found = new Map(rows.map((row) => [row.check, row.outcome]));
  const fitting: Profile[] = [];
  for (const p of table.profiles) {
    if (!holds(p.when, found) || (p.unless && holds(p.unless, found))) continue;
    fitting.push(p);
    if (p.alone) break;
  }
  const clean = fitting.length === 0;
  if (clean) fitting.push(table.clean);
  const findings = list(fitting.map((p) => p.says));
  const verdict = table.verdicts.find((v) => holds(v.when, found) && (!v.clean || clean));
  return {
    profiles: fitting.map((p) => p.id),
    verdict: fill(verdict?.says ?? "", { findings, Findings: findings.charAt(0).toUpperCase() + findings.slice(1) }),
    level: verdict?.level ?? "none",
  };
}

/** "a", "a and b", or "a, b and c". */
export function list(parts: readonly string[]): string {
  return parts.length < 2 ? parts.join() : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)!}`;
}

const MARKS: Record<Level, string> = { good: "ok", warn: "WARN", bad: "BAD", none: "-" };

/** Returns the report as plain text, to be pasted into a message. */
export function reportText(report: Report): string {
  const bridge = report.bridge ? ` (${report.bridge})` : "";
  const head = `${report.verdict}\n\nBridge    ${report.url}${bridge}\nProfiles  ${report.profiles.join(", ")}\n\n`;
  const rows = report.rows.map(({ level, title, says, advice }) => {
    const first = `${MARKS[level].padEnd(5)} ${title.padEnd(27)} ${says}\n`;
    return advice && level !== "none" ? `${first}${" ".repeat(33)} -> ${advice}\n` : first;
  });
  return head + rows.join("");
}

const digits = (n: number, places: number): string => n.toFixed(places).replace(/\.0$/, "");

/** Returns a duration as people read it: 0.83 ms, 84 ms, 2.1 s. */
export function inTime(ms: number): string {
  if (ms === 0) return "0 ms";
  if (ms < 1000) return `${ms.toFixed(ms < 1 ? 2 : ms < 10 ? 1 : 0)} ms`;
  return `${digits(ms / 1000, 1)} s`;
}

/** Returns a size as people read it: 512 B, 64 KiB, 1.5 MiB. */
export function inBytes(n: number): string {
  if (n < 1 << 10) return `${Math.round(n)} B`;
  return n < 1 << 20 ? `${digits(n / (1 << 10), 1)} KiB` : `${digits(n / (1 << 20), 1)} MiB`;
}

/** The shortest time that tells a rate, in milliseconds. */
const LEAST_SAMPLE = 20;

/** The part of a time that bytes took, not the round trip. */
export const moving = (took: number, rtt: number): number => Math.max(took - rtt, took / 4);

/** Bytes a second, at least: less time than LEAST_SAMPLE is not believed. */
export const rateOf = (n: number, ms: number): number => (1000 * n) / Math.max(ms, LEAST_SAMPLE);

/** A rate as people read it: 64 KiB/s, over 48.8 MiB/s. */
export const inRate = (n: number, ms: number): string => `${ms < LEAST_SAMPLE ? "over " : ""}${inBytes(rateOf(n, ms))}/s`;
