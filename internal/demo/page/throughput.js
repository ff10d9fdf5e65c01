// The throughput pane: the same bytes as an RPC and as a plain download.

import { Card } from "./card.js";
import { duration, rate, size } from "./format.js";
import { decode, encode } from "./messages.js";

const BYTES = 10 * 1024 ** 2;

/** throughput downloads over the channel, then by fetch alone, and shows how fast each was. */
export function throughput(channels) {
  const card = new Card("throughput", channels);
  const rows = [...card.root.querySelectorAll(".speed")].map((row) => new Row(row));
  const [rpc, plain] = rows;
  const measure = async () => {
    for (const row of rows) row.clear();
    const status = await card.run("Download", async (call) => {
      const start = performance.now();
      let got = 0;
      await call.send(encode.download({ bytes: BYTES }));
      call.closeSend();
      for await (const bytes of call.messages()) {
        got += decode.download(bytes).length;
        rpc.got(got, performance.now() - start);
      }
    });
    if (status.code !== 0) return;
    const start = performance.now();
    try {
      await download((got) => plain.got(got, performance.now() - start));
    } catch (error) {
      plain.failed(error.message);
    }
    const fastest = Math.max(...rows.map((row) => row.speed));
    for (const row of rows) row.scale(fastest);
  };
  card.root.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (card.running) card.cancel();
    else measure();
  });
}

async function download(got) {
  const response = await fetch(`download?bytes=${BYTES}`, { cache: "no-store" });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  let total = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    got((total += value.length));
  }
}

/** One of the two: a bar and its figure. The bar shows the part that is here; in the end, the speed beside the faster one. */
class Row {
  #bar;
  #figure;
  speed = 0; // bytes a millisecond

  constructor(root) {
    this.#bar = root.querySelector("progress");
    this.#figure = root.querySelector("output");
  }

  clear() {
    this.speed = 0;
    this.#bar.value = 0;
    this.#figure.textContent = "–";
  }

  got(bytes, ms) {
    this.speed = bytes / Math.max(ms, 1);
    this.#bar.value = bytes / BYTES;
    this.#figure.textContent = bytes < BYTES ? size(bytes) : `${rate(this.speed)} in ${duration(ms)}`;
  }

  failed(why) {
    this.#figure.textContent = why;
  }

  scale(fastest) {
    this.#bar.value = this.speed / fastest;
  }
}
