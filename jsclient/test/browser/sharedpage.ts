// What each tab runs in the tests of pollbridge/shared.

import type { Call } from "../../src/call.js";
import { Channel, type ChannelOptions } from "../../src/index.js";
import { sharedFetch, type SharedOptions } from "../../src/shared.js";
import { decode, encode, SERVICE } from "../echo.js";

let channel: Channel;
let chat: Call;
let said = 0;
const heard: number[] = [];
const listened: number[] = [];

/** Opens the tab's channel with one bidirectional RPC that has echoed once. */
export async function join(shared: SharedOptions, options: ChannelOptions = {}): Promise<void> {
  channel = new Channel("/", { transports: ["longpoll"], ...options, fetch: sharedFetch(shared) });
  chat = channel.open(SERVICE + "Bidi");
  await talk(1);
}

/** Has so many more messages echoed, one after the other. */
export async function talk(rounds: number): Promise<void> {
  for (let i = 0; i < rounds; i++) {
    await chat.send(encode({ number: ++said }));
    const { value, done } = await chat.messages.next();
    if (done) throw new Error("the RPC ended");
    heard.push(Number(decode(value).number));
  }
}

/** Reads a server stream to its end, and tells the numbers. */
export async function listen(replies: number, delayMs: number): Promise<number[]> {
  const call = channel.open(SERVICE + "ServerStream");
  await call.send(encode({ number: 1, script: { replies, delayMs } }));
  call.closeSend();
  for await (const raw of call.messages) listened.push(Number(decode(raw).number));
  return listened;
}

/** Ends the chat, and tells all echoes and the status. */
export async function finish(): Promise<[number[], number, string | undefined]> {
  chat.closeSend();
  const { code } = await chat.status;
  return [heard, code, channel.lastError?.message];
}
