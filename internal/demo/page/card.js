// One RPC on the page: its messages as they come, and its status at the end.

import { codeName, count, duration, exactTime, transportName } from "./format.js";

const MOST_ROWS = 200;
const OK = 0;
const CANCELLED = 1;

const LABELS = { sent: "Sent", received: "Received", note: "Note", broke: "Network", mended: "Network" };

/** Card shows the RPCs of one section, one after the other. */
export class Card {
  #channels;
  #button; // none where a form has its own way to end the RPC
  #labels;
  #log;
  #outcome;
  #call;

  /** id is the section's; its `.run` button, if any, starts an RPC and ends it while it runs. */
  constructor(id, channels) {
    this.root = document.getElementById(id);
    this.#channels = channels;
    this.#button = this.root.querySelector(".run");
    this.#labels = { idle: this.#button?.textContent, running: this.#button?.dataset.running };
    this.#log = this.root.querySelector(".log");
    this.#outcome = this.root.querySelector(".outcome");
    channels.addEventListener("break", ({ detail }) => this.running && this.add("broke", detail));
    channels.addEventListener("mend", ({ detail }) => this.running && this.add("mended", detail));
  }

  get running() {
    return this.#call !== undefined;
  }

  cancel() {
    this.#call?.cancel();
  }

  /**
   * run opens an RPC, lets talk(call) send and read, and resolves with the
   * status once the RPC has ended. What talk throws beside the status, as for
   * bytes that are no message, cancels the RPC and is shown. The log starts empty, unless keep is set.
   */
  async run(method, talk, { keep = false } = {}) {
    const start = performance.now();
    const tally = { received: 0, transports: new Set() };
    if (!keep) this.#log?.replaceChildren();
    const call = this.#begin(method, tally);
    let failure;
    try {
      await talk(call);
    } catch (error) {
      if (error.name !== "StatusError") failure = error;
      call.cancel();
    }
    const status = await call.status;
    this.#call = undefined;
    this.#mark("idle");
    this.#conclude(status, failure, { ...tally, took: performance.now() - start });
    return status;
  }

  sent(text) {
    this.add("sent", text);
  }

  received(text) {
    this.add("received", text);
  }

  /** note adds a row that is no message. */
  note(text) {
    this.add("note", text);
  }

  add(kind, text) {
    const time = document.createElement("time");
    time.textContent = exactTime();
    const label = document.createElement("span");
    label.className = "hidden";
    label.textContent = LABELS[kind];
    const body = document.createElement("span");
    body.className = "text";
    body.textContent = text;
    const row = document.createElement("li");
    row.className = kind;
    row.append(time, label, body);
    this.append(row);
  }

  /** append adds a row, keeps the log in bounds and its end in sight, unless somebody reads further up. */
  append(row) {
    const log = this.#log;
    if (!log) return; // a card without a list
    const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
    log.append(row);
    if (log.childElementCount > MOST_ROWS) log.firstElementChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  #begin(method, tally) {
    const call = this.#channels.open(method);
    const { messages } = call;
    const progress = () => this.#progress(tally);
    call.messages = async function* () {
      for await (const bytes of messages()) {
        tally.received++;
        if (call.transport) tally.transports.add(call.transport);
        progress();
        yield bytes;
      }
    };
    this.#call = call;
    this.#mark("running");
    this.#show("running", "Running", "no message yet");
    this.#outcome.lastChild.setAttribute("aria-hidden", "true"); // it changes too often to be read out
    return call;
  }

  #progress({ received, transports }) {
    this.#outcome.lastChild.textContent = `${count(received, "message")} so far${over(transports)}`;
  }

  #mark(state) {
    this.root.toggleAttribute("data-running", state === "running");
    if (this.#button) this.#button.textContent = this.#labels[state];
  }

  #conclude(status, failure, { received, transports, took }) {
    const facts = `${count(received, "message")} in ${duration(took)}${over(transports)}`;
    if (failure) {
      this.#show("error", "Page", failure.message);
    } else if (status.code === OK) {
      this.#show("ok", "OK", facts);
    } else if (status.code === CANCELLED) {
      this.#show("cancelled", codeName(status.code), facts);
    } else {
      this.#show("error", codeName(status.code), status.message || "no message");
    }
  }

  #show(kind, name, text) {
    const strong = document.createElement("strong");
    strong.textContent = name;
    const span = document.createElement("span");
    span.textContent = text;
    this.#outcome.dataset.kind = kind;
    this.#outcome.title = text;
    this.#outcome.replaceChildren(strong, span);
  }
}

/** ", over WebSocket", ", over both transports", or nothing before the first message. */
function over(transports) {
  if (transports.size === 0) return "";
  return `, over ${transports.size > 1 ? "both transports" : transportName([...transports][0])}`;
}
