// Starts the page: which view is shown, the token, and what an operator does.

import { ask, Refused, token, watch } from "./api.js";
import { byId, setText } from "./format.js";
import { Overview } from "./overview.js";
import { List, One } from "./sessions.js";

const overview = new Overview();
const list = new List(lost);
const one = new One(lost);
let actions = [];
let stop = new AbortController();

/** start watches the bridge, and shows the view that the address names. */
function start() {
  stop.abort();
  stop = new AbortController();
  const { signal } = stop;
  watch("overview", {
    signal,
    lost,
    gone: (why) => lost(new Error(why)),
    show: (o) => {
      found();
      actions = o.actions;
      byId("drain").hidden = o.draining || !actions.includes("drain");
      byId("disconnect").hidden = !actions.includes("disconnect") || !byId("session-gone").hidden;
      overview.show(o);
    },
  });
  route();
}

/** route shows the view that the address names: #/, #/sessions, #/session/ID and so on. */
function route() {
  const [view = "", id = ""] = location.hash.replace(/^#\//, "").split("/");
  const name = view === "" ? "overview" : view;
  list.close();
  one.close();
  for (const section of document.querySelectorAll("[data-view]")) section.hidden = section.dataset.view !== name;
  for (const link of byId("views").children) {
    const current = link.hash === `#/${view === "session" ? "sessions" : view}`;
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (name === "sessions") list.open();
  if (name === "session") one.open(decodeURIComponent(id));
}

/** found shows the page: the bridge answers. */
function found() {
  byId("failure").hidden = byId("login").hidden = true;
  byId("views").hidden = byId("main").hidden = false;
}

/** lost tells why nothing comes, and asks for the token if that is why. */
function lost(error) {
  if (error instanceof Refused && error.status === 401) {
    stop.abort();
    list.close();
    one.close();
    setText(byId("login-note"), token.get() ? "That is not the bridge's admin token." : "This bridge wants its admin token.");
    token.forget();
    byId("views").hidden = byId("main").hidden = true;
    byId("login").hidden = false;
    byId("token").focus();
    return;
  }
  setText(byId("failure"), `The bridge does not answer: ${error.message}. Trying again.`);
  byId("failure").hidden = false;
}

/** sure asks whether to do something, and does it. */
async function sure(title, text, verb, act) {
  setText(byId("sure-title"), title);
  setText(byId("sure-text"), text);
  setText(byId("sure-yes"), verb);
  const dialog = byId("sure");
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "yes") return;
  try {
    await act();
  } catch (error) {
    lost(error);
  }
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(byId("token").value.trim());
  byId("token").value = "";
  start();
});
byId("drain").addEventListener("click", () =>
  sure(
    "Drain this bridge?",
    "Clients are told to open new RPCs elsewhere. When the open RPCs have ended, or the drain's time is over, the process ends.",
    "Drain",
    () => ask("POST", "drain"),
  ),
);
byId("disconnect").addEventListener("click", () =>
  sure("Disconnect this session?", "Its open RPCs end with UNAVAILABLE. Its client may open another session.", "Disconnect", () => one.disconnect()),
);
addEventListener("hashchange", route);
start();
