// The protobuf wire format: what a codec by hand needs of it, no more.

import { BYTES, END_GROUP, FIXED32, FIXED64, MAX_GROUP_DEPTH, START_GROUP, VARINT } from "./layout.js";

/** GarbledError says why bytes are not a batch (rule W2). */
export class GarbledError extends Error {
  override name = "GarbledError";
  constructor(message: string) {
    super("wire: " + message);
  }
}

/** VersionError tells of a whole batch in an envelope of another version (W3). */
export class VersionError extends Error {
  override name = "VersionError";
}

/** Writer collects what a message is made of. */
export class Writer {
  readonly #parts: (number | Uint8Array)[] = [];
  #length = 0;

  /** The bytes written. */
  bytes(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.#length);
    let at = 0;
    for (const part of this.#parts) {
      if (typeof part === "number") {
        bytes[at++] = part;
      } else {
        bytes.set(part, at);
        at += part.length;
      }
    }
    return bytes;
  }

  byte(value: number): void {
    this.#parts.push(value);
    this.#length++;
  }

  /** Appends bytes as they are. They must not change until they were read from bytes. */
  put(value: Uint8Array): void {
    this.#parts.push(value);
    this.#length += value.length;
  }

  /** Appends an integer of at most 2^53 - 1. */
  varint(value: number): void {
    for (; value > 0x7f; value = Math.floor(value / 128)) this.byte((value % 128) | 0x80);
    this.byte(value);
  }

  fixed64(value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    this.put(bytes);
  }

  /** Appends 32 bits as protobuf writes an enum: sign-extended. */
  enum(value: number): void {
    if (value < 2 ** 31) return this.varint(value);
    for (let i = 0; i < 9; i++) this.byte((i < 4 ? value >>> (7 * i) : i > 4 ? 0xff : (value >>> 28) | 0xf0) | 0x80);
    this.byte(1);
  }

  /** Appends bytes with their length before them. */
  raw(value: Uint8Array): void {
    this.varint(value.length);
    this.put(value);
  }
}

/** Reader walks over fields. What it returns aliases the bytes that it reads. */
export class Reader {
  readonly #buf: Uint8Array;
  #pos = 0;
  #low = 0;
  /** Number and wire type of the field that next moved to. */
  field = 0;
  type = 0;

  constructor(buf: Uint8Array) {
    this.#buf = buf;
  }

  /** Moves to the next field; false at the end. */
  next(): boolean {
    if (this.#pos >= this.#buf.length) return false;
    const tag = this.varint();
    this.type = tag % 8;
    this.field = (tag - this.type) / 8;
    if (this.field < 1 || this.field >= 2 ** 29) throw new GarbledError("field");
    return true;
  }

  /** An integer of at most 2^53 - 1; more is refused. */
  varint(): number {
    const value = this.#integer();
    if (value > Number.MAX_SAFE_INTEGER) throw new GarbledError("varint above 2^53");
    return value;
  }

  /** Whether an integer of any size is not 0, as protobuf reads a bool. */
  nonzero(): boolean {
    return this.#integer() > 0;
  }

  /** The low 32 bits of an integer of any size, as protobuf reads a uint32. */
  uint32(): number {
    this.#integer();
    return this.#low;
  }

  /** An integer, rounded above 2^53; keeps its low 32 bits. */
  #integer(): number {
    let value = 0;
    let low = 0;
    for (let i = 0, scale = 1; i < 10; i++, scale *= 128) {
      const b = this.#buf[this.#pos++];
      if (b === undefined) throw new GarbledError("truncated");
      const bits = b & 0x7f;
      value += bits * scale;
      if (i < 5) low |= bits << (7 * i);
      if (b > 0x7f) continue;
      if (i === 9 && b > 1) break;
      this.#low = low >>> 0;
      return value;
    }
    throw new GarbledError("varint");
  }

  fixed64(): bigint {
    const at = this.#take(8);
    return new DataView(at.buffer, at.byteOffset).getBigUint64(0, true);
  }

  /** Bytes with their length before them. */
  raw(): Uint8Array {
    return this.#take(this.varint());
  }

  /** Passes over the field that next moved to. */
  skip(depth = 0): void {
    if (this.type === VARINT) this.#integer();
    else if (this.type === BYTES) this.raw();
    else if (this.type === START_GROUP) this.#skipGroup(this.field, depth + 1);
    else if (this.type === FIXED64) this.#take(8);
    else if (this.type === FIXED32) this.#take(4);
    else throw new GarbledError("field");
  }

  #skipGroup(field: number, depth: number): void {
    if (depth > MAX_GROUP_DEPTH) throw new GarbledError("field");
    for (;;) {
      if (!this.next()) throw new GarbledError("truncated");
      if (this.type === END_GROUP) break;
      this.skip(depth);
    }
    if (this.field !== field) throw new GarbledError("field");
  }

  #take(n: number): Uint8Array {
    const end = this.#pos + n;
    if (end > this.#buf.length) throw new GarbledError("truncated");
    const bytes = this.#buf.subarray(this.#pos, end);
    this.#pos = end;
    return bytes;
  }
}
