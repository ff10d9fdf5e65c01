import { slug } from "github-slugger";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "vitepress";
import { PAGES, pagesUnder, target } from "../pages.js";

/** Has the links of the repository's files go where the site shows those files. */
function links(md) {
  md.core.ruler.push("links", ({ tokens, env }) => {
    const page = env.relativePath;
    const retarget = (token, name) => token.attrGet(name) !== null && token.attrSet(name, target(page, token.attrGet(name)));
    for (const token of tokens.flatMap((token) => [token, ...(token.children ?? [])])) {
      retarget(token, "href");
      retarget(token, "src");
      if (token.type.startsWith("html_")) token.content = token.content.replace(/\b(src|srcset)="([^"]+)"/g, (_, name, link) => `${name}="${target(page, link)}"`);
    }
  });
}

/** Path of the site on its host; with a slash at both ends. */
const base = process.env.SITE_BASE ?? "/";
const api = join(PAGES, "reference", "typedoc-sidebar.json");

export default defineConfig({
  base,
  srcDir: ".cache/pages",
  outDir: "dist",
  cacheDir: ".cache/vitepress",
  title: "Pollbridge",
  description: "Every kind of gRPC call from a web page, through any network that passes HTTP/1.1",
  lang: "en",
  head: [["link", { rel: "icon", href: `${base}favicon.svg`, type: "image/svg+xml" }]],
  markdown: { config: links, languageAlias: { haproxy: "nginx" }, anchor: { slugify: slug } },
  themeConfig: {
    logo: "/favicon.svg",
    search: { provider: "local" },
    outline: [2, 3],
    socialLinks: [{ icon: "github", link: "https://github.com/pollbridge/pollbridge" }],
    nav: [
      { text: "Start", link: "/start" },
      { text: "Guides", link: "/guides/browser", activeMatch: "^/guides/" },
      { text: "Recipes", link: "/recipes/", activeMatch: "^/recipes/" },
      { text: "Reference", link: "/reference/", activeMatch: "^/reference/" },
      { text: "Protocol", link: "/protocol/", activeMatch: "^/protocol/" },
    ],
    sidebar: {
      "/reference/": [{ text: "pollbridge on npm", link: "/reference/", items: existsSync(api) ? JSON.parse(readFileSync(api, "utf8")) : [] }],
      "/": [
        { text: "Start", link: "/start" },
        { text: "Guides", items: [{ text: "In the browser", link: "/guides/browser" }, ...pagesUnder("guides/").slice(1)] },
        { text: "Recipes", link: "/recipes/", collapsed: true, items: pagesUnder("recipes/") },
        { text: "Protocol", items: [{ text: "The protocol", link: "/protocol/" }, ...pagesUnder("protocol/")] },
        {
          text: "Project",
          collapsed: true,
          items: [...pagesUnder("project/").filter(({ link }) => !link.includes("/decisions/")), { text: "Decisions", collapsed: true, items: pagesUnder("project/decisions/") }],
        },
      ],
    },
  },
});
