// The page: starts the check, shows each row as it comes, and what follows.

import { checkTitles, diagnose, reportText } from "../diagnose.js";

const QUICK = [2000, 5000];
const LEVELS = { good: "Fine", warn: "To know", bad: "Broken", none: "Not tried", waiting: "Waiting", running: "Running" };
const SHAPES = { good: "M4 9.5 7.5 13 14 5.5", warn: "M9 4v6m0 3.5v.01", bad: "m5.5 5.5 7 7m0-7-7 7", none: "M5.5 9h7", waiting: "", running: "M9 9v.01" };
const WORDS = { good: "All is well", warn: "Works", bad: "Does not work" };

const byId = (id) => document.getElementById(id);
const bridge = new URL("..", import.meta.url);
const address = new URL(location.href);

let report;
let current = ""; // title of the check that runs
let running; // an AbortController while a check is under way

byId("host").textContent = bridge.host;
byId("length").value = address.searchParams.has("quick") ? "quick" : "full";
byId("again").addEventListener("click", () => (running ? running.abort() : run()));
byId("length").addEventListener("change", () => {
  if (byId("length").value === "quick") address.searchParams.set("quick", "");
  else address.searchParams.delete("quick");
  history.replaceState(null, "", address);
});
byId("copy-text").addEventListener("click", () => copy(reportText(report) + surroundings(), "text"));
byId("copy-json").addEventListener("click", () => copy(JSON.stringify({ ...report, ...seenFrom() }, null, 2), "JSON"));
run();

/** run runs a check from beginning to end. */
async function run() {
  running = new AbortController();
  const { signal } = running;
  const quick = byId("length").value === "quick";
  begin();
  const clock = setInterval(tick, 250, performance.now(), quick ? 17_000 : 68_000);
  try {
    report = await diagnose(bridge, { signal, onrow: show, onstart: started, ...(quick && { holdsMs: QUICK }) });
    conclude(signal.aborted);
  } catch (error) {
    byId("failure").textContent = `The check itself failed: ${error.message}`;
    byId("failure").hidden = false;
    throw error;
  } finally {
    clearInterval(clock);
    running = undefined;
    byId("again").textContent = "Run again";
  }
}

function begin() {
  byId("verdict").dataset.level = "running";
  byId("headline").textContent = "Looking…";
  byId("again").textContent = "Stop";
  byId("copied").textContent = "";
  byId("progress").hidden = false;
  for (const id of ["copy-text", "copy-json"]) byId(id).disabled = true;
  byId("rows").replaceChildren(...Array.from(checkTitles, ([check, title]) => rowOf({ check, title, level: "waiting", says: "" })));
  count();
}

function started(title) {
  current = title;
  for (const row of byId("rows").children) {
    if (row.dataset.level === "waiting" && row.querySelector("h3").textContent === title) paint(row, "running");
  }
}

/** tick moves the bar: most of the time passes in the longest wait. */
function tick(start, expected) {
  const spent = performance.now() - start;
  byId("progress").value = Math.min(0.98, spent / expected);
  byId("detail").textContent = `${current}: ${Math.round(spent / 1000)} s of about ${Math.ceil(expected / 1000)} s`;
}

function show(row) {
  const old = byId("rows").querySelector(`[data-check="${row.check}"]`);
  old.replaceWith(rowOf(row));
  count();
}

/** count keeps the tally, from what is on the page. */
function count() {
  for (const level of ["good", "warn", "bad"]) {
    const { length } = byId("rows").querySelectorAll(`:scope > [data-level="${level}"]`);
    byId(level).textContent = length;
    byId(level).toggleAttribute("data-zero", length === 0);
  }
}

function conclude(stopped) {
  for (const row of report.rows) show(row);
  byId("verdict").dataset.level = stopped ? "none" : report.level;
  byId("headline").textContent = stopped ? "Stopped." : report.verdict;
  byId("detail").textContent = stopped
    ? "What was found until then is below."
    : `${report.bridge ?? "No bridge answered"}, checked in ${report.seconds.toFixed(0)} s. Profile: ${report.profiles.join(", ")}.`;
  byId("progress").hidden = true;
  for (const id of ["copy-text", "copy-json"]) byId(id).disabled = false;
  document.title = `${stopped ? "Stopped" : WORDS[report.level]} · Pollbridge network check`;
}

/** rowOf makes a row; every text goes in as text. */
function rowOf({ check, title, level, says, advice }) {
  const row = document.createElement("li");
  row.dataset.check = check;
  const mark = document.createElement("span");
  mark.className = "mark";
  const name = document.createElement("h3");
  name.textContent = title;
  const text = document.createElement("div");
  text.className = "text";
  for (const [kind, words] of [["says", says], ["advice", level === "none" ? "" : advice]]) {
    if (!words) continue;
    const p = document.createElement("p");
    p.className = kind;
    p.textContent = words;
    text.append(p);
  }
  row.append(mark, name, text);
  paint(row, level);
  return row;
}

/** paint gives a row its colour and its mark, which has a name for those who do not see it. */
function paint(row, level) {
  row.dataset.level = level;
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 18 18");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(svg.namespaceURI, "path");
  path.setAttribute("d", SHAPES[level]);
  svg.append(path);
  const name = document.createElement("span");
  name.className = "hidden";
  name.textContent = LEVELS[level];
  row.querySelector(".mark").replaceChildren(svg, name);
}

/** seenFrom is what else helps whoever reads the report. */
function seenFrom() {
  return { browser: navigator.userAgent, at: new Date().toISOString() };
}

function surroundings() {
  const { browser, at } = seenFrom();
  return `\nBrowser   ${browser}\nAt        ${at}\n`;
}

/** copy puts text on the clipboard; pages without TLS have the old way only. */
async function copy(text, what) {
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copyBySelection(text);
    byId("copied").textContent = `Copied as ${what}.`;
  } catch (error) {
    byId("copied").textContent = `Could not copy: ${error.message}`;
  }
}

function copyBySelection(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "hidden";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("the browser does not allow it");
}
