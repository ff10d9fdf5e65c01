// Writes what docs/recipes shows into .test/recipes, a folder for each page, so
// that the very code of the pages is compiled and run. A fence whose language is
// followed by a name in brackets is a file.

import { copyFile, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

const PAGES = "../docs/recipes";
const FILE = /^```\w+ \[([\w./-]+)\]\n([\s\S]*?)^```$/gm;
/** Where pages import the code from that is generated of demo.proto. */
const GENERATED = "gen/demo_pb.ts";

for (const page of await readdir(PAGES)) {
  const folder = join(".test/recipes", basename(page, ".md"));
  const put = async (name: string, write: (path: string) => Promise<void>): Promise<void> => {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await write(path);
  };
  const files = [...(await readFile(join(PAGES, page), "utf8")).matchAll(FILE)];
  for (const [, name, text] of files) await put(name!, (path) => writeFile(path, text!));
  if (files.length > 0) await put(GENERATED, (path) => copyFile("../examples/chat/src/gen/demo_pb.ts", path));
}
