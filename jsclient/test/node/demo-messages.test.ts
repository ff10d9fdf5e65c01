// The demo page's hand-written messages, against bytes as protoc makes them.

import { deepEqual, throws } from "node:assert/strict";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

interface ChatEvent {
  kind: number;
  name: string;
  text: string;
  time: Date;
  members: string[];
}

interface Messages {
  encode: {
    greet(fields: { name: string }): Uint8Array;
    count(fields: { to: number; intervalMs: number }): Uint8Array;
    upload(fields: { chunk: Uint8Array }): Uint8Array;
    download(fields: { bytes: number }): Uint8Array;
    join(fields: { room: string; name: string }): Uint8Array;
    say(fields: { text: string }): Uint8Array;
  };
  decode: {
    greeting(bytes: Uint8Array): string;
    number(bytes: Uint8Array): number;
    download(bytes: Uint8Array): Uint8Array;
    upload(bytes: Uint8Array): { bytes: number; messages: number; sha256: Uint8Array };
    chat(bytes: Uint8Array): ChatEvent;
  };
}

const page = pathToFileURL("../internal/demo/page/");
const { encode, decode }: Messages = await import(new URL("messages.js", page).href);

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const unhex = (digits: string): Uint8Array => new Uint8Array(Buffer.from(digits.replaceAll(" ", ""), "hex"));

test("demo messages: encode as protoc does", () => {
  deepEqual(hex(encode.greet({ name: "Ada" })), "0a03416461");
  deepEqual(hex(encode.greet({ name: "ø" })), "0a02c3b8");
  deepEqual(hex(encode.count({ to: 300, intervalMs: 2 ** 32 - 1 })), "08ac0210ffffffff0f");
  deepEqual(hex(encode.upload({ chunk: new Uint8Array(200) })), `0ac801${"00".repeat(200)}`);
  deepEqual(hex(encode.download({ bytes: 10 << 20 })), "0880808005");
  deepEqual(hex(encode.join({ room: "r", name: "n" })), "0a060a017212016e");
  deepEqual(hex(encode.say({ text: "hi" })), "12026869");
});

test("demo messages: decode what protoc encodes, defaults included", () => {
  deepEqual(decode.greeting(unhex("0a0248 69")), "Hi");
  deepEqual(decode.number(new Uint8Array()), 0);
  deepEqual(decode.download(unhex("0a02abcd")), unhex("abcd"));
  deepEqual(decode.upload(unhex("088080c01f 1003 1a02abcd")), { bytes: 66_060_288, messages: 3, sha256: unhex("abcd") });
  deepEqual(decode.chat(unhex("0804 1203416461 1a026869 2080d095ffbc31 2a0141 2a0142")), {
    kind: 4,
    name: "Ada",
    text: "hi",
    time: new Date(1_700_000_000_000),
    members: ["A", "B"],
  });
});

test("demo messages: skip unknown fields of every wire type", () => {
  deepEqual(decode.greeting(unhex("f80105 f9010102030405060708 fa0101ff fd0101020304 0a0141")), "A");
});

test("demo messages: refuse what is cut short or malformed", () => {
  throws(() => decode.greeting(unhex("0a05 4164")), new RangeError("message of 4 bytes is cut short"));
  throws(() => decode.greeting(unhex("0a")), new RangeError("message of 1 bytes is cut short"));
  throws(() => decode.greeting(unhex("0b")), new RangeError("wire type 3 is unknown"));
});
