// The views of sessions: the list, and one of them.

import { ask, watch } from "./api.js";
import { byId, duration, number, rate, rows, rtt, setText, size, time, transportName } from "./format.js";
import { Plot } from "./plot.js";

const LIMIT = 50; // of one page

/** List shows the sessions that the form selects. */
export class List {
  #offset = 0;
  #stop = new AbortController();
  #lost;

  constructor(lost) {
    this.#lost = lost;
    const form = byId("query");
    form.addEventListener("input", () => this.#from(0));
    form.addEventListener("submit", (event) => event.preventDefault());
    byId("previous").addEventListener("click", () => this.#from(this.#offset - LIMIT));
    byId("next").addEventListener("click", () => this.#from(this.#offset + LIMIT));
  }

  #from(offset) {
    this.#offset = Math.max(0, offset);
    this.open();
  }

  open() {
    this.close();
    this.#stop = new AbortController();
    const query = new URLSearchParams(new FormData(byId("query")));
    query.set("limit", LIMIT);
    query.set("offset", this.#offset);
    watch(`sessions?${query}`, { show: (list) => this.#show(list), lost: this.#lost, gone: () => undefined, signal: this.#stop.signal });
  }

  close() {
    this.#stop.abort();
  }

  #show({ total, matched, sessions }) {
    const now = Date.now();
    rows(byId("sessions-table"), sessions.map((s) => ({ key: s.id, cells: sessionCells(s, now) })));
    const from = this.#offset;
    byId("previous").disabled = from === 0;
    byId("next").disabled = from + sessions.length >= matched;
    const range = sessions.length > 0 ? `${number(from + 1)} to ${number(from + sessions.length)} of ${number(matched)}` : "None";
    setText(byId("matched"), matched === total ? range : `${range}, of ${number(total)} sessions`);
  }
}

/** The cells of a session in a list. */
function sessionCells(s, now) {
  return [
    { label: "Session", text: s.id, code: true, href: `#/session/${s.id}` },
    { label: "Principal", text: s.principal, whole: true },
    { label: "Over", text: transportName(s.transport), chip: true, level: s.transport === "none" ? "warn" : undefined },
    { label: "Age", text: duration((now - Date.parse(s.opened)) / 1000), num: true },
    { label: "Round trip", text: rtt(s.rtt_seconds), num: true },
    { label: "In", text: rate(s.received_rate), num: true },
    { label: "Out", text: rate(s.sent_rate), num: true },
    { label: "RPCs", text: number(s.rpcs), num: true },
    { label: "Buffered", text: size(s.buffered_bytes), num: true },
    { label: "Resumes", text: number(s.resumes), num: true },
  ];
}

/** One shows one session. */
export class One {
  #stop = new AbortController();
  #rate = new Plot(byId("plot-rate"), ["one", "two"], rate, 1024);
  #rtt = new Plot(byId("plot-rtt"), ["one"], rtt);
  #lost;
  #before;

  constructor(lost) {
    this.#lost = lost;
  }

  /** id is that of the session shown. */
  id = "";

  open(id) {
    this.close();
    this.#stop = new AbortController();
    this.id = id;
    this.#before = undefined;
    this.#rate.clear();
    this.#rtt.clear();
    byId("session-gone").hidden = true;
    setText(byId("session-id"), id);
    byId("facts").replaceChildren();
    byId("events").replaceChildren();
    rows(byId("open"), []);
    watch(`sessions/${encodeURIComponent(id)}`, {
      show: (s) => this.#show(s),
      lost: this.#lost,
      gone: (why) => showGone(why),
      signal: this.#stop.signal,
    });
  }

  close() {
    this.#stop.abort();
  }

  disconnect() {
    return ask("DELETE", `sessions/${encodeURIComponent(this.id)}`);
  }

  #show(s) {
    const now = Date.now();
    const before = this.#before;
    if (before) {
      const seconds = (now - before.now) / 1000;
      this.#rate.add((s.received_bytes - before.s.received_bytes) / seconds, (s.sent_bytes - before.s.sent_bytes) / seconds);
    }
    this.#rtt.add(s.rtt_seconds);
    this.#before = { now, s };
    showFacts(s, now);
    setText(byId("open-note"), s.open_rpcs.length < s.rpcs ? `the first ${number(s.open_rpcs.length)} of ${number(s.rpcs)}` : "");
    rows(byId("open"), s.open_rpcs.map((rpc) => ({ key: String(rpc.stream), cells: rpcCells(rpc, now) })));
    showEvents(s.events);
  }
}

function showGone(why) {
  byId("session-gone").hidden = false;
  setText(byId("session-gone"), why);
  byId("disconnect").hidden = true;
  rows(byId("open"), []);
}

function showFacts(s, now) {
  const facts = {
    Principal: s.principal,
    Address: s.remote,
    Client: s.client || "–",
    Transport: s.away_seconds ? `none for ${duration(s.away_seconds)}` : transportName(s.transport),
    Opened: `${time(s.opened)}, ${duration((now - Date.parse(s.opened)) / 1000)} ago`,
    "Kept without a link": duration(s.window_seconds),
    "Round trip": rtt(s.rtt_seconds),
    "Delivery rate": s.path_rate ? rate(s.path_rate) : "–",
    Received: size(s.received_bytes),
    Sent: size(s.sent_bytes),
    Buffered: size(s.buffered_bytes),
    RPCs: `${number(s.rpcs)} open, ${number(s.rpcs_opened)} in all`,
    Resumes: number(s.resumes),
    "Credential expires": s.credential_expires ? time(s.credential_expires) : "never",
  };
  const list = byId("facts");
  if (list.childElementCount === 0) {
    for (const name of Object.keys(facts)) {
      const item = document.createElement("div");
      item.append(document.createElement("dt"), document.createElement("dd"));
      item.firstChild.textContent = name;
      list.append(item);
    }
  }
  Object.values(facts).forEach((value, i) => setText(list.children[i].lastChild, value));
}

function rpcCells(rpc, now) {
  return [
    { label: "Method", text: rpc.method, code: true },
    { label: "Stream", text: String(rpc.stream), num: true },
    { label: "Age", text: duration((now - Date.parse(rpc.began)) / 1000), num: true },
    { label: "Deadline", text: rpc.deadline ? `in ${duration((Date.parse(rpc.deadline) - now) / 1000)}` : "none", num: true },
  ];
}

function showEvents(events) {
  const list = byId("events");
  const key = events.map((e) => e.at + e.what).join();
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(
    ...events.toReversed().map((e) => {
      const item = document.createElement("li");
      const at = document.createElement("time");
      at.dateTime = e.at;
      at.textContent = time(e.at);
      const text = document.createElement("span");
      text.textContent = e.detail ? `${e.what}: ${e.detail}` : e.what;
      item.append(at, text);
      return item;
    }),
  );
}
