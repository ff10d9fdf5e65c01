// Metadata as clients of other projects have it: all values text, those of -bin keys in base64.

import { decode, type Metadata } from "./metadata.js";
import { base64 } from "./wire/base64.js";

/** Reports whether the client itself sets the key, whatever the application wants. */
export function isReserved(key: string): boolean {
  return /^(grpc-|te$|content-type$)/i.test(key);
}

/** Throws TypeError for a -bin value that is not base64. Leaves reserved keys out. */
export function fromText(pairs: Iterable<readonly [key: string, text: string]>): Metadata {
  const metadata: [string, string | Uint8Array][] = [];
  for (const [key, text] of pairs) {
    if (isReserved(key)) continue;
    if (/-bin$/i.test(key)) metadata.push(...decode(key, text));
    else metadata.push([key, text]);
  }
  return metadata;
}

export function toText(metadata: Metadata): [key: string, text: string][] {
  return metadata.map(([key, value]) => [key, typeof value === "string" ? value : base64(value)]);
}
