// The protobuf wire format: what a codec by hand needs of it, no more.

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

/** Wire types. */
export const VARINT = 0;
export const FIXED64 = 1;
export const BYTES = 2;
const START_GROUP = 3;
const END_GROUP = 4;
const FIXED32 = 5;

const MAX_GROUP_DEPTH = 100;

/** Writer appends to a growing buffer. */
export class Writer {
  #buf: Uint8Array<ArrayBuffer> = new Uint8Array(256);
  /** Bytes written so far. */
  length = 0;

  /** The bytes written. They alias the writer's buffer. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#buf.subarray(0, this.length);
  }

  /** The buffer for fixed-width numbers. Valid until the next write. */
  view(): DataView {
    return new DataView(this.#buf.buffer);
  }

  /** Counts n more bytes as written, whatever is in them, and returns where they begin. */
  reserve(n: number): number {
    const at = this.length;
    this.length += n;
    if (this.length > this.#buf.length) {
      const grown = new Uint8Array(Math.max(this.length, 2 * this.#buf.length));
      grown.set(this.#buf.subarray(0, at));
      this.#buf = grown;
    }
    return at;
  }

  /** Appends an integer of at most 2^53 - 1. */
  varint(value: number): void {
    for (; value > 0x7f; value = Math.floor(value / 128)) this.#byte((value % 128) | 0x80);
    this.#byte(value);
  }

  fixed64(value: bigint): void {
    const at = this.reserve(8);
    this.view().setBigUint64(at, value, true);
  }

  /** Appends 32 bits as protobuf writes an enum: sign-extended. */
  enum(value: number): void {
    if (value < 2 ** 31) return this.varint(value);
    for (let i = 0; i < 4; i++) this.#byte(((value >>> (7 * i)) & 0x7f) | 0x80);
    this.#byte((value >>> 28) | 0xf0);
    for (let i = 0; i < 4; i++) this.#byte(0xff);
    this.#byte(1);
  }

  /** Appends bytes with their length before them. */
  raw(value: Uint8Array): void {
    this.varint(value.length);
    const at = this.reserve(value.length);
    this.#buf.set(value, at);
  }

  #byte(value: number): void {
    const at = this.reserve(1);
    this.#buf[at] = value;
  }
}

/** Reader walks over fields. What it returns aliases the bytes that it reads. */
export class Reader {
  readonly #buf: Uint8Array;
  #pos = 0;
  #high = 0;
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
    if (this.field < 1 || this.field >= 2 ** 29) throw new GarbledError("field number");
    return true;
  }

  /** An integer of at most 2^53 - 1; more is refused. */
  varint(): number {
    const low = this.uint32();
    if (this.#high >= 2 ** 21) throw new GarbledError("integer above 2^53 - 1");
    return this.#high * 2 ** 32 + low;
  }

  /** Whether an integer of any size is not 0, as protobuf reads a bool. */
  nonzero(): boolean {
    return this.uint32() + this.#high !== 0;
  }

  /** The low 32 bits of an integer of any size, as protobuf reads a uint32. Keeps the others. */
  uint32(): number {
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const b = this.#buf[this.#pos++];
      if (b === undefined) throw new GarbledError("truncated");
      const bits = b & 0x7f;
      if (shift < 32) low |= bits << shift;
      if (shift === 28) high = bits >> 4;
      if (shift > 28) high |= bits << (shift - 32);
      if (b > 0x7f) continue;
      if (shift === 63 && b > 1) break;
      this.#high = high >>> 0;
      return low >>> 0;
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
    switch (this.type) {
      case VARINT:
        this.uint32();
        return;
      case FIXED64:
        this.#take(8);
        return;
      case BYTES:
        this.raw();
        return;
      case START_GROUP:
        this.#skipGroup(this.field, depth + 1);
        return;
      case FIXED32:
        this.#take(4);
        return;
    }
    throw new GarbledError("wire type");
  }

  #skipGroup(field: number, depth: number): void {
    if (depth > MAX_GROUP_DEPTH) throw new GarbledError("group");
    while (this.next()) {
      if (this.type !== END_GROUP) {
        this.skip(depth);
        continue;
      }
      if (this.field !== field) throw new GarbledError("group");
      return;
    }
    throw new GarbledError("truncated");
  }

  #take(n: number): Uint8Array {
    const end = this.#pos + n;
    if (end > this.#buf.length) throw new GarbledError("truncated");
    const bytes = this.#buf.subarray(this.#pos, end);
    this.#pos = end;
    return bytes;
  }
}
