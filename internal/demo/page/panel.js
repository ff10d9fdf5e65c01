// The panel at the top: state, transport, round trip, traffic, and what breaks them.

import { duration, size, transportName } from "./format.js";
import { Plot } from "./plot.js";

const SAMPLE = 500; // milliseconds between two points of the plot
const OFFLINE = 10_000; // milliseconds

const NAMES = { connecting: "Connecting", open: "Open", retrying: "Retrying", closed: "Closed" };

const byId = (id) => document.getElementById(id);

/** panel shows and steers channels; the choice of transport is kept in the page's address. */
export function panel(channels) {
  const plot = new Plot(byId("plot"));
  const note = breakNote(channels);
  const sample = () => plot.add(channels.rtt, channels.state === "open" ? channels.transport : undefined);
  const showState = () => {
    sample();
    showStateOf(channels);
    showBreaks(channels);
    note.statechange();
  };

  channels.addEventListener("statechange", showState);
  channels.addEventListener("traffic", once(() => showTraffic(channels.counters)));
  setInterval(() => {
    sample();
    plot.draw();
    showStateOf(channels);
    showBreaks(channels);
    showBridges(channels.bridges);
  }, SAMPLE);

  channels.addEventListener("break", ({ detail }) => {
    plot.mark();
    note.broke(detail);
    showBreaks(channels);
  });
  channels.addEventListener("mend", () => {
    plot.mark();
    showBreaks(channels);
  });
  byId("cut").addEventListener("click", () => channels.cut());
  byId("kill").addEventListener("click", () => channels.killSocket());
  byId("offline").addEventListener("click", () => channels.goOffline(OFFLINE));
  const address = new URL(location.href);
  const choice = channels.choose(address.searchParams.get("transport") ?? "auto");
  for (const radio of byId("transports").querySelectorAll("input")) {
    radio.checked = radio.value === choice;
    radio.addEventListener("change", () => {
      address.searchParams.set("transport", channels.choose(radio.value));
      history.replaceState(null, "", address);
    });
  }
}

/** once makes many calls between two frames into one. */
function once(show) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      show();
    });
  };
}

function showStateOf({ state, transport, rtt, lastError }) {
  const detail = {
    connecting: "to the bridge",
    open: transport ? `over ${transportName(transport)}` : "no link in use",
    retrying: lastError ? `last try: ${lastError.message}` : "the bridge does not answer",
    closed: lastError ? lastError.message : "no new RPCs",
  }[state];
  byId("state").dataset.state = byId("state-brief").dataset.state = state;
  setText("state-name", NAMES[state]);
  setText("state-detail", detail);
  setText("state-brief", state === "open" && transport ? transportName(transport) : NAMES[state]);
  setText("rtt", state === "open" && rtt > 0 ? rtt.toFixed(rtt < 10 ? 1 : 0) : "–");
  byId("state-detail").title = detail;
}

/** showBridges shows, where there are several, which has the session, and where polls land. */
function showBridges({ owner, landed }) {
  byId("bridges").hidden = !owner;
  setText("owner", owner ?? "");
  setText("landed", landed ? `· polls at ${landed}` : "");
}

/** showBreaks leaves only what can be broken, and counts down to the network's return. */
function showBreaks({ state, transport, offlineFor }) {
  const offline = offlineFor > 0;
  byId("cut").disabled = byId("offline").disabled = offline;
  byId("kill").disabled = offline || state !== "open" || transport !== "ws";
  setText("offline", offline ? `Offline, ${Math.ceil(offlineFor / 1000)} s left` : `Offline for ${OFFLINE / 1000} s`);
}

function showTraffic(counters) {
  for (const name of ["sent", "received", "cuts", "open"]) setText(name, counters[name].toLocaleString());
  setText("sent-bytes", size(counters.sentBytes));
  setText("received-bytes", size(counters.receivedBytes));
  setText("lost", counters.lost === 0 ? "none lost" : `${counters.lost} lost`);
}

/** setText writes only what differs, so that screen readers hear only changes. */
function setText(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}

/** breakNote says in one line what the last break did. */
function breakNote(channels) {
  let since; // while the session is not back
  let what;
  const say = (text) => setText("note", text);
  return {
    broke(detail) {
      since ??= performance.now();
      what ??= detail;
      say(`${detail}. Coming back…`);
    },
    statechange() {
      if (since === undefined || channels.offlineFor > 0 || channels.state !== "open" || !channels.transport) return;
      say(`${what}, back in ${duration(performance.now() - since)}.`);
      since = what = undefined;
    },
  };
}
