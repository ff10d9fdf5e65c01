// What the client needs of the engine that it runs in. Importing it fails nowhere, whatever is missing.

/** What was missing when the client was imported, of all that it needs. */
const missing = "AbortController Event EventTarget TextDecoder TextEncoder crypto performance".split(" ").filter((name) => !(name in globalThis));

/** What classes extend; something else where checkGlobals throws. */
export const EventBase: typeof Event = globalThis.Event ?? Object;
export const EventTargetBase: typeof EventTarget = globalThis.EventTarget ?? Object;

/** Throws TypeError where something is missing, naming it. */
export function checkGlobals(): void {
  if (missing[0]) throw new TypeError(`no ${missing}: import polyfills before`);
}
