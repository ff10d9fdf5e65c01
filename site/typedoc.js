// The reference of the npm package, one page for each of its entries.

import { readFileSync } from "node:fs";

const client = new URL("../jsclient/", import.meta.url);
const { exports } = JSON.parse(readFileSync(new URL("package.json", client), "utf8"));

/** Source files, by the names under which they are imported. */
export const entries = Object.fromEntries(
  Object.entries(exports)
    .filter(([, { default: file }]) => file?.startsWith("./dist/"))
    .map(([name, { default: file }]) => [name.slice(2) || "index", file.replace("./dist/", "src/").replace(/js$/, "ts")]),
);

export default {
  plugin: ["typedoc-plugin-markdown", "typedoc-vitepress-theme", "./entries.js"],
  tsconfig: new URL("tsconfig.build.json", client).pathname,
  entryPoints: Object.values(entries).map((file) => new URL(file, client).pathname),
  out: ".cache/pages/reference",
  docsRoot: ".cache/pages",
  name: "pollbridge",
  readme: "none",
  disableSources: true,
  excludePrivate: true,
  excludeInternal: true,
  entryFileName: "index",
  router: "module",
  hidePageHeader: true,
  hideBreadcrumbs: true,
  parametersFormat: "table",
  interfacePropertiesFormat: "list",
  validation: { invalidLink: true, notExported: false },
  treatWarningsAsErrors: true,
  logLevel: "Warn",
};
