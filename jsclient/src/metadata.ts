import { fromLatin1, latin1 } from "./wire/base64.js";
import type { Metadatum } from "./wire/batch.js";

/**
 * Metadata of an RPC: pairs of key and value, in order; a key may come more
 * than once. Values of keys that end in "-bin" are bytes, all others text.
 */
export type Metadata = readonly (readonly [key: string, value: string | Uint8Array])[];

/** Returns the values of a key, in order. */
export function metadataValues(metadata: Metadata, key: string): (string | Uint8Array)[] {
  const wanted = key.toLowerCase();
  return metadata.filter(([k]) => k === wanted).map(([, value]) => value);
}

/** Returns the first value of a key as text; undefined if there is none, or if it is bytes. */
export function metadataText(metadata: Metadata, key: string): string | undefined {
  const value = metadataValues(metadata, key)[0];
  return typeof value === "string" ? value : undefined;
}

const isBinary = (key: string): boolean => key.endsWith("-bin");
const validKey = /^(?!grpc-)[0-9a-z_.-]+$/;
const validText = /^[\x20-\x7e]*$/;

/** Throws TypeError for what gRPC forbids, naming the key. */
export function toWire(metadata: Metadata): Metadatum[] {
  return metadata.map(([name, value]) => {
    const key = name.toLowerCase();
    const text = typeof value === "string";
    if (!validKey.test(key)) throw new TypeError(`metadata key ${name}: must match ${validKey}`);
    if (isBinary(key) === text || (text && !validText.test(value))) throw new TypeError(`metadata ${key}: must be ${isBinary(key) ? "a Uint8Array" : "printable ASCII"}`);
    return { key, value: text ? fromLatin1(value) : value.slice() };
  });
}

export function fromWire(metadata: Metadatum[]): Metadata {
  return metadata.map(({ key, value }) => [key, isBinary(key) ? value.slice() : latin1(value)]);
}
