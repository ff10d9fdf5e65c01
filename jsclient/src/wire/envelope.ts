// The envelope of rule W2: what tells our bytes from everybody else's.

import { crc32c } from "./crc.js";
import { HEAD, MAGIC, TAIL, VERSION } from "./layout.js";
import { GarbledError, VersionError, Writer } from "./proto.js";

/** Wraps what write appends to its writer. */
export function seal(write: (w: Writer) => void): Uint8Array<ArrayBuffer> {
  const w = new Writer();
  write(w);
  const body = w.bytes();
  const end = HEAD + body.length;
  const bytes = new Uint8Array(end + TAIL);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, MAGIC);
  view.setUint8(2, VERSION);
  view.setUint32(4, body.length);
  bytes.set(body, HEAD);
  view.setUint32(end, crc32c(bytes.subarray(0, end)));
  return bytes;
}

/**
 * Returns the body, which aliases bytes. Throws GarbledError for anything that
 * is not a whole batch: HTML, nothing at all, a cut or flipped one; VersionError
 * for a whole one in an envelope from the future.
 */
export function unseal(bytes: Uint8Array): Uint8Array {
  if (bytes.length < HEAD + TAIL) throw new GarbledError("truncated");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const end = bytes.length - TAIL;
  if (view.getUint16(0) !== MAGIC || view.getUint32(4) !== end - HEAD) throw new GarbledError("no batch");
  if (crc32c(bytes.subarray(0, end)) !== view.getUint32(end)) throw new GarbledError("checksum");
  if (view.getUint8(2) !== VERSION) throw new VersionError("envelope");
  if (view.getUint8(3) !== 0) throw new GarbledError("flags");
  return bytes.subarray(HEAD, end);
}
