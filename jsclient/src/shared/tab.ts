// A tab's side of a hub: what it asks, until it is answered.

import { fromBase64 } from "../wire/base64.js";
import { type Ask, type Exchange, Hub, type Tell } from "./hub.js";
import { type Line, SHORT_HOLD } from "./line.js";

/** How often a tab that waits looks whether its hub is there, in milliseconds. */
const LOOK = 5_000;
/** After how many looks without a word the hub is passed by. */
const LOOKS = 1;

/** Where exchanges go: the bridge's URL up to "/v1/", and the session. */
const EXCHANGE = /^(.*\/v1\/)([\w-]{22})\/poll$/;

/** Tab hands exchanges to a hub, and passes it by when it says nothing. */
export class Tab {
  readonly #name: string;
  readonly #group: string;
  readonly #waiting = new Map<string, Waiting>();
  #line: Line | undefined;
  #count = 0;
  #looking: ReturnType<typeof setInterval> | undefined;
  /** Looks since the hub's last word. They count on over moments in which nothing waits: a session gives up what is not answered, and asks again a little later. */
  #unheard = 0;
  /** Carries what waits while the hub is passed by. */
  #own: Hub | undefined;

  constructor(name: string, group: string) {
    this.#name = name;
    this.#group = group;
  }

  /** Takes a line into use, from now on. */
  use(line: Line): void {
    this.#line = line;
    this.#askAgain();
  }

  /** Takes what the hub says. */
  heard(tell: Tell): void {
    const own = this.#own;
    this.#own = undefined;
    own?.close();
    this.#unheard = 0;
    this.#answered(tell);
    if (tell.type === "ready" || own) this.#askAgain();
  }

  /** Closes the line of a page that is put aside or goes. */
  leave(): void {
    this.#line?.post({ type: "gone", tab: this.#name });
    this.#line?.close();
  }

  /** Opens the line again, for a page that is back. */
  back(): void {
    this.#line?.renew();
    this.#askAgain();
  }

  /** A fetch that hands exchanges to the hub, and everything else to the network. */
  readonly fetch: typeof fetch = (input, init = {}) => {
    const [, base, sid] = (typeof input === "string" && EXCHANGE.exec(input)) || [];
    const { body, keepalive } = init as { body?: unknown; keepalive?: boolean };
    const text = typeof body === "string";
    if (!base || !sid || !(text || body instanceof Uint8Array) || keepalive) return fetch(input, init);
    const id = `${this.#name} ${++this.#count}`;
    const { "content-type": _, ...headers } = Object.fromEntries(new Headers(init.headers));
    const ask: Exchange = {
      type: "exchange", tab: this.#name, id, base, sid, group: this.#group,
      batch: text ? fromBase64(body) : new Uint8Array(body), text, credentials: init.credentials ?? "same-origin", headers,
    };
    const waiting = new Waiting(ask, () => this.#waiting.delete(id));
    this.#waiting.set(id, waiting);
    this.#post(ask);
    this.#looking ??= setInterval(() => this.#look(), LOOK);
    waiting.heed(init.signal, () => this.#post({ type: "abort", tab: this.#name, id }));
    return waiting.response;
  };

  #post(ask: Ask): void {
    if (this.#own) this.#own.take(ask, (tell) => this.#answered(tell));
    else this.#line?.post(ask);
  }

  #answered(tell: Tell): void {
    if ("id" in tell) this.#waiting.get(tell.id)?.answer(tell);
  }

  /** Gives a hub that knows of nothing all that waits. */
  #askAgain(): void {
    for (const { ask } of this.#waiting.values()) this.#post(ask);
  }

  /** Looks whether the hub is there: it has answered since the last look, or is asked to. */
  #look(): void {
    if (this.#waiting.size === 0 && !this.#own) {
      clearInterval(this.#looking);
      this.#looking = undefined;
      return;
    }
    if (++this.#unheard > LOOKS) this.#passBy();
    this.#line?.post({ type: "ping", tab: this.#name });
  }

  /** Looks for another hub, and meanwhile carries what waits; not for long at once, for its script needs a connection too. */
  #passBy(): void {
    this.#unheard = 0;
    this.#line?.renew();
    this.#own ??= new Hub({ fetch: (input, init) => fetch(input, init), holdMillis: () => SHORT_HOLD, group: this.#name });
    this.#askAgain();
  }
}

/** An exchange that waits for its answer. */
class Waiting {
  readonly ask: Exchange;
  readonly response: Promise<Response>;
  #settle!: (response: Response | Promise<never>) => void;

  /** over is called when it waits no more. */
  constructor(ask: Exchange, over: () => void) {
    this.ask = ask;
    this.response = new Promise<Response>((resolve) => (this.#settle = resolve)).finally(over);
  }

  /** Obeys the caller's signal; aborted is called if it aborts before the answer. */
  heed(signal: AbortSignal | null | undefined, aborted: () => void): void {
    const abort = (): void => {
      aborted();
      this.#fail(signal!.reason);
    };
    if (signal?.aborted) return abort();
    signal?.addEventListener("abort", abort);
    this.response.catch(() => undefined).finally(() => signal?.removeEventListener("abort", abort));
  }

  /** Takes the hub's answer. */
  answer(tell: Extract<Tell, { id: string }>): void {
    if (tell.type === "answer") this.#settle(responseOf(tell));
    else this.#fail(new TypeError(tell.message));
  }

  #fail(err: unknown): void {
    this.#settle(Promise.reject(err));
  }
}

function responseOf({ status, headers, body }: Extract<Tell, { type: "answer" }>): Response {
  const cut = new ReadableStream<Uint8Array<ArrayBuffer>>({ start: (controller) => controller.error(new TypeError("the answer was cut")) });
  const empty = status === 204 || status === 205 || status === 304;
  return new Response(empty ? null : (body ?? cut), { status, headers });
}
