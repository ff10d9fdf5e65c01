// Folders of src import one way.

import { deepEqual } from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";

/** What the modules of each folder may import; "" is src itself. */
const MAY_IMPORT: Record<string, string[]> = {
  wire: [],
  tune: ["wire"],
  engine: ["tune", "wire"],
  dialer: ["engine", "tune", "wire"],
  shared: ["wire"],
};

test("wire, tune, engine and dialer import one way", () => {
  const wrong: string[] = [];
  for (const [folder, allowed] of Object.entries(MAY_IMPORT)) {
    for (const name of readdirSync(join("src", folder))) {
      if (name.endsWith(".test.ts")) continue;
      const text = readFileSync(join("src", folder, name), "utf8");
      for (const [, path] of text.matchAll(/ from "(\.[^"]+)"/g)) {
        const imported = dirname(normalize(join(folder, path!)));
        if (imported !== folder && !allowed.includes(imported)) wrong.push(`${folder}/${name} imports ${path}`);
      }
    }
  }
  deepEqual(wrong, []);
});
