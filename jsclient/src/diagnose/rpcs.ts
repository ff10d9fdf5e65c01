// The product itself, tried: a session, and RPCs of all four kinds with a cut
// of every link in the middle of them.

import { Channel } from "../channel.js";
import type { ChannelOptions } from "../options.js";
import type { Transport } from "../dialer/ladder.js";
import { Code, StatusError } from "../status.js";
import { pause } from "./ask.js";

const SERVICE = "/pollbridge.check.v1.Check/";
const MESSAGES = 8;
const SIZE = 2000;
const PAUSE = 100;
const LIMIT = 60_000;
const OPEN_LIMIT = 15_000;

/** What became of a session: how long it took, or why it failed. */
export interface Session {
  readonly took: number;
  readonly problem?: string;
  readonly unauthenticated?: boolean;
}

/** Opens a session over one transport; with rpcs it also calls every method of the bridge's own service. */
export async function trySession(url: string, transport: Transport, rpcs: boolean, options: ChannelOptions): Promise<Session> {
  const start = performance.now();
  const channel = new Channel(url, { ...options, transports: [transport] });
  try {
    await (rpcs ? callAll(channel) : opened(channel));
    return { took: performance.now() - start };
  } catch (error) {
    const unauthenticated = error instanceof StatusError && error.code === Code.Unauthenticated;
    const last = channel.lastError ? `; last error: ${channel.lastError.message}` : "";
    return { took: performance.now() - start, unauthenticated, problem: String(error instanceof Error ? error.message : error) + last };
  } finally {
    channel.close();
  }
}

function opened(channel: Channel): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("no session was opened in time")), OPEN_LIMIT);
    const look = (): void => {
      if (channel.state === "open") resolve();
      else if (channel.state === "closed") reject(channel.lastError ?? new Error("the bridge refused the session"));
      else return;
      clearTimeout(timer);
    };
    channel.addEventListener("statechange", look);
    look();
  });
}

async function callAll(channel: Channel): Promise<void> {
  await Promise.all([unary(channel), server(channel), client(channel), bidi(channel)]);
}

async function unary(channel: Channel): Promise<void> {
  const sent = random();
  const { message } = await channel.unary(`${SERVICE}Unary`, encode(sent), { timeoutMs: LIMIT });
  same("unary", sent, decode(message));
}

async function server(channel: Channel): Promise<void> {
  const sent = random();
  const call = channel.open(`${SERVICE}Server`, { timeoutMs: LIMIT });
  void call.send(encode(sent));
  call.closeSend();
  same("server-streaming", sent, await collect(call.messages));
}

async function client(channel: Channel): Promise<void> {
  const call = channel.open(`${SERVICE}Client`, { timeoutMs: LIMIT });
  const sent: Uint8Array[] = [];
  for (let i = 0; i < MESSAGES; i++) {
    sent.push(random());
    await call.send(encode(sent[i]!));
    await pause(PAUSE, new AbortController().signal);
  }
  call.closeSend();
  same("client-streaming", concat(sent), await collect(call.messages));
}

/** Waits for each echo, and cuts the links in the middle. */
async function bidi(channel: Channel): Promise<void> {
  const call = channel.open(`${SERVICE}Bidi`, { timeoutMs: LIMIT });
  for (let i = 0; i < MESSAGES; i++) {
    const sent = random();
    await call.send(encode(sent));
    if (i === MESSAGES / 2) channel.disrupt();
    const { value, done } = await call.messages.next();
    if (done) throw new Error("a bidirectional RPC ended early");
    same("bidirectional", sent, decode(value));
    await pause(PAUSE, new AbortController().signal);
  }
  call.closeSend();
  await collect(call.messages);
}

async function collect(messages: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const message of messages) parts.push(decode(message));
  return concat(parts);
}

function same(kind: string, want: Uint8Array, got: Uint8Array): void {
  if (want.length === got.length && want.every((byte, i) => byte === got[i])) return;
  throw new Error(`${kind} RPC: got ${got.length} bytes, not the ${want.length} expected ones`);
}

const random = (): Uint8Array => crypto.getRandomValues(new Uint8Array(SIZE));

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** google.protobuf.BytesValue with a value of less than 16 KiB. */
function encode(value: Uint8Array): Uint8Array {
  return concat([Uint8Array.of(10, (value.length & 0x7f) | 0x80, value.length >> 7), value]);
}

function decode(message: Uint8Array): Uint8Array {
  return message.length === 0 ? message : message.subarray(message[1]! & 0x80 ? 3 : 2);
}
