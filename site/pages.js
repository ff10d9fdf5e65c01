// What of the repository the site shows, and where.

import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
export const PAGES = fileURLToPath(new URL(".cache/pages", import.meta.url));
const SOURCES = "https://github.com/pollbridge/pollbridge/blob/main/";

/** Files of the repository, by their place on the site. */
const SHOWN = {
  "start.md": "README.md",
  "guides/browser.md": "jsclient/README.md",
  "guides/migration.md": "docs/MIGRATION.md",
  "guides/differences.md": "docs/DIFFERENCES.md",
  "guides/networks.md": "docs/NETWORKS.md",
  "guides/operations.md": "docs/OPERATIONS.md",
  "guides/security.md": "docs/SECURITY.md",
  "protocol/index.md": "docs/PROTOCOL.md",
  "protocol/model.md": "docs/MODEL.md",
  "protocol/simulation.md": "docs/SIMULATION.md",
  "project/architecture.md": "docs/ARCHITECTURE.md",
  "project/benchmarks.md": "docs/BENCHMARKS.md",
  "project/changelog.md": "CHANGELOG.md",
  "project/contributing.md": "CONTRIBUTING.md",
  ...folder("docs/recipes", "recipes"),
  ...folder("docs/adr", "project/decisions"),
};

const PLACES = Object.fromEntries(Object.entries(SHOWN).map(([page, source]) => [source, page]));

function folder(from, to) {
  const names = readdirSync(join(ROOT, from)).sort();
  return Object.fromEntries(names.map((name) => [`${to}/${name.replace("README", "index")}`, `${from}/${name}`]));
}

/** The pages under a folder of the site, with their titles. */
export function pagesUnder(prefix) {
  return Object.entries(SHOWN)
    .filter(([page]) => page.startsWith(prefix) && !page.endsWith("/index.md"))
    .map(([page, source]) => ({ text: titleOf(source), link: `/${page}` }));
}

function titleOf(source) {
  return /^# (.+)$/m.exec(readFileSync(join(ROOT, source), "utf8"))[1].replaceAll("`", "");
}

/** Puts every page in its place, and what pages show beside text. */
export function gather() {
  rmSync(PAGES, { recursive: true, force: true });
  const copy = (from, to) => {
    mkdirSync(dirname(join(PAGES, to)), { recursive: true });
    cpSync(join(ROOT, from), join(PAGES, to), { recursive: true });
  };
  for (const [page, source] of Object.entries(SHOWN)) copy(source, page);
  copy("site/home.md", "index.md");
  copy("docs/img", "public/docs/img");
  copy("internal/look/files/favicon.svg", "public/favicon.svg");
}

/**
 * Returns where a link of a page goes on the site: to the page that shows the file
 * it names, or else to the file among the sources. Throws if there is no such file.
 */
export function target(page, link) {
  const source = SHOWN[page];
  if (!source || /^([a-z]+:|#|\/)/.test(link)) return link;
  const [path, anchor = ""] = link.split(/(?=#)/);
  const file = posix.normalize(posix.join(posix.dirname(source), path)).replace(/\/$/, "");
  if (!existsSync(join(ROOT, file))) throw new Error(`${source}: link to ${link}: no such file`);
  if (file.startsWith("docs/img/")) return `/${file}`;
  const place = PLACES[file] ?? PLACES[`${file}/README.md`];
  return place ? `/${place}${anchor}` : SOURCES + file + anchor;
}
