// The messages of internal/testsvc/echopb/echo.proto.

import { Reader, Writer } from "../src/wire/proto.js";
import { at, bool, bytes, define, message, read, repeated, type Schema, string, uint32, uint64, write, zero } from "../src/wire/schema.js";

export const SERVICE = "/pollbridge.test.v1.Echo/";

export interface Pair {
  key: string;
  value: Uint8Array;
}

export interface Script {
  replies?: number;
  replyBytes?: number;
  delayMs?: number;
  headers?: Pair[];
  trailers?: Pair[];
  headersFirst?: boolean;
  status?: number;
  message?: string;
  details?: Pair[];
  hang?: boolean;
  reflect?: boolean;
  stopAfter?: number;
}

export interface Request {
  number: number;
  payload?: Uint8Array;
  script?: Script;
}

export interface Reply {
  number: number;
  payload: Uint8Array;
  requests: number;
  requestBytes: number;
  metadata: Pair[];
  timeoutMs: number;
}

const pair: Schema<Pair> = define<Pair>({ key: string, value: bytes });

const script: Schema<Script> = define<Script>({
  replies: uint32,
  replyBytes: uint32,
  delayMs: uint32,
  headers: repeated(pair),
  trailers: repeated(pair),
  headersFirst: bool,
  status: uint32,
  message: string,
  details: repeated(pair),
  hang: bool,
  reflect: bool,
  stopAfter: at(13, uint32),
});

const request: Schema<Request> = define<Request>({ number: uint64, payload: bytes, script: message(script) });

const reply: Schema<Reply> = define<Reply>({
  number: uint64,
  payload: bytes,
  requests: uint64,
  requestBytes: uint64,
  metadata: repeated(pair),
  timeoutMs: uint64,
});

export function encode(value: Request): Uint8Array {
  const w = new Writer();
  write(w, request, value);
  return w.bytes().slice();
}

export function decode(raw: Uint8Array): Reply {
  return read(new Reader(raw), reply, zero(reply));
}

/** n bytes that tell which message they are of. */
export function payload(number: number, n: number): Uint8Array {
  const out = new Uint8Array(n);
  let state = (number * 0x9e3779b9) | 1;
  for (let i = 0; i < n; i++) {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x3c6ef372;
    out[i] = state >>> 24;
  }
  return out;
}

export function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((v, i) => v === b[i]);
}
