// One function for each kind of RPC: what its form does.

import { Card } from "./card.js";
import { count, duration, hex, size } from "./format.js";
import { decode, encode } from "./messages.js";

const CHUNK = 32 * 1024;
const RANDOM_AT_ONCE = 65_536; // what getRandomValues takes
const RALLY_PAUSE = 200; // milliseconds

/** onSubmit runs start with the form's fields, or cancels what is running. */
function onSubmit(card, start) {
  const form = card.root.querySelector("form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (card.running) card.cancel();
    else start(form.elements);
  });
}

/** Unary: one message there, one back. */
export function greet(channels) {
  const card = new Card("greet", channels);
  onSubmit(card, ({ name }) =>
    card.run("Greet", async (call) => {
      await call.send(encode.greet({ name: name.value }));
      call.closeSend();
      card.sent(`name: "${name.value}"`);
      for await (const bytes of call.messages()) card.received(`greeting: "${decode.greeting(bytes)}"`);
    }),
  );
}

/** Server-streaming: one message there, many back. */
export function countUp(channels) {
  const card = new Card("count", channels);
  onSubmit(card, ({ to, interval }) =>
    card.run("Count", async (call) => {
      await call.send(encode.count({ to: to.valueAsNumber, intervalMs: interval.valueAsNumber }));
      call.closeSend();
      card.sent(`to: ${to.value}, interval_ms: ${interval.value}`);
      for await (const bytes of call.messages()) card.received(`number: ${decode.number(bytes)}`);
    }),
  );
}

/** Client-streaming: many messages there, one back. */
export function upload(channels) {
  const card = new Card("upload", channels);
  const progress = document.getElementById("upload-progress");
  onSubmit(card, ({ size: choice }) =>
    card.run("Upload", async (call) => {
      const data = randomBytes(Number(choice.value));
      progress.value = 0;
      card.note(`${size(data.length)} of random bytes made`);
      for (let at = 0; at < data.length; at += CHUNK) {
        await call.send(encode.upload({ chunk: data.subarray(at, at + CHUNK) }));
        progress.value = Math.min(1, (at + CHUNK) / data.length);
      }
      call.closeSend();
      card.sent(`${count(Math.ceil(data.length / CHUNK), "chunk")} of ${size(Math.min(CHUNK, data.length))}`);
      for await (const bytes of call.messages()) {
        const answer = decode.upload(bytes);
        card.received(`bytes: ${answer.bytes.toLocaleString()}, messages: ${answer.messages.toLocaleString()}`);
        card.received(`sha256: ${hex(answer.sha256).slice(0, 16)}…`);
        await compare(card, data, answer.sha256);
      }
    }),
  );
}

function randomBytes(length) {
  const data = new Uint8Array(length);
  for (let at = 0; at < length; at += RANDOM_AT_ONCE) crypto.getRandomValues(data.subarray(at, at + RANDOM_AT_ONCE));
  return data;
}

/** compare checks the server's SHA-256 where the page may compute one: only in a secure context. */
async function compare(card, data, theirs) {
  if (!crypto.subtle) return;
  const ours = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  card.note(hex(ours) === hex(theirs) ? "SHA-256 is that of the bytes sent" : "SHA-256 differs from that of the bytes sent");
}

/** Bidirectional: messages both ways, by hand or as a rally. */
export function echo(channels) {
  const card = new Card("echo", channels);
  const { text } = card.root.querySelector("form").elements;
  const rally = document.getElementById("rally");
  const end = card.root.querySelector(".end");
  const sentAt = []; // times of the messages that are not back yet
  let call;
  let rallying = false;

  const send = async () => {
    const value = text.value;
    card.sent(`text: "${value}"`);
    sentAt.push(performance.now());
    await call.send(encode.echo({ text: value }));
  };
  const returned = (bytes) => {
    const answer = decode.echo(bytes);
    card.received(`number: ${answer.number}, text: "${answer.text}" (${duration(performance.now() - sentAt.shift())})`);
    if (rallying && sentAt.length === 0) setTimeout(() => rallying && send().catch(ignore), RALLY_PAUSE);
  };
  const setRallying = (on) => {
    rallying = on;
    rally.setAttribute("aria-pressed", String(on));
  };
  const start = async () => {
    sentAt.length = 0;
    end.disabled = false;
    await card.run("Echo", async (opened) => {
      call = opened;
      await send();
      for await (const bytes of call.messages()) returned(bytes);
    });
    end.disabled = true;
    setRallying(false);
  };
  const go = () => (card.running ? send().catch(ignore) : start());

  card.root.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    go();
  });
  rally.addEventListener("click", () => {
    setRallying(!rallying);
    if (rallying) go();
  });
  end.addEventListener("click", () => {
    setRallying(false);
    call.closeSend();
  });
}

/** A send fails when its RPC has ended, and then the status says why. */
function ignore() {}
