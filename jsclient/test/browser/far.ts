// What runs in the page of far.test.ts.

import { Channel } from "../../src/index.js";
import { encode, payload, SERVICE } from "../echo.js";

const PIECE = 16 << 10;

/** Brings so many bytes from the bridge at url, or there, and tells how many exchanges were in flight at most; no more is sent once they were more than two. */
export async function mostInFlight(url: string, up: boolean, bytes: number): Promise<number> {
  let inFlight = 0;
  let most = 0;
  const counting: typeof fetch = async (input, init) => {
    most = Math.max(most, ++inFlight);
    const over = (): void => void inFlight--;
    init!.signal!.addEventListener("abort", over);
    try {
      const response = await fetch(input, init);
      return new Response(await response.arrayBuffer(), response);
    } finally {
      init!.signal!.removeEventListener("abort", over);
      if (!init!.signal!.aborted) over();
    }
  };
  const channel = new Channel(url, { transports: ["longpoll"], fetch: counting });
  try {
    const messages = bytes / PIECE;
    const call = channel.open(SERVICE + (up ? "ClientStream" : "ServerStream"));
    if (up) {
      for (let i = 1; i <= messages && most <= 2; i++) await call.send(encode({ number: i, payload: payload(i, PIECE) }));
    } else await call.send(encode({ number: 1, script: { replies: messages, replyBytes: PIECE } }));
    call.closeSend();
    for await (const _ of call.messages) if (most > 2) break;
    return most;
  } finally {
    channel.close();
  }
}
