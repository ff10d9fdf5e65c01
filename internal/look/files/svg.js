// Pieces of the pages' plots, in SVG.

const SVG = "http://www.w3.org/2000/svg";

/** path returns a <path> of a class. */
export function path(kind, d) {
  const element = document.createElementNS(SVG, "path");
  element.setAttribute("class", kind);
  element.setAttribute("d", d);
  return element;
}

/** label returns a <text> at a place; anchor is "start", "middle" or "end". */
export function label(x, y, anchor, text) {
  const element = document.createElementNS(SVG, "text");
  element.setAttribute("x", x);
  element.setAttribute("y", y);
  element.setAttribute("text-anchor", anchor);
  element.textContent = text;
  return element;
}
