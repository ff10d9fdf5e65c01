// A plugin of TypeDoc: modules are called as they are imported.

import { Converter } from "typedoc";
import { entries } from "./typedoc.js";

const names = Object.fromEntries(Object.entries(entries).map(([name, file]) => [file.replace(/^src\/(.*)\.ts$/, "$1"), name === "index" ? "pollbridge" : `pollbridge/${name}`]));

export function load(app) {
  app.converter.on(Converter.EVENT_CREATE_DECLARATION, (_, reflection) => {
    if (reflection.parent?.isProject()) reflection.name = names[reflection.name] ?? reflection.name;
  });
}
