import type { Metadatum } from "./wire/batch.js";

/**
 * Metadata of an RPC: pairs of key and value, in order; a key may come more
 * than once. Values of keys that end in "-bin" are bytes, all others text.
 */
export type Metadata = readonly (readonly [key: string, value: string | Uint8Array])[];

/** The values of a key, in order. */
export function metadataValues(metadata: Metadata, key: string): (string | Uint8Array)[] {
  const wanted = key.toLowerCase();
  return metadata.filter(([k]) => k === wanted).map(([, value]) => value);
}

/** The first value of a key as text; undefined if there is none, or if it is bytes. */
export function metadataText(metadata: Metadata, key: string): string | undefined {
  const value = metadataValues(metadata, key)[0];
  return typeof value === "string" ? value : undefined;
}

const validKey = /^[0-9a-z_.-]+$/;
const validText = /^[\x20-\x7e]*$/;

/** Throws TypeError for what gRPC forbids, naming the key. */
export function toWire(metadata: Metadata): Metadatum[] {
  return metadata.map(([name, value]) => {
    const key = name.toLowerCase();
    if (!validKey.test(key)) throw new TypeError(`metadata key ${JSON.stringify(name)}: only letters, digits, "_", "-" and "." are allowed`);
    if (key.startsWith("grpc-")) throw new TypeError(`metadata key ${name}: keys that begin with grpc- are reserved`);
    return { key, value: key.endsWith("-bin") ? bytesOf(key, value) : textOf(key, value) };
  });
}

function bytesOf(key: string, value: string | Uint8Array): Uint8Array {
  if (typeof value === "string") throw new TypeError(`metadata key ${key}: the value of a -bin key must be a Uint8Array`);
  return value.slice();
}

function textOf(key: string, value: string | Uint8Array): Uint8Array {
  if (typeof value !== "string") throw new TypeError(`metadata key ${key}: bytes need a key that ends in -bin`);
  if (!validText.test(value)) throw new TypeError(`metadata key ${key}: the value has characters other than printable ASCII`);
  return Uint8Array.from(value, (c) => c.charCodeAt(0));
}

export function fromWire(metadata: Metadatum[]): Metadata {
  return metadata.map(({ key, value }) => [key, key.endsWith("-bin") ? value.slice() : latin1(value)]);
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const b of bytes) text += String.fromCharCode(b);
  return text;
}
