// CRC-32C (Castagnoli), the checksum of rule W2.

const POLYNOMIAL = 0x82f63b78;

const table: Int32Array = /* @__PURE__ */ new Int32Array(256).map((_, i) => {
  for (let k = 0; k < 8; k++) i = i & 1 ? (i >>> 1) ^ POLYNOMIAL : i >>> 1;
  return i;
});

/** Returns the CRC-32C of bytes, as an unsigned number. */
export function crc32c(bytes: Uint8Array): number {
  let c = -1;
  for (let i = 0; i < bytes.length; i++) c = table[(c ^ bytes[i]!) & 0xff]! ^ (c >>> 8);
  return ~c >>> 0;
}
