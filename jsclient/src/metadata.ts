import { type Bytes, copyBytes, tag } from "./args.js";
import { fromBase64, fromLatin1, latin1 } from "./wire/base64.js";
import type { Metadatum } from "./wire/batch.js";

/**
 * Metadata of an RPC: pairs of key and value, in order; a key may come more
 * than once. Values of keys that end in "-bin" are bytes, all others text.
 */
export type Metadata = readonly (readonly [key: string, value: string | Uint8Array])[];

/**
 * What callers may give as metadata: pairs, an object, Headers or a Map. Values
 * of keys that end in "-bin" are bytes of any kind; in Headers they are base64.
 */
export type MetadataInit =
  | readonly (readonly [key: string, value: string | Bytes])[]
  | { readonly [key: string]: string | Bytes }
  | Headers
  | ReadonlyMap<string, string | Bytes>;

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
export function toWire(metadata: MetadataInit): Metadatum[] {
  return pairsOf(metadata).map((pair) => {
    if (!Array.isArray(pair) || pair.length !== 2 || typeof pair[0] !== "string") throw new TypeError(`metadata: must be pairs of key and value, not ${tag(pair)}`);
    const [name, value] = pair as [string, unknown];
    const key = name.toLowerCase();
    if (!validKey.test(key)) throw new TypeError(`metadata key ${name}: must match ${validKey}`);
    if (isBinary(key)) return { key, value: copyBytes(`metadata ${key}`, value) };
    if (typeof value !== "string" || !validText.test(value)) throw new TypeError(`metadata ${key}: must be printable ASCII, not ${tag(value)}`);
    return { key, value: fromLatin1(value) };
  });
}

function pairsOf(metadata: MetadataInit): unknown[] {
  if (Array.isArray(metadata)) return metadata;
  const kind = tag(metadata);
  if (kind === "Object") return Object.entries(metadata);
  if (kind === "Map") return [...(metadata as ReadonlyMap<string, unknown>)];
  if (kind === "Headers") return [...(metadata as Headers)].flatMap(([key, value]): unknown[] => (isBinary(key) ? decode(key, value) : [[key, value]]));
  throw new TypeError(`metadata: must be pairs, an object, Headers or a Map, not ${kind}`);
}

/** Returns a pair for each of the values in base64 that a -bin key has as text, separated by commas. Throws TypeError for what is no base64. */
export function decode(key: string, text: string): [key: string, value: Uint8Array][] {
  try {
    return text.split(",").map((part) => [key, fromBase64(part)]);
  } catch {
    throw new TypeError(`metadata ${key}: the value of a -bin key must be base64`);
  }
}

export function fromWire(metadata: Metadatum[]): Metadata {
  return metadata.map(({ key, value }) => [key, isBinary(key) ? value.slice() : latin1(value)]);
}
