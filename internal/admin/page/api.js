// Requests to the bridge's admin API. The token is this tab's alone, and goes in a
// header that no other page can send.

const KEY = "pollbridge-admin-token";
const RETRY = 2_000; // milliseconds

/** An answer other than what was asked for. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The token; empty: none is known. */
export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** ask sends a request, and returns its response. It throws Refused. */
export async function ask(method, path, { accept = "application/json", signal } = {}) {
  const headers = { Accept: accept };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  const response = await fetch(`api/v1/${path}`, { method, headers, signal, cache: "no-store", credentials: "omit" });
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Refused(response.status, said.error ?? `${response.status} ${response.statusText}`);
}

/**
 * watch calls show with a document each second until the signal ends it, lost with
 * what keeps it from that, after which it tries again, and gone when there is no
 * such document any more.
 */
export async function watch(path, { show, lost, gone, signal }) {
  while (!signal.aborted) {
    try {
      const response = await ask("GET", path, { accept: "text/event-stream", signal });
      for await (const { event, data } of events(response.body)) {
        if (event === "gone") return gone(data.error);
        show(data);
      }
      if (!signal.aborted) lost(new Error("the bridge has ended the connection"));
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && (error.status === 404 || error.status === 410)) return gone(error.message);
      lost(error);
      if (error instanceof Refused && error.status === 401) return;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY));
  }
}

/** events parses server-sent events, of which the bridge's have one line of JSON each. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        const lines = text.slice(0, end).split("\n");
        text = text.slice(end + 2);
        const field = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2) ?? "";
        yield { event: field("event"), data: JSON.parse(field("data")) };
      }
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
