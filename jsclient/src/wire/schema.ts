// Messages as tables: each field stands once, for writing and for reading.

import { BYTES, FIXED64, Reader, VARINT, Writer } from "./proto.js";

/** How a field of type V stands on the wire. */
export interface Kind<V> {
  type: number;
  /** What an absent field reads as, and what is not written; undefined: the property is left out. */
  zero: V | undefined;
  /** Elements are of type V, the property is a list of them. */
  list?: boolean;
  /** The field's number, where it is not the one after the field before. */
  number?: number;
  put(w: Writer, value: V): void;
  /** Reads one occurrence; earlier is what the property held before. */
  read(r: Reader, earlier: V | undefined): V;
}

type Property<P> = [P] extends [(infer E)[]] ? Kind<E> : Kind<P>;

/** A message type: its fields by number, in order. */
export type Schema<T> = Map<number, [name: keyof T, kind: Kind<T[keyof T]>]>;

/** Declares a message type: the kind of each property, in order of field numbers, which count from 1. */
export function define<T>(table: { [K in keyof T]-?: Property<Exclude<T[K], undefined>> }): Schema<T> {
  const schema: Schema<T> = new Map();
  let number = 0;
  for (const name in table) {
    const kind = table[name] as unknown as Kind<T[keyof T]>;
    number = kind.number ?? number + 1;
    schema.set(number, [name, kind]);
  }
  return schema;
}

/** Returns the kind of a field whose number is not the one after the field before. */
export function at<V>(number: number, kind: Kind<V>): Kind<V> {
  return { ...kind, number };
}

/** Writes the fields of a message, but those that proto3 leaves out. */
export function write<T>(w: Writer, schema: Schema<T>, value: T): void {
  for (const [field, [name, kind]] of schema) {
    const v = value[name];
    if (v === undefined || v === kind.zero || (v as { length?: number }).length === 0) continue;
    for (const element of (kind.list ? v : [v]) as T[keyof T][]) {
      w.varint(field * 8 + kind.type);
      kind.put(w, element);
    }
  }
}

/** Returns a message whose fields are all absent. */
export function zero<T>(schema: Schema<T>): T {
  const value: Partial<T> = {};
  for (const [name, kind] of schema.values()) {
    const v = kind.list ? ([] as T[keyof T]) : kind.zero;
    if (v !== undefined) value[name] = v;
  }
  return value as T;
}

/** Reads a message, into the one given. Unknown fields and fields of another wire type are skipped (W3). */
export function read<T>(r: Reader, schema: Schema<T>, value: T): T {
  while (r.next()) {
    const [name, kind] = schema.get(r.field) ?? [];
    if (!name || kind?.type !== r.type) r.skip();
    else if (kind.list) (value[name] as T[keyof T][]).push(kind.read(r, undefined));
    else value[name] = kind.read(r, value[name]);
  }
  return value;
}

// Importing fails nowhere, not even where one is missing: see globals.ts.
const encoder: TextEncoder = globalThis.TextEncoder && new TextEncoder();
const decoder: TextDecoder = globalThis.TextDecoder && new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** uint64, at most 2^53 - 1. */
export const uint64: Kind<number> = { type: VARINT, zero: 0, put: (w, value) => w.varint(value), read: (r) => r.varint() };
/** uint32, or an enum, known or not, as its 32 bits. */
export const uint32: Kind<number> = { ...uint64, read: (r) => (r.integer(), r.low >>> 0) };
/** optional uint64: absent and 0 differ. */
export const maybeUint64: Kind<number> = { ...uint64, zero: undefined };
export const bool: Kind<boolean> = { type: VARINT, zero: false, put: (w) => w.varint(1), read: (r) => r.integer() > 0 };
export const bytes: Kind<Uint8Array> = { type: BYTES, zero: new Uint8Array(0), put: (w, value) => w.raw(value), read: (r) => r.raw() };
export const string: Kind<string> = { type: BYTES, zero: "", put: (w, value) => w.raw(encoder.encode(value)), read: (r) => decoder.decode(r.raw()) };

export const fixed64: Kind<bigint> = {
  type: FIXED64,
  zero: 0n,
  put: (w, value) => w.put(new Uint8Array(new BigUint64Array([value]).buffer)), // all browsers run on little-endian machines
  read: (r) => new BigUint64Array(r.raw(8).slice().buffer)[0]!,
};

/** Returns the kind of a message in a message; a further occurrence is merged into the first. */
export function message<T>(schema: Schema<T>): Kind<T> {
  return {
    type: BYTES,
    zero: undefined,
    put(w, value) {
      const inner = new Writer();
      write(inner, schema, value);
      w.nest(inner);
    },
    read: (r, earlier) => read(new Reader(r.raw()), schema, earlier ?? zero(schema)),
  };
}

/** Returns the kind of a list of messages. */
export function repeated<T>(schema: Schema<T>): Kind<T> {
  return { ...message(schema), list: true };
}
