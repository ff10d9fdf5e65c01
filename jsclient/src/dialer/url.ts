/** Returns a bridge's URL with its prefix: without a path /bridge. Throws TypeError for one that cannot be meant, without a password in it. */
export function bridgeURL(url: string | URL): string {
  const { protocol, origin, pathname, href, username, password } = new URL(url, globalThis.location?.href);
  if (username || password) throw new TypeError(`bridge URL of ${origin}: must have no user and password; use the option auth`);
  if (!/^https?:$/.test(protocol)) throw new TypeError(`bridge URL ${href}: must be http or https`);
  if (/[?#]/.test(href)) throw new TypeError(`bridge URL ${href}: must have no query and no fragment`);
  return origin + (pathname.replace(/\/+$/, "") || "/bridge");
}
