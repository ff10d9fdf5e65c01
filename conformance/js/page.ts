// What the page of chromium.ts runs. Bytes cross between the two in base64.

import type * as Pollbridge from "../../jsclient/src/index.js";
import { newRun } from "./call.js";

const library = (await import("/client.js" as string)) as typeof Pollbridge;

/** Gives what runs a case over a transport. */
export function open(transport: Pollbridge.Transport): (url: string, request: string) => Promise<string> {
  const { run } = newRun(library, { transports: [transport] });
  return async (url, request) => {
    const answer = await run(url, Uint8Array.from(atob(request), (c) => c.charCodeAt(0)));
    let text = "";
    for (const byte of answer) text += String.fromCharCode(byte);
    return btoa(text);
  };
}
