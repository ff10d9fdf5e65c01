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
import { GarbledError, Reader } from "./proto.js";
import { bool, bytes, define, enum32, fixed64, maybeUint64, message, read, repeated, type Schema, string, uint32, uint64, write, zero } from "./schema.js";

/** Encodes a batch, envelope included. */
export function encodeBatch(value: Batch): Uint8Array<ArrayBuffer> {
  return seal((w) => write(w, batch, value));
}

/**
 * Parses a batch, envelope included. Byte fields alias the bytes given. Throws
 * GarbledError for what is not a batch (W2).
 */
export function parseBatch(raw: Uint8Array): Batch {
  const parsed = read(new Reader(unseal(raw)), batch, newBatch());
  if (parsed.frames.length > MAX_FRAMES) throw new GarbledError("too many frames");
  if (!parsed.frames.every(isWhole)) throw new GarbledError("frame without content");
  return parsed;
}

/** Most frames of a batch. */
const MAX_FRAMES = 4096;

/** The message that a frame of each type must have. */
const parts: Record<number, keyof Frame> = { [TYPE_OPEN]: "open", [TYPE_HEADERS]: "headers", [TYPE_END]: "end", [TYPE_CLOSE]: "close" };

function isWhole(f: Frame): boolean {
  const part = parts[f.type];
  return !part || f[part] !== undefined;
}

/** An empty batch, which says nothing. */
export function newBatch(): Batch {
  return zero(batch);
}

const versions: Schema<Versions> = define<Versions>({
  lowest: [1, uint32],
  highest: [2, uint32],
});

const hello: Schema<Hello> = define<Hello>({
  release: [1, string],
  streamWindow: [2, uint32],
  maxMessageBytes: [3, uint64],
});

const welcome: Schema<Welcome> = define<Welcome>({
  version: [1, uint32],
  release: [2, string],
  holdMillis: [3, uint32],
  resumeMillis: [4, uint32],
  pauseMaxMillis: [5, uint32],
  streamWindow: [6, uint32],
  sessionWindow: [7, uint32],
  maxMessageBytes: [8, uint64],
  maxBatchBytes: [9, uint32],
  maxMetadataBytes: [10, uint32],
  maxStreams: [11, uint32],
});

const close: Schema<Close> = define<Close>({
  code: [1, enum32],
  message: [2, string],
  retryAfterMillis: [3, uint32],
  limit: [4, uint64],
});

const goAway: Schema<GoAway> = define<GoAway>({
  spreadMillis: [1, uint32],
});

const metadatum: Schema<Metadatum> = define<Metadatum>({
  key: [1, string],
  value: [2, bytes],
});

const open: Schema<Open> = define<Open>({
  method: [1, string],
  metadata: [2, repeated(metadatum)],
  timeoutMicros: [3, maybeUint64],
  createdMicros: [4, uint64],
  compression: [5, string],
  early: [6, bool],
  contentSubtype: [7, string],
  waitForReady: [8, bool],
  singleRequest: [9, bool],
  singleResponse: [10, bool],
});

const headers: Schema<Headers> = define<Headers>({
  metadata: [1, repeated(metadatum)],
});

const end: Schema<End> = define<End>({
  status: [1, uint32],
  message: [2, string],
  details: [3, bytes],
  trailers: [4, repeated(metadatum)],
  origin: [5, enum32],
  reason: [6, string],
});

const frame: Schema<Frame> = define<Frame>({
  seq: [1, uint64],
  stream: [2, uint64],
  type: [3, enum32],
  critical: [4, bool],
  open: [5, message(open)],
  headers: [6, message(headers)],
  data: [7, bytes],
  length: [8, maybeUint64],
  limit: [9, uint64],
  end: [10, message(end)],
  close: [11, message(close)],
});

const batch: Schema<Batch> = define<Batch>({
  session: [1, bytes],
  x: [2, uint64],
  key: [3, bytes],
  incarnation: [4, fixed64],
  ack: [5, uint64],
  close: [6, message(close)],
  versions: [7, message(versions)],
  hello: [8, message(hello)],
  welcome: [9, message(welcome)],
  nowMicros: [10, uint64],
  awaiting: [11, uint64],
  prefer: [12, uint64],
  holdMillis: [13, uint32],
  maxBytes: [14, uint32],
  resend: [15, bool],
  parked: [16, uint64],
  waitingBytes: [17, uint64],
  ping: [18, uint64],
  pong: [19, uint64],
  padding: [20, bytes],
  pauseMillis: [21, uint32],
  token: [22, string],
  goAway: [23, message(goAway)],
  stopped: [24, bool],
  heldMicros: [25, uint64],
  frames: [30, repeated(frame)],
});
