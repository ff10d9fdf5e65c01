// A plot of figures over the last two minutes, in SVG.

import { label, path } from "./svg.js";

const SPAN = 120_000; // milliseconds shown
const GAP = 5_000; // samples further apart are not joined
const LEFT = 62;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 20;

/** Plot draws into one <svg>. Each of its lines has a class, and colours come from admin.css. */
export class Plot {
  #svg;
  #lines;
  #text;
  #base;
  #samples = []; // {at, values}, oldest first; a value may be undefined

  /** text makes a label of a figure; base is 1024 for bytes, whose units go by that. */
  constructor(svg, lines, text, base = 10) {
    this.#svg = svg;
    this.#lines = lines;
    this.#text = text;
    this.#base = base;
    new ResizeObserver(() => this.#draw()).observe(svg);
  }

  /** clear forgets all samples. */
  clear() {
    this.#samples = [];
    this.#draw();
  }

  /** add takes one value of each line, of now. */
  add(...values) {
    const now = performance.now();
    this.#samples.push({ at: now, values });
    this.#samples = this.#samples.filter(({ at }) => at > now - SPAN - GAP);
    this.#draw();
  }

  #draw() {
    const { width, height } = this.#svg.getBoundingClientRect();
    if (width === 0) return;
    const now = this.#samples.at(-1)?.at ?? 0;
    const top = niceAbove(Math.max(0, ...this.#samples.flatMap(({ values }) => values.map((v) => v ?? 0))), this.#base);
    const x = (at) => LEFT + (1 - (now - at) / SPAN) * (width - LEFT - RIGHT);
    const y = (value) => height - BOTTOM - (value / top) * (height - TOP - BOTTOM);
    this.#svg.replaceChildren(
      ...[0, top / 2, top].flatMap((value) => [
        path("grid", `M${LEFT} ${Math.round(y(value)) + 0.5}H${width - RIGHT}`),
        label(LEFT - 6, y(value) + 4, "end", value === 0 ? "0" : this.#text(value)),
      ]),
      label(LEFT, height - 4, "start", "−2 min"),
      label(width - RIGHT, height - 4, "end", "now"),
      ...this.#lines.map((name, i) => path(name, this.#line(i, x, y))),
    );
  }

  #line(i, x, y) {
    let d = "";
    let before;
    for (const { at, values } of this.#samples) {
      if (values[i] === undefined || x(at) < LEFT) {
        before = undefined;
        continue;
      }
      const joined = before !== undefined && at - before < GAP;
      d += `${joined ? "L" : "M"}${x(at).toFixed(1)} ${y(values[i]).toFixed(1)}`;
      if (!joined) d += "h0"; // so that a lone sample is seen
      before = at;
    }
    return d;
  }
}

/** niceAbove returns a round figure that is not below n: in units of powers of base, at least one of which it is. */
function niceAbove(n, base) {
  if (n <= 0) return 1;
  const unit = base ** Math.floor(Math.log(n) / Math.log(base));
  const round = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];
  return round.map((f) => f * unit).find((candidate) => candidate >= n);
}
