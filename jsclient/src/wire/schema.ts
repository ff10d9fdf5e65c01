// Messages as tables: each field stands once, for writing and for reading.

import { BYTES, FIXED64, GarbledError, Reader, VARINT, type Writer } from "./proto.js";

/** How a field of type V stands on the wire. */
export interface Kind<V> {
  type: number;
  /** What an absent field reads as; undefined leaves the property out. */
  zero(): V | undefined;
  /** Writes the field, unless its value is one that proto3 leaves out. */
  write(w: Writer, field: number, value: V): void;
  /** Reads one occurrence; earlier is what the property held before. */
  read(r: Reader, earlier: V | undefined): V;
}

/** A message type: its fields in order of their numbers. */
export interface Schema<T> {
  fields: [name: keyof T, field: number, kind: Kind<T[keyof T]>][];
  byNumber: Map<number, [name: keyof T, kind: Kind<T[keyof T]>]>;
}

/** Declares a message type: number and kind of each property, in order of numbers. */
export function define<T>(table: { [K in keyof T]-?: [number, Kind<Exclude<T[K], undefined>>] }): Schema<T> {
  const schema: Schema<T> = { fields: [], byNumber: new Map() };
  for (const name in table) {
    const [field, kind] = table[name] as [number, Kind<T[keyof T]>];
    schema.fields.push([name, field, kind]);
    schema.byNumber.set(field, [name, kind]);
  }
  return schema;
}

/** Writes the fields of a message. */
export function write<T>(w: Writer, schema: Schema<T>, value: T): void {
  for (const [name, field, kind] of schema.fields) {
    const v = value[name];
    if (v !== undefined) kind.write(w, field, v);
  }
}

/** A message whose fields are all absent. */
export function zero<T>(schema: Schema<T>): T {
  const value: Partial<T> = {};
  for (const [name, , kind] of schema.fields) {
    const v = kind.zero();
    if (v !== undefined) value[name] = v;
  }
  return value as T;
}

/** Reads a message, into the one given. Unknown fields and fields of another wire type are skipped (W3). */
export function read<T>(r: Reader, schema: Schema<T>, value: T): T {
  while (r.next()) {
    const known = schema.byNumber.get(r.field);
    if (known?.[1].type === r.type) value[known[0]] = known[1].read(r, value[known[0]]);
    else r.skip();
  }
  return value;
}

const none: Uint8Array = new Uint8Array(0);
const encoder: TextEncoder = new TextEncoder();
const decoder: TextDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function integer(read: (r: Reader) => number): Kind<number> {
  return {
    type: VARINT,
    zero: () => 0,
    write(w, field, value) {
      if (value !== 0) writeInteger(w, field, value);
    },
    read,
  };
}

function writeInteger(w: Writer, field: number, value: number): void {
  w.tag(field, VARINT);
  w.varint(value);
}

/** uint64, of which 53 bits are taken. */
export const uint64: Kind<number> = /* @__PURE__ */ integer((r) => r.varint());
export const uint32: Kind<number> = /* @__PURE__ */ integer((r) => r.uint32());
/** An enum, known or not, as its 32 bits. */
export const enum32: Kind<number> = {
  ...uint32,
  write(w, field, value) {
    if (value === 0) return;
    w.tag(field, VARINT);
    w.enum(value);
  },
};
/** optional uint64: absent and 0 differ. */
export const maybeUint64: Kind<number> = { ...uint64, zero: () => undefined, write: writeInteger };

export const bool: Kind<boolean> = {
  type: VARINT,
  zero: () => false,
  write: (w, field, value) => uint32.write(w, field, Number(value)),
  read: (r) => r.nonzero(),
};

export const fixed64: Kind<bigint> = {
  type: FIXED64,
  zero: () => 0n,
  write(w, field, value) {
    if (value === 0n) return;
    w.tag(field, FIXED64);
    w.fixed64(value);
  },
  read: (r) => r.fixed64(),
};

export const bytes: Kind<Uint8Array> = {
  type: BYTES,
  zero: () => none,
  write(w, field, value) {
    if (value.length === 0) return;
    w.tag(field, BYTES);
    w.raw(value);
  },
  read: (r) => r.raw(),
};

export const string: Kind<string> = {
  type: BYTES,
  zero: () => "",
  write: (w, field, value) => bytes.write(w, field, encoder.encode(value)),
  read(r) {
    const raw = r.raw();
    try {
      return decoder.decode(raw);
    } catch {
      throw new GarbledError("string is not UTF-8");
    }
  },
};

/** A message in a message; a further occurrence is merged into the first. */
export function message<T>(schema: Schema<T>): Kind<T> {
  return {
    type: BYTES,
    zero: () => undefined,
    write(w, field, value) {
      w.tag(field, BYTES);
      w.nested(() => write(w, schema, value));
    },
    read: (r, earlier) => read(new Reader(r.raw()), schema, earlier ?? zero(schema)),
  };
}

/** A list of messages. */
export function repeated<T>(of: Kind<T>): Kind<T[]> {
  return {
    type: BYTES,
    zero: () => [],
    write(w, field, list) {
      for (const value of list) of.write(w, field, value);
    },
    read(r, list = []) {
      list.push(of.read(r, undefined));
      return list;
    },
  };
}
