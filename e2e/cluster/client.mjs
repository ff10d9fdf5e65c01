// The client in Node of TestClusterProcesses and TestSoak: it makes chats, one after
// another, of which each message and the reply to it come as hexadecimal digits in a line
// of JSON on standard input, with the token to use from then on, if any. It prints a line
// for each chat: ok, or how it failed.
import { createRequire } from "node:module";
import readline from "node:readline";

const [module, url, ...transports] = process.argv.slice(2);
globalThis.WebSocket ??= createRequire(module)("ws"); // Node before 22 has none
const { Channel } = await import(module);
let token = "", channel;
for await (const line of readline.createInterface({ input: process.stdin })) {
  const chat = JSON.parse(line);
  const { method, requests, replies } = chat;
  token = chat.token ?? "";
  channel ??= new Channel(url, { transports, auth: () => token });
  const call = channel.open(method);
  try {
    for (const [i, request] of requests.entries()) {
      await call.send(Uint8Array.from(Buffer.from(request, "hex")));
      const { value, done } = await call.messages.next();
      if (done) throw new Error(`over after ${i} replies`);
      if (Buffer.from(value).toString("hex") !== replies[i]) throw new Error(`reply ${i} is another one`);
    }
    call.closeSend();
    if (!(await call.messages.next()).done) throw new Error("a reply too many");
    console.log("ok");
  } catch (err) {
    call.cancel();
    console.log(`failed: ${err.message}`);
  }
}
channel?.close();
