// The panel at the top: state, transport, round trip, traffic, and the cut.

import { duration, size, time, transportName } from "./format.js";
import { Plot } from "./plot.js";

const SAMPLE = 500; // milliseconds between two points of the plot

const NAMES = { connecting: "Connecting", open: "Open", retrying: "Retrying", closed: "Closed" };

const byId = (id) => document.getElementById(id);

/** panel shows and steers channels; the choice of transport is kept in the page's address. */
export function panel(channels) {
  const plot = new Plot(byId("plot"));
  const cuts = cutNote(channels);
  const sample = () => plot.add(channels.rtt, channels.state === "open" ? channels.transport : undefined);
  const showState = () => {
    sample();
    showStateOf(channels);
    cuts.statechange();
  };

  channels.addEventListener("statechange", showState);
  channels.addEventListener("traffic", once(() => showTraffic(channels.counters)));
  setInterval(() => {
    sample();
    plot.draw();
    showStateOf(channels);
  }, SAMPLE);

  byId("cut").addEventListener("click", () => {
    plot.cut();
    cuts.cut();
  });
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

/** cutNote says in one line what the last cut did. */
function cutNote(channels) {
  let at; // when, while the session is not back
  const say = (text) => setText("note", text);
  return {
    cut() {
      at = performance.now();
      say(`${time()} Cut. Coming back…`);
      channels.cut();
    },
    statechange() {
      if (at === undefined || channels.state !== "open" || !channels.transport) return;
      say(`${time()} Cut, and back in ${duration(performance.now() - at)}.`);
      at = undefined;
    },
  };
}
