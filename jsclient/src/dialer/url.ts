/** Stands in a URL for the page that a relative one has to be of, where there is none. */
const NO_PAGE = "http://page.invalid";

/**
 * Returns a bridge's URL with its prefix: without a path /bridge. Throws
 * TypeError for one that cannot be meant, without a password in it.
 */
export function bridgeURL(url: string | URL): string {
  const { protocol, origin, pathname, href, username, password } = new URL(url, globalThis.location?.href ?? NO_PAGE);
  if (username || password) throw new TypeError(`bridge URL of ${origin}: must have no user and password; use the option auth`);
  if (!/^https?:$/.test(protocol)) throw new TypeError(`bridge URL ${href}: must be http or https`);
  if (/[?#]/.test(href)) throw new TypeError(`bridge URL ${href}: must have no query and no fragment`);
  return origin + (pathname.replace(/\/+$/, "") || "/bridge");
}

/** Returns why nobody can be reached at a URL that bridgeURL returned: it was relative, and this is no page. Else undefined. */
export function pageless(url: string): string | undefined {
  const path = url.split(NO_PAGE)[1];
  return path && `bridge URL ${path}: a relative one needs a page; give an absolute one`;
}
