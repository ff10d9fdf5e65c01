import { createClient } from "@connectrpc/connect";
import { Channel } from "pollbridge";
import { createBridgeTransport } from "pollbridge/connect";
import { useChannelState, useStream, useTransport } from "pollbridge/react";
import { type ReactElement, StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { Demo } from "./gen/demo_pb.js";

// One channel for the whole page, made outside of components: mounting twice
// leaves one session.
const channel = new Channel("/"); // the bridge is at /bridge of this page's origin
const client = createClient(Demo, createBridgeTransport(channel));

function Counter({ to }: { to: number }): ReactElement {
  const { messages, done, error } = useStream((signal) => client.count({ to, intervalMs: 50 }, { signal }), [to]);
  return (
    <p id="counter" data-done={done}>
      {messages.map(({ number }) => number).join(" ")} {error ? String(error) : ""}
    </p>
  );
}

function App(): ReactElement {
  const state = useChannelState(channel);
  const transport = useTransport(channel);
  const [to, setTo] = useState(10);
  return (
    <>
      <h1>Count</h1>
      <p role="status">{transport ? `${state}, over ${transport}` : state}</p>
      <button onClick={() => setTo(to + 10)}>Ten more</button>
      <Counter to={to} />
    </>
  );
}

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
