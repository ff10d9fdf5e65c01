// The views that show the whole bridge: overview, backends, cluster, refusals.

import { byId, count, duration, number, rate, rows, setText, size, time } from "./format.js";
import { Plot } from "./plot.js";

const sum = (counts) => Object.values(counts).reduce((a, b) => a + b, 0);

/** Overview shows one document after the other. */
export class Overview {
  #before;
  #first; // refusals when the page was opened
  #traffic = new Plot(byId("plot-traffic"), ["one", "two"], rate, 1024);
  #rpcs = new Plot(byId("plot-rpcs"), ["one", "bad"], (n) => number(Math.round(n * 10) / 10));

  show(o) {
    this.#first ??= new Map(o.refusals.map((r) => [refusalKey(r), r.count]));
    showState(o);
    showLevels(o);
    this.#plot(o);
    showEnded(o);
    showBackends(o.backends);
    showCluster(o.cluster);
    this.#showRefusals(o.refusals);
    this.#before = o;
  }

  #plot(o) {
    const before = this.#before;
    if (before?.started === o.started) {
      const seconds = (Date.parse(o.now) - Date.parse(before.now)) / 1000;
      const per = (figure) => Math.max(0, figure(o) - figure(before)) / seconds;
      this.#traffic.add(per((x) => sum(x.received_bytes)), per((x) => sum(x.sent_bytes)));
      this.#rpcs.add(per((x) => x.rpcs_completed), per((x) => x.rpcs_failed));
    }
  }

  #showRefusals(refusals) {
    rows(
      byId("refusals"),
      refusals.map((r) => {
        const fresh = r.count - (this.#first.get(refusalKey(r)) ?? 0);
        return {
          key: refusalKey(r),
          cells: [
            { label: "What", text: r.what },
            { label: "Reason", text: r.reason, whole: true },
            { label: "In all", text: number(r.count), num: true, zero: r.count === 0 },
            { label: "Since you look", text: number(fresh), num: true, zero: fresh === 0 },
          ],
        };
      }),
    );
  }
}

const refusalKey = (r) => `${r.what} ${r.reason}`;

function showState(o) {
  const state = byId("state");
  const [text, level] = o.draining ? ["Draining", "warn"] : o.ready ? ["Ready", "good"] : ["Not ready", "bad"];
  setText(state, text);
  state.dataset.level = level;
  const uptime = (Date.parse(o.now) - Date.parse(o.started)) / 1000;
  setText(byId("about"), `${o.version}, up ${duration(uptime)}`);
  const down = o.backends.filter((b) => !b.ready).length;
  setText(byId("state-note"), down === 0 ? `${count(o.backends.length, "backend")} ready` : `${down} of ${count(o.backends.length, "backend")} down`);
}

function showLevels(o) {
  level("sessions", o.sessions, number);
  level("rpcs", o.rpcs, number);
  level("buffered", o.buffered_bytes, size);
  setText(byId("nav-sessions"), number(o.sessions.value));
  setText(byId("sessions-note"), `${count(o.links.ws, "WebSocket")}, ${count(o.links.longpoll, "poll")}; ${count(o.principals, "principal")}`);
  setText(byId("rpcs-note"), `${number(o.rpcs_completed)} ended, ${number(o.rpcs_failed)} failed`);
  setText(byId("buffered-note"), `with 40 KiB for each RPC; ${count(o.frames_resent, "frame")} sent again`);
}

function level(name, { value, limit }, text) {
  setText(byId(name), text(value));
  setText(byId(`${name}-limit`), `of ${text(limit)}`);
  const bar = byId(`${name}-level`);
  const share = limit > 0 ? value / limit : 0;
  bar.value = share;
  bar.dataset.level = share > 0.9 ? "bad" : share > 0.75 ? "warn" : "good";
}

function showEnded(o) {
  byId("ended-none").hidden = o.ended.length > 0;
  byId("ended").hidden = o.ended.length === 0;
  rows(
    byId("ended"),
    o.ended.slice(0, 10).map((e) => ({
      key: `${e.id} ${e.at}`,
      cells: [
        { label: "Session", text: e.id, code: true },
        { label: "Principal", text: e.principal },
        { label: "When", text: time(e.at) },
        { label: "Why", text: e.message, whole: true },
      ],
    })),
  );
}

function showBackends(backends) {
  const parent = byId("backends");
  const before = new Map([...parent.children].map((card) => [card.dataset.key, card]));
  for (const b of backends) {
    let card = before.get(b.name);
    if (!card) {
      card = newBackend(b.name);
      parent.append(card);
    }
    before.delete(b.name);
    fillBackend(card, b);
  }
  for (const card of before.values()) card.remove();
}

function newBackend(name) {
  const card = document.createElement("div");
  card.className = "card";
  card.dataset.key = name;
  const title = document.createElement("h3");
  title.append(document.createElement("span"), document.createElement("span"));
  title.lastChild.className = "chip";
  const note = document.createElement("p");
  note.className = "note";
  const table = document.createElement("table");
  table.className = "wide";
  const head = table.createTHead().insertRow();
  for (const text of ["Channel", "State", "RPCs", "Limit", "Last error"]) {
    const th = document.createElement("th");
    th.textContent = text;
    if (text === "RPCs" || text === "Limit") th.className = "num";
    head.append(th);
  }
  table.createTBody();
  card.append(title, note, table);
  return card;
}

function fillBackend(card, b) {
  const [name, state] = card.querySelector("h3").children;
  setText(name, b.name);
  setText(state, b.ready ? "ready" : "down");
  state.dataset.level = b.ready ? "good" : "bad";
  const services = b.services.map((prefix) => (prefix === "" ? "every service" : `${prefix}*`)).join(", ");
  const target = b.target && b.target !== b.name ? `${b.target}: ` : "";
  const counts = Object.entries(b.states).filter(([, n]) => n > 0).map(([name, n]) => `${n} ${name}`).join(", ");
  setText(card.querySelector(".note"), `${target}${services}; channels: ${counts || "none"}`);
  rows(
    card.querySelector("table"),
    b.channels.map((c) => ({
      key: String(c.id),
      cells: [
        { label: "Channel", text: `Channel ${c.id}` },
        { label: "State", text: c.state, chip: true, level: c.state === "READY" ? "good" : c.state === "TRANSIENT_FAILURE" ? "bad" : "warn" },
        { label: "RPCs", text: number(c.streams), num: true },
        { label: "Limit", text: number(c.limit), num: true },
        { label: "Last error", text: c.error ?? "–", whole: true },
      ],
    })),
  );
}

function showCluster(cluster) {
  byId("cluster").hidden = !cluster;
  if (!cluster) return;
  setText(byId("cluster-note"), `This bridge is ${cluster.name}: ${cluster.state}`);
  rows(
    byId("cluster"),
    cluster.nodes.map((n) => ({
      key: n.name,
      cells: [
        { label: "Bridge", text: n.name },
        { label: "State", text: n.state, chip: true },
        { label: "Since", text: time(n.since), num: true },
        { label: "Sessions", text: number(n.sessions), num: true },
        { label: "Links to it", text: number(n.links), num: true },
      ],
    })),
  );
}
