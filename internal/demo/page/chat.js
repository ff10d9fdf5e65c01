// The chat: one bidirectional RPC for as long as somebody is in a room.

import { Card } from "./card.js";
import { time } from "./format.js";
import { ChatKind, decode, encode } from "./messages.js";

const PATIENCE = 2_000; // milliseconds in which the room is left in order

/** chat runs the chat's card. After a change of transport it joins again by itself. */
export function chat(channels) {
  const card = new Card("chat", channels);
  const joining = card.root.querySelector("form.join");
  const saying = card.root.querySelector("form.say");
  const members = document.getElementById("members");
  const second = document.getElementById("second");
  const { name, room } = joining.elements;
  let call;
  let self = "";
  let moving = false;

  const setJoined = (joined) => {
    for (const field of [name, room]) field.disabled = joined;
    for (const field of saying.elements) field.disabled = !joined;
    if (!joined) members.textContent = "Nobody yet";
  };
  const show = (event) => {
    if (event.kind === ChatKind.welcome) self = event.name;
    if (event.kind !== ChatKind.said) members.textContent = `${event.members.length} here: ${event.members.join(", ")}`;
    card.append(rowOf(event, self));
  };
  const stay = async () => {
    setJoined(true);
    for (let first = true; first || moving; first = false) {
      moving = false;
      await card.run("Chat", talk, { keep: !first });
    }
    setJoined(false);
  };
  const talk = async (opened) => {
    call = opened;
    await call.send(encode.join({ room: room.value, name: name.value }));
    for await (const bytes of call.messages()) show(decode.chat(bytes));
  };
  const leave = () => {
    const left = call;
    left.closeSend();
    setTimeout(() => left.cancel(), PATIENCE);
  };

  joining.addEventListener("submit", (event) => {
    event.preventDefault();
    if (card.running) leave();
    else stay();
  });
  saying.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { text } = saying.elements;
    const value = text.value;
    if (!value || !call) return;
    text.value = "";
    text.focus();
    try {
      await call.send(encode.say({ text: value }));
    } catch {
      text.value = value; // the RPC has ended, its status says why
    }
  });
  channels.addEventListener("choose", () => {
    if (!card.running) return;
    moving = true;
    leave();
  });
  room.addEventListener("input", () => {
    second.href = `?room=${encodeURIComponent(room.value)}`;
  });

  name.value = `Guest ${100 + Math.floor(Math.random() * 900)}`;
  room.value = new URLSearchParams(location.search).get("room") || room.value;
}

function rowOf(event, self) {
  const row = document.createElement("li");
  const at = document.createElement("time");
  at.textContent = time(event.time);
  const body = document.createElement("span");
  body.className = "text";
  if (event.kind === ChatKind.said) {
    const who = document.createElement("b");
    who.textContent = event.name;
    row.className = event.name === self ? "said mine" : "said";
    body.textContent = event.text;
    row.append(who, at, body);
    return row;
  }
  row.className = "event";
  body.textContent = {
    [ChatKind.welcome]: `You joined as ${event.name}`,
    [ChatKind.joined]: `${event.name} joined`,
    [ChatKind.left]: `${event.name} left`,
  }[event.kind];
  row.append(body, at);
  return row;
}
