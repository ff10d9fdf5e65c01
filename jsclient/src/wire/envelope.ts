// The envelope of rule W2: what tells our bytes from everybody else's.

import { crc32c } from "./crc.js";
import { garbled, Writer } from "./proto.js";

/** Magic, version and flags that an envelope begins with. */
const MARK = 0xb1d6_01_00;
/** Bytes before and after the body. */
export const HEAD = 8;
export const TAIL = 4;

/** Reports whether bytes begin as a batch does, as far as they go: they may be cut or changed after that. */
export function isBatch(bytes: Uint8Array): boolean {
  return bytes[0] === 0xb1 && (bytes.length === 1 || bytes[1] === 0xd6);
}

/** Returns what write appends to its writer, wrapped. */
export function seal(write: (w: Writer) => void): Uint8Array<ArrayBuffer> {
  const w = new Writer();
  write(w);
  const end = HEAD + w.length;
  const bytes = new Uint8Array(end + TAIL);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MARK);
  view.setUint32(4, w.length);
  w.copy(bytes, HEAD);
  view.setUint32(end, crc32c(bytes.subarray(0, end)));
  return bytes;
}

/**
 * Returns the body, which aliases bytes. Throws RangeError for anything that is
 * not a whole batch of this version: HTML, nothing at all, a cut or flipped one.
 */
export function unseal(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length); // which throws past its end
  const end = bytes.length - TAIL;
  if (view.getUint32(0) !== MARK || view.getUint32(4) !== end - HEAD || view.getUint32(end) !== crc32c(bytes.subarray(0, end))) garbled();
  return bytes.subarray(HEAD, end);
}
