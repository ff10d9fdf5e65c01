// The batch and its parts: field by field the schema
// proto/pollbridge/v1/pollbridge.proto, whose comments say what each means.

/** Most bytes of a message in one frame (W5). */
export const MAX_FRAGMENT: number = 16 << 10;
/** What a frame counts in windows beside its payload (D2), a message beside its length (D3). */
export const FRAME_COST = 32;
/** Lengths of a session's ID and key (O1). */
export const ID_SIZE = 16;
export const KEY_SIZE = 16;
/** Versions of the protocol that this package speaks (W3). */
export const LOWEST_VERSION = 1;
export const HIGHEST_VERSION = 1;

/** Batch is what crosses a link at once: header fields and frames. */
export interface Batch {
  session?: Uint8Array;
  x: number;
  key?: Uint8Array;
  incarnation: bigint;
  ack: number;
  close?: Close;
  versions?: Versions;
  hello?: Hello;
  welcome?: Welcome;
  nowMicros: number;
  awaiting: number;
  prefer: number;
  holdMillis: number;
  maxBytes: number;
  resend: boolean;
  parked: number;
  waitingBytes: number;
  ping: number;
  pong: number;
  padding?: Uint8Array;
  pauseMillis: number;
  token: string;
  goAway?: GoAway;
  stopped: boolean;
  heldMicros: number;
  frames: Frame[];
}

/** A range of protocol versions (W3). */
export interface Versions {
  lowest: number;
  highest: number;
}

/** Opens or resumes a session (O2). */
export interface Hello {
  release: string;
  streamWindow: number;
  maxMessageBytes: number;
}

/** Answers a Hello (O2). */
export interface Welcome {
  version: number;
  release: string;
  holdMillis: number;
  resumeMillis: number;
  pauseMaxMillis: number;
  streamWindow: number;
  sessionWindow: number;
  maxMessageBytes: number;
  maxBatchBytes: number;
  maxMetadataBytes: number;
  maxStreams: number;
  ignoresTokens: boolean;
  maxExchanges: number;
}

/** Asks the client to open new RPCs on another session (E3). */
export interface GoAway {
  spreadMillis: number;
}

/** Why a batch was refused or a session is over (W6). */
export const CODE_GARBLED = 1;
export const CODE_VERSION = 2;
export const CODE_BUSY = 3;
export const CODE_TOO_LARGE = 4;
export const CODE_UNKNOWN = 5;
export const CODE_DONE = 16;
export const CODE_DRAINED = 17;
export const CODE_PROTOCOL_VIOLATION = 18;
export const CODE_OVERLOADED = 19;
export const CODE_UNAUTHENTICATED = 20;

/** Ends something with a reason that a program can read. */
export interface Close {
  code: number;
  message: string;
  retryAfterMillis: number;
  limit: number;
}

/** Kinds of frames (W5). */
export const TYPE_OPEN = 1;
export const TYPE_HEADERS = 2;
export const TYPE_MESSAGE = 3;
export const TYPE_HALF_CLOSE = 4;
export const TYPE_CANCEL = 5;
export const TYPE_WINDOW = 6;
export const TYPE_END = 7;
export const TYPE_CLOSE = 8;

/**
 * Frame is the numbered unit of a session. Beside seq, stream, type and
 * critical only the fields that the type names are set.
 */
export interface Frame {
  seq: number;
  stream: number;
  type: number;
  critical?: boolean;
  open?: Open;
  headers?: Headers;
  /** message: a fragment. */
  data?: Uint8Array;
  /** message: the whole message's length, in its first fragment only. */
  length?: number;
  /** window: the absolute limit. */
  limit?: number;
  end?: End;
  close?: Close;
}

/** Starts an RPC. */
export interface Open {
  method: string;
  metadata: Metadatum[];
  /** Absent: no deadline. */
  timeoutMicros?: number | undefined;
  createdMicros: number;
  compression?: string | undefined;
  early?: boolean | undefined;
  contentSubtype?: string;
  waitForReady?: boolean | undefined;
  singleRequest?: boolean | undefined;
  singleResponse?: boolean | undefined;
}

/** One metadata key with one value. */
export interface Metadatum {
  key: string;
  value: Uint8Array;
}

/** Returns what an RPC's metadata counts towards the bridge's limit: the bytes of each key and value, and 32 for each pair (section 7). */
export function metadataSize(metadata: readonly Metadatum[]): number {
  return metadata.reduce((size, { key, value }) => size + FRAME_COST + key.length + value.length, 0);
}

/** An RPC's response headers. */
export interface Headers {
  metadata: Metadatum[];
}

/** Who made an RPC's status. */
export const ORIGIN_BACKEND = 0;
export const ORIGIN_BRIDGE = 1;

/** Ends an RPC. */
export interface End {
  status: number;
  message: string;
  details: Uint8Array;
  trailers: Metadatum[];
  origin: number;
  reason: string;
}
