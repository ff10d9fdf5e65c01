// The codec of batches: pure functions over bytes.

import {
  type Batch,
  type Close,
  type End,
  type Frame,
  type GoAway,
  type Headers,
  type Hello,
  type Metadatum,
  type Open,
  TYPE_CLOSE,
  TYPE_END,
  TYPE_HEADERS,
  TYPE_OPEN,
  type Versions,
  type Welcome,
} from "./batch.js";
import { seal, unseal } from "./envelope.js";
import { garbled, Reader } from "./proto.js";
import { bool, bytes, define, fixed64, maybeUint64, message, read, repeated, type Schema, string, uint32, uint64, write, zero } from "./schema.js";

/** Most frames of a batch. */
const MAX_FRAMES = 4096;

/** Encodes a batch, envelope included. */
export function encodeBatch(value: Batch): Uint8Array<ArrayBuffer> {
  return seal((w) => write(w, batch, value));
}

/**
 * Parses a batch, envelope included. Byte fields alias the bytes given. Throws
 * RangeError for what is not a batch, or TypeError where text is not UTF-8 (W2).
 */
export function parseBatch(raw: Uint8Array): Batch {
  const parsed = read(new Reader(unseal(raw)), batch, newBatch());
  return parsed.frames.length <= MAX_FRAMES && parsed.frames.every(isWhole) ? parsed : garbled();
}

/** The message that a frame of each type must have. */
const parts: Record<number, keyof Frame> = { [TYPE_OPEN]: "open", [TYPE_HEADERS]: "headers", [TYPE_END]: "end", [TYPE_CLOSE]: "close" };

function isWhole(f: Frame): boolean {
  const part = parts[f.type];
  return !part || !!f[part];
}

/** Returns an empty batch. */
export function newBatch(): Batch {
  return zero(batch);
}

const versions: Schema<Versions> = define<Versions>({
  lowest: uint32,
  highest: uint32,
});

const hello: Schema<Hello> = define<Hello>({
  release: string,
  streamWindow: uint32,
  maxMessageBytes: uint64,
});

const welcome: Schema<Welcome> = define<Welcome>({
  version: uint32,
  release: string,
  holdMillis: uint32,
  resumeMillis: uint32,
  pauseMaxMillis: uint32,
  streamWindow: uint32,
  sessionWindow: uint32,
  maxMessageBytes: uint64,
  maxBatchBytes: uint32,
  maxMetadataBytes: uint32,
  maxStreams: uint32,
  ignoresTokens: bool,
  maxExchanges: uint32,
});

const close: Schema<Close> = define<Close>({
  code: uint32,
  message: string,
  retryAfterMillis: uint32,
  limit: uint64,
});

const goAway: Schema<GoAway> = define<GoAway>({
  spreadMillis: uint32,
});

const metadatum: Schema<Metadatum> = define<Metadatum>({
  key: string,
  value: bytes,
});

const open: Schema<Open> = define<Open>({
  method: string,
  metadata: repeated(metadatum),
  timeoutMicros: maybeUint64,
  createdMicros: uint64,
  compression: string,
  early: bool,
  contentSubtype: string,
  waitForReady: bool,
  singleRequest: bool,
  singleResponse: bool,
});

const headers: Schema<Headers> = define<Headers>({
  metadata: repeated(metadatum),
});

const end: Schema<End> = define<End>({
  status: uint32,
  message: string,
  details: bytes,
  trailers: repeated(metadatum),
  origin: uint32,
  reason: string,
});

const frame: Schema<Frame> = define<Frame>({
  seq: uint64,
  stream: uint64,
  type: uint32,
  critical: bool,
  open: message(open),
  headers: message(headers),
  data: bytes,
  length: maybeUint64,
  limit: uint64,
  end: message(end),
  close: message(close),
});

const batch: Schema<Batch> = define<Batch>({
  session: bytes,
  x: uint64,
  key: bytes,
  incarnation: fixed64,
  ack: uint64,
  close: message(close),
  versions: message(versions),
  hello: message(hello),
  welcome: message(welcome),
  nowMicros: uint64,
  awaiting: uint64,
  prefer: uint64,
  holdMillis: uint32,
  maxBytes: uint32,
  resend: bool,
  parked: uint64,
  waitingBytes: uint64,
  ping: uint64,
  pong: uint64,
  padding: bytes,
  pauseMillis: uint32,
  token: string,
  goAway: message(goAway),
  stopped: bool,
  heldMicros: uint64,
  frames: { ...repeated(frame), number: 30 },
});
