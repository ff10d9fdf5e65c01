// Why a bridge cannot be reached, as far as a browser lets a page find out.

import type { LinkErrorReason, WebSocketConstructor } from "./carrier.js";

/** Why, for a program, and what mends it, for a developer. */
export type Cause = [reason: LinkErrorReason, message: string];

/** How long a violation may be reported after what it forbade has failed, in milliseconds. */
const REPORT = 100;

/** Finds why nothing comes from url, an http or ws one; undefined: the browser does not say. By WebSocket a ws one was tried. */
export async function findCause(url: string, fetch: typeof globalThis.fetch, WebSocket: WebSocketConstructor | undefined): Promise<Cause | undefined> {
  const page = globalThis.location;
  const { origin, protocol } = new URL(url);
  if (page.protocol === "https:" && /^(http|ws):/.test(protocol) && !/\/\/(localhost|127\.|\[::1)/.test(url)) {
    return ["mixed_content", `mixed content at ${origin}: give the bridge https, by --tls-cert or a proxy`];
  }
  let reachable = false;
  const forbidden = await violation(origin, async () => {
    reachable = await (protocol.startsWith("ws") ? dials(url, WebSocket!) : answers(url, fetch));
    return reachable;
  });
  if (forbidden) return ["csp", `Content-Security-Policy: add ${origin} to connect-src`];
  if (!reachable || protocol.startsWith("ws") || page.origin === origin) return undefined;
  return ["cors", `${origin} answers without CORS headers for this page: give the bridge --allow-origin ${page.origin}, or, if a script adds a header to the page's requests, --allow-header`];
}

/** Reports whether the page's policy forbids to reach origin, as works tries to; it says whether that worked. */
async function violation(origin: string, works: () => Promise<boolean>): Promise<boolean> {
  const target: EventTarget = (globalThis as { document?: EventTarget }).document ?? globalThis;
  let found = (): void => undefined;
  const reported = new Promise<true>((resolve) => (found = () => resolve(true)));
  const heard = (event: Event): void => {
    if ((event as SecurityPolicyViolationEvent).blockedURI.startsWith(origin)) found();
  };
  target.addEventListener("securitypolicyviolation", heard);
  const none = works().then((worked) => worked || new Promise((resolve) => setTimeout(resolve, REPORT))).then(() => false);
  const forbidden = await Promise.race([reported, none]);
  target.removeEventListener("securitypolicyviolation", heard);
  return forbidden;
}

/** Reports whether a server answers at all, though the page may not see what. */
function answers(url: string, fetch: typeof globalThis.fetch): Promise<boolean> {
  return fetch(url, { mode: "no-cors", cache: "no-store", credentials: "omit" }).then(() => true, () => false);
}

/** Reports whether a WebSocket opens. */
function dials(url: string, WebSocket: WebSocketConstructor): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, ["pollbridge.v1"]);
    socket.onopen = () => (socket.close(), resolve(true));
    socket.onclose = () => resolve(false);
  });
}
