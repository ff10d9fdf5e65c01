// The protobuf wire format: what a codec by hand needs of it, no more.

/** Wire types. */
export const VARINT = 0;
export const FIXED64 = 1;
export const BYTES = 2;
const START_GROUP = 3;
const END_GROUP = 4;
const FIXED32 = 5;

const MAX_GROUP_DEPTH = 100;

/** Throws for bytes that are not a batch (W2), whatever is wrong with them. */
export function garbled(): never {
  throw new RangeError("not a batch");
}

/** Writer collects what a message is made of. */
export class Writer {
  readonly #parts: (number | Uint8Array)[] = [];
  /** How many bytes were written. */
  length = 0;

  /** Returns the bytes written. */
  bytes(): Uint8Array<ArrayBuffer> {
    const [first] = this.#parts;
    if (first instanceof Uint8Array && first.length === this.length) return first.slice(); // which writes no zeros before
    const bytes = new Uint8Array(this.length);
    this.copy(bytes, 0);
    return bytes;
  }

  /** Copies the bytes written into others, from an offset on. */
  copy(into: Uint8Array, at: number): void {
    for (const part of this.#parts) {
      if (typeof part === "number") {
        into[at++] = part;
      } else {
        into.set(part, at);
        at += part.length;
      }
    }
  }

  byte(value: number): void {
    this.#parts.push(value);
    this.length++;
  }

  /** Appends bytes as they are. They must not change until they were read from bytes. */
  put(value: Uint8Array): void {
    this.#parts.push(value);
    this.length += value.length;
  }

  /** Appends an integer of at most 2^53 - 1. */
  varint(value: number): void {
    for (; value > 0x7f; value = Math.floor(value / 128)) this.byte((value % 128) | 0x80);
    this.byte(value);
  }

  /** Appends bytes with their length before them. */
  raw(value: Uint8Array): void {
    this.varint(value.length);
    this.put(value);
  }

  /** Appends what another wrote, with its length before it. */
  nest(inner: Writer): void {
    this.varint(inner.length);
    for (const part of inner.#parts) this.#parts.push(part);
    this.length += inner.length;
  }
}

/** Reader walks over fields. What it returns aliases the bytes that it reads. It throws RangeError for what is no message. */
export class Reader {
  readonly #buf: Uint8Array;
  #pos = 0;
  /** The low 32 bits of the integer read last. */
  low = 0;
  /** Number and wire type of the field that next moved to. */
  field = 0;
  type = 0;

  constructor(buf: Uint8Array) {
    this.#buf = buf;
  }

  /** Moves to the next field; false at the end. */
  next(): boolean {
    if (this.#pos >= this.#buf.length) return false;
    const tag = this.integer();
    this.type = tag % 8;
    this.field = Math.floor(tag / 8);
    return (this.field > 0 && this.field < 2 ** 29) || garbled();
  }

  /** Reads an integer, rounded above 2^53. */
  integer(): number {
    let value = 0;
    this.low = 0;
    for (let i = 0; i < 10; i++) {
      const b = this.#buf[this.#pos++] ?? garbled();
      const bits = b & 0x7f;
      value += bits * 128 ** i;
      if (i < 5) this.low |= bits << (7 * i);
      if (b < (i < 9 ? 0x80 : 2)) return value;
    }
    return garbled();
  }

  /** Reads an integer of at most 2^53 - 1; more is refused. */
  varint(): number {
    const value = this.integer();
    return value < 2 ** 53 ? value : garbled();
  }

  /** Reads bytes with their length before them, or as many as given. */
  raw(length: number = this.varint()): Uint8Array {
    const at = this.#pos;
    this.#pos += length;
    return this.#pos > this.#buf.length ? garbled() : this.#buf.subarray(at, this.#pos);
  }

  /** Skips the field that next moved to. */
  skip(depth = 0): void {
    if (this.type === VARINT) this.integer();
    else if (this.type === BYTES) this.raw();
    else if (this.type === FIXED64) this.raw(8);
    else if (this.type === FIXED32) this.raw(4);
    else if (this.type === START_GROUP && depth < MAX_GROUP_DEPTH) this.#skipGroup(this.field, depth + 1);
    else garbled();
  }

  #skipGroup(field: number, depth: number): void {
    while (this.next() && this.type !== END_GROUP) this.skip(depth);
    if (this.type !== END_GROUP || this.field !== field) garbled();
  }
}
