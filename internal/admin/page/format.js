// Figures as people read them, and the page's elements.

export const byId = (id) => document.getElementById(id);

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/** 14:03:07 */
export const time = (date) => clock.format(new Date(date));

/** 8 s, 3 min 5 s, 2 h 10 min, 3 d 4 h: two units at most. */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 172_800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** 0.83 ms, 84 ms, 2.1 s; – for what is not measured. */
export function rtt(seconds) {
  if (!seconds) return "–";
  const ms = seconds * 1000;
  if (ms < 10) return `${ms.toFixed(ms < 1 ? 2 : 1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** 512 B, 3.2 KiB, 1.0 MiB */
export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let n = bytes;
  while (n >= 1024 && units.length > 1) {
    n /= 1024;
    units.shift();
  }
  return `${units[0] === "B" ? Math.round(n) : n.toFixed(n < 10 ? 1 : 0)} ${units[0]}`;
}

/** 3.2 KiB/s */
export const rate = (bytes) => `${size(bytes)}/s`;

/** 12,345 */
export const number = (n) => n.toLocaleString();

/** 1 poll, 2 polls */
export const count = (n, noun) => `${number(n)} ${noun}${n === 1 ? "" : "s"}`;

const TRANSPORTS = { ws: "WebSocket", longpoll: "Long-polling", none: "No link" };

/** WebSocket for "ws". */
export const transportName = (transport) => TRANSPORTS[transport] ?? transport;

/** setText changes an element's text if it is another: what did not change is not laid out again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** rows makes a table's rows those of items: each has a key, and cells of {text, label, ...}. */
export function rows(table, items) {
  const body = table.tBodies[0];
  const before = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  items.forEach(({ key, cells }, at) => {
    let row = before.get(key);
    before.delete(key);
    if (!row) {
      row = document.createElement("tr");
      row.dataset.key = key;
      for (const cell of cells) row.append(newCell(cell));
    }
    cells.forEach((cell, i) => fill(row.cells[i], cell));
    if (body.rows[at] !== row) body.insertBefore(row, body.rows[at] ?? null);
  });
  for (const row of before.values()) row.remove();
}

function newCell({ label, num, code, whole, href, chip }) {
  const td = document.createElement("td");
  td.dataset.label = label;
  td.classList.toggle("num", Boolean(num));
  td.classList.toggle("code", Boolean(code));
  td.classList.toggle("whole", Boolean(whole));
  const inner = document.createElement(href ? "a" : "span");
  if (chip) inner.className = "chip";
  td.append(inner);
  return td;
}

function fill(td, { text, href, level, zero }) {
  const inner = td.firstElementChild;
  setText(inner, text);
  if (href) inner.setAttribute("href", href);
  inner.classList.toggle("zero", Boolean(zero));
  if (level) inner.dataset.level = level;
}
