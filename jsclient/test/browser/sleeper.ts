// A page that sleeps, and what it has heard meanwhile.

import type { Call } from "../../src/call.js";
import { Channel, type ChannelOptions } from "../../src/index.js";
import { decode, encode, SERVICE } from "../echo.js";

let channel: Channel;
let call: Call;
let listening: Promise<void>;
let said = 0;
let ticks = 0;
let ticking = 0;
const heard: number[] = [];
const events: string[] = [];

for (const type of ["online", "offline"]) addEventListener(type, note);
for (const type of ["freeze", "resume"]) document.addEventListener(type, note);

function note({ type }: Event): void {
  events.push(type);
  dispatchEvent(new Event("noted"));
}

/** Opens a channel with an RPC that echoes numbers, each after so many milliseconds, and has one echoed. */
export async function begin(options: ChannelOptions, delayMs = 0): Promise<void> {
  channel = new Channel("/", options);
  call = channel.open(SERVICE + "Bidi");
  void call.send(encode({ number: 0, payload: text(++said), script: { delayMs } }));
  listening = listen();
  await hear(1);
}

const text = (number: number): Uint8Array => new TextEncoder().encode(String(number));

async function listen(): Promise<void> {
  try {
    for await (const message of call.messages) {
      heard.push(Number(new TextDecoder().decode(decode(message).payload)));
      dispatchEvent(new Event("heard"));
    }
  } catch {
    // its status tells
  }
}

/** Sends the next numbers. */
export function send(count: number): void {
  for (let i = 0; i < count; i++) void call.send(encode({ number: 0, payload: text(++said) }));
}

/** Sends the next numbers in the moment in which the page freezes. */
export function sendInFreeze(count: number): void {
  document.addEventListener("freeze", () => send(count), { once: true });
}

/** Waits until so many numbers were heard. */
export async function hear(count: number): Promise<void> {
  while (heard.length < count) await new Promise((resolve) => addEventListener("heard", resolve, { once: true }));
}

/** Sends the next numbers and waits for their echoes. */
export async function say(count: number): Promise<void> {
  send(count);
  await hear(said);
}

/** Counts how often a timer of 10 ms runs. */
export function tick(): void {
  ticking = performance.now();
  setInterval(() => ticks++, 10);
}

/** What the page knows; millis: how long it has counted ticks; errors: reasons of the links that failed. */
export function seen(): { events: string[]; ticks: number; millis: number; sessions: number; errors: string[] } {
  const sessions = new Set(channel.events.filter((e) => e.type === "session").map((e) => e.session)).size;
  return { events, ticks, millis: performance.now() - ticking, sessions, errors: channel.events.filter((e) => e.type === "error").map((e) => e.reason!) };
}

/** Waits until the page is hidden. */
export async function hidden(): Promise<void> {
  while (!document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

/** Waits until the channel is in a state. */
export async function reach(state: string): Promise<void> {
  while (channel.state !== state) await new Promise((resolve) => channel.addEventListener("statechange", resolve, { once: true }));
}

/** Cuts the channel's links. */
export function cut(): void {
  channel.disrupt();
}

/** Sends the last numbers. */
export function finish(count: number): void {
  send(count);
  call.closeSend();
}

/** Waits until so many events came. */
export async function happened(count: number): Promise<void> {
  while (events.length < count) await new Promise((resolve) => addEventListener("noted", resolve, { once: true }));
}

/** Waits for the end of the RPC; tells how it ended, and what was heard. */
export async function over(): Promise<{ heard: number[]; code: number; reason: string }> {
  await listening;
  const { code, reason } = await call.status;
  return { heard, code, reason };
}

/** Makes another RPC. */
export async function again(): Promise<number> {
  return decode((await channel.unary(SERVICE + "Unary", encode({ number: 0 }))).message).number;
}
