// What the tests of all adapters share.

import { after, before } from "node:test";
import { WebSocket } from "ws";
import { Channel, type ChannelOptions, type Transport } from "../../src/index.js";
import { startTestBridge, type Stats, type TestBridge } from "../testbridge.js";

/** Each way to reach the bridge. */
export const choices: Record<string, readonly Transport[]> = { longpoll: ["longpoll"], ws: ["ws"] };

/** More than the largest window of a stream lets through, in bytes. */
export const WINDOW: number = 300 << 10;

/** The far side of a test file, and channels to it. */
export class Stage {
  #bridge!: TestBridge;
  #channels: Channel[] = [];

  /** Starts the far side before the file's tests, and stops it after them. */
  constructor() {
    before(async () => void (this.#bridge = await startTestBridge()));
    after(async () => {
      for (const channel of this.#channels) channel.close();
      await this.#bridge.stop();
    });
  }

  get url(): string {
    return this.#bridge.url;
  }

  channel(options: ChannelOptions = {}): Channel {
    const channel = new Channel(this.url, { WebSocket, ...options });
    this.#channels.push(channel);
    return channel;
  }

  /** Runs what must make the backend see so many more RPCs cancelled and none left, and waits until it does. */
  async cancels(count: number, run: () => Promise<void>): Promise<void> {
    const { Cancelled: before } = (await this.#bridge.stats()).rpcs;
    await run();
    await this.#until(({ Active, Cancelled }) => Active === 0 && Cancelled === before + count);
  }

  /** Waits until so many RPCs run at the backend. */
  active(count: number): Promise<void> {
    return this.#until(({ Active }) => Active === count);
  }

  async #until(ok: (rpcs: Stats["rpcs"]) => boolean): Promise<void> {
    while (!ok((await this.#bridge.stats()).rpcs)) await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A fetch that keeps the bodies of requests, as Latin-1, and counts the bytes of answers. */
export class Meter {
  readonly requests: string[] = [];
  bytes = 0;

  readonly fetch: typeof fetch = async (input, init) => {
    this.requests.push(Buffer.from(init?.body as Uint8Array).toString("latin1"));
    const response = await fetch(input, init);
    const body = await response.arrayBuffer();
    this.bytes += body.byteLength;
    return new Response(body, response);
  };
}

export async function collect<T>(messages: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const message of messages) all.push(message);
  return all;
}

/** A queue that is fed by push and read by one loop, such as a chat's input. */
export class Queue<T> implements AsyncIterable<T> {
  #values: T[] = [];
  #wake: (() => void) | undefined;
  #ended = false;
  /** Whether its reader has left. */
  left = false;

  push(value: T): void {
    this.#values.push(value);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    try {
      for (;;) {
        while (this.#values.length > 0) yield this.#values.shift()!;
        if (this.#ended) return;
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      this.left = true;
    }
  }
}
