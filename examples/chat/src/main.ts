// A chat over one bidirectional RPC, for as long as the user stays in the room.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { ConnectError, createClient } from "@connectrpc/connect";
import { Channel } from "pollbridge";
import { createBridgeTransport } from "pollbridge/connect";
import { type ChatEvent, ChatEvent_Kind, type ChatRequestSchema, Demo } from "./gen/demo_pb.js";
import { Queue } from "./queue.js";

const channel = new Channel("/"); // the bridge is at /bridge of this page's origin
const client = createClient(Demo, createBridgeTransport(channel));

const find = <E extends HTMLElement>(id: string): E => document.getElementById(id) as E;
const join = find<HTMLFormElement>("join");
const say = find<HTMLFormElement>("say");

/** What the user sends while in a room. */
let requests: Queue<MessageInitShape<typeof ChatRequestSchema>> | undefined;

join.addEventListener("submit", (event) => {
  event.preventDefault();
  const { room, name } = Object.fromEntries(new FormData(join)) as { room: string; name: string };
  void chat(room, name);
});

say.addEventListener("submit", (event) => {
  event.preventDefault();
  requests?.push({ kind: { case: "say", value: String(new FormData(say).get("text")) } });
  say.reset();
});

find("leave").addEventListener("click", () => requests?.end());

channel.addEventListener("statechange", showState);
showState();

/** Stays in a room until the user leaves it or the RPC fails. */
async function chat(room: string, name: string): Promise<void> {
  requests = new Queue();
  requests.push({ kind: { case: "join", value: { room, name } } });
  inRoom(true);
  try {
    for await (const event of client.chat(requests)) show(event);
    note("You left.");
  } catch (err) {
    note(`The chat has ended: ${ConnectError.from(err).message}`);
  } finally {
    inRoom(false);
  }
}

function inRoom(yes: boolean): void {
  join.hidden = yes;
  say.hidden = !yes;
}

function show({ kind, name, text, members }: ChatEvent): void {
  switch (kind) {
    case ChatEvent_Kind.WELCOME:
      return note(`You are ${name}. In the room: ${members.join(", ")}.`);
    case ChatEvent_Kind.JOINED:
      return note(`${name} joined.`);
    case ChatEvent_Kind.LEFT:
      return note(`${name} left.`);
    case ChatEvent_Kind.SAID:
      return append(`${name}: ${text}`, "said");
  }
}

function note(text: string): void {
  append(text, "note");
}

function append(text: string, className: string): void {
  const item = document.createElement("li");
  item.className = className;
  item.textContent = text;
  find("events").append(item);
}

function showState(): void {
  find("state").textContent = channel.transport ? `${channel.state}, over ${channel.transport}` : channel.state;
}
