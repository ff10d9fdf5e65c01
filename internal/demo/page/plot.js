// A plot of round-trip times over the last minute, in SVG.

import { label, path } from "./svg.js";

const SPAN = 60_000; // milliseconds shown
const GAP = 2_500; // samples further apart are not joined
const LEFT = 56;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 20;
const DOT = "m-1 0a1 1 0 1 0 2 0a1 1 0 1 0-2 0m1 0"; // around the point, back to it

/** Plot draws into one <svg>. Colours come from its classes in panel.css. */
export class Plot {
  #svg;
  #samples = []; // {at, rtt, transport}, oldest first; no transport while nothing carries
  #marks = []; // times
  #width = 0;
  #height = 0;

  constructor(svg) {
    this.#svg = svg;
    new ResizeObserver(([entry]) => {
      this.#width = Math.floor(entry.contentRect.width);
      this.#height = Math.floor(entry.contentRect.height);
      this.draw();
    }).observe(svg);
  }

  /** add takes a sample of now; rtt may be unknown yet, transport is undefined without a link. */
  add(rtt, transport) {
    this.#samples.push({ at: performance.now(), rtt, transport });
  }

  /** mark marks now as a moment at which something broke or came back. */
  mark() {
    this.#marks.push(performance.now());
  }

  /** draw shows the minute up to now, and forgets what is older. */
  draw() {
    if (this.#width === 0) return;
    const now = performance.now();
    this.#samples = this.#samples.filter(({ at }) => at > now - SPAN - GAP);
    this.#marks = this.#marks.filter((at) => at > now - SPAN);
    const top = niceAbove(Math.max(1, ...this.#samples.map(({ rtt }) => rtt ?? 0)));
    const x = (at) => LEFT + (1 - (now - at) / SPAN) * (this.#width - LEFT - RIGHT);
    const y = (rtt) => this.#height - BOTTOM - (rtt / top) * (this.#height - TOP - BOTTOM);
    this.#svg.replaceChildren(
      ...this.#grid(x, y, now, top),
      path("down", this.#downs(x, y(top), y(0))),
      path("cut", this.#marks.map((at) => `M${round(x(at))} ${TOP}V${this.#height - BOTTOM}`).join("")),
      path("ws", this.#line("ws", x, y)),
      path("longpoll", this.#line("longpoll", x, y)),
    );
  }

  #grid(x, y, now, top) {
    const lines = [0, top / 2, top].flatMap((rtt) => [
      path("grid", `M${LEFT} ${Math.round(y(rtt)) + 0.5}H${this.#width - RIGHT}`),
      label(LEFT - 6, y(rtt) + 4, "end", rtt === 0 ? "0" : `${rtt} ms`),
    ]);
    const seconds = [60, 30, 0].map((s) =>
      label(x(now - s * 1000), this.#height - 4, { 60: "start", 30: "middle", 0: "end" }[s], s === 0 ? "now" : `−${s} s`),
    );
    return [...lines, ...seconds];
  }

  /** The path of one transport's samples, broken where another one or none was in use. */
  #line(transport, x, y) {
    let d = "";
    let before;
    for (const sample of this.#samples) {
      const shown = sample.transport === transport && sample.rtt !== undefined && x(sample.at) >= LEFT;
      if (shown) {
        const joined = before !== undefined && sample.at - before.at < GAP;
        const point = `${round(x(sample.at))} ${round(y(sample.rtt))}`;
        d += joined ? `L${point}` : `M${point}${DOT}`; // so that a lone sample is seen
      }
      before = shown ? sample : undefined;
    }
    return d;
  }

  /** Rectangles over the times without a link. */
  #downs(x, top, bottom) {
    let d = "";
    this.#samples.forEach((sample, i) => {
      const next = this.#samples[i + 1];
      if (sample.transport || !next || x(sample.at) < LEFT) return;
      d += `M${round(x(sample.at))} ${top}H${round(x(next.at))}V${bottom}H${round(x(sample.at))}Z`;
    });
    return d;
  }
}

/** The first of 1, 2, 5, 10, 20, … that leaves some room above the value. */
function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10, 20].map((step) => step * power).find((step) => step >= value * 1.1);
}

function round(value) {
  return Math.round(value * 10) / 10;
}
