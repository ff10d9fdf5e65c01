// CRC-32C (Castagnoli), the checksum of rule W2.

const POLYNOMIAL = 0x82f63b78;
/** Bytes that are taken at once: slicing-by-8, as in Go's hash/crc32. A byte at a time takes four times as long. */
const SLICE = 8;

const table: Int32Array = /* @__PURE__ */ newTable();

/** Returns what a byte makes of the checksum, in the first 256 elements; in each 256 that follow, with one more byte of 0 behind it. */
function newTable(): Int32Array {
  const all = new Int32Array(SLICE * 256);
  for (let i = 0; i < all.length; i++) {
    let c = i < 256 ? i : all[i - 256]!;
    if (i < 256) for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ POLYNOMIAL : c >>> 1;
    else c = (c >>> 8) ^ all[c & 0xff]!;
    all[i] = c;
  }
  return all;
}

/** Returns the CRC-32C of bytes, as an unsigned number. */
export function crc32c(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const whole = bytes.length - (bytes.length % SLICE);
  let c = -1;
  for (let i = 0; i < whole; i += SLICE) {
    c ^= view.getInt32(i, true);
    const d = view.getInt32(i + 4, true);
    c =
      table[0x700 + (c & 0xff)]! ^ table[0x600 + ((c >>> 8) & 0xff)]! ^ table[0x500 + ((c >>> 16) & 0xff)]! ^ table[0x400 + (c >>> 24)]! ^
      table[0x300 + (d & 0xff)]! ^ table[0x200 + ((d >>> 8) & 0xff)]! ^ table[0x100 + ((d >>> 16) & 0xff)]! ^ table[d >>> 24]!;
  }
  for (let i = whole; i < bytes.length; i++) c = table[(c ^ bytes[i]!) & 0xff]! ^ (c >>> 8);
  return ~c >>> 0;
}
