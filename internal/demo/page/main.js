// Loads the client from the bridge and starts every part of the page.

import { Channels } from "./channels.js";
import { chat } from "./chat.js";
import { Network } from "./network.js";
import { panel } from "./panel.js";
import { countUp, echo, greet, upload } from "./rpcs.js";
import { throughput } from "./throughput.js";

const prefix = document.querySelector('meta[name="bridge-prefix"]').content;

try {
  const { Channel } = await import(`${prefix}/client.js`);
  const channels = new Channels(Channel, prefix, new Network());
  for (const part of [panel, greet, countUp, upload, echo, throughput, chat]) part(channels);
  document.getElementById("rpcs").inert = false;
  addEventListener("pagehide", ({ persisted }) => persisted || channels.close());
} catch (error) {
  const failure = document.getElementById("failure");
  failure.textContent = `The client at ${prefix}/client.js did not start: ${error.message}`;
  failure.hidden = false;
  throw error;
}
