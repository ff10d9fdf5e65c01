// Makes a page, of jsdom, before frameworks are loaded, which look for it then.

import { JSDOM } from "jsdom";

const { window } = new JSDOM("<main></main>");
for (const name of ["window", "document", "navigator", "Node", "Text", "Comment", "Element", "HTMLElement", "SVGElement", "customElements"]) {
  Object.defineProperty(globalThis, name, { value: name === "window" ? window : window[name], configurable: true });
}
