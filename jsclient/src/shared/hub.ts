// Carries the exchanges of many tabs in few requests: see
// docs/adr/0006-tabs-share-requests.md.

import { base64 } from "../wire/base64.js";
import { decodeAnswers, encodeBundle, type BundleItem } from "./bundle.js";

/** An exchange, as a tab hands it to a hub. */
export interface Exchange {
  readonly type: "exchange";
  readonly tab: string;
  /** Unique among all tabs. */
  readonly id: string;
  /** URL of the bridge up to and including "/v1/". */
  readonly base: string;
  /** The group of the tab's origin, as it stands in paths. */
  readonly group: string;
  readonly sid: string;
  readonly batch: Uint8Array<ArrayBuffer>;
  /** It travels as base64, and so does its answer. */
  readonly text: boolean;
  readonly credentials: RequestCredentials;
  /** What the request carries beside Content-Type. */
  readonly headers: Readonly<Record<string, string>>;
}

/** What a tab says to a hub. */
export type Ask =
  | Exchange
  | { readonly type: "abort"; readonly tab: string; readonly id: string }
  | { readonly type: "ping"; readonly tab: string }
  /** The tab is put aside or gone: it waits for nothing. */
  | { readonly type: "gone"; readonly tab: string };

/** What a hub says to a tab. */
export type Tell =
  /** It is there, and knows of nothing: what is unanswered is to be asked again. lock: a Web Lock that it holds while it lives. */
  | { readonly type: "ready"; readonly lock?: string | undefined }
  | { readonly type: "pong" }
  | {
      readonly type: "answer";
      readonly id: string;
      readonly status: number;
      readonly headers: [string, string][];
      /** Undefined: it was cut. */
      readonly body: Uint8Array<ArrayBuffer> | undefined;
    }
  | { readonly type: "failed"; readonly id: string; readonly message: string };

/** How a hub reaches the network, and for how many tabs. */
export interface HubConfig {
  fetch: typeof fetch;
  /** Longest time that a bundle is held, in milliseconds; 0: as long as its exchanges are. */
  holdMillis: () => number;
  /** The group of its bundles, which let go of each other at the bridge; default: that of their origin. */
  group?: string;
}

type Outcome = { status: number; headers: [string, string][]; body: Uint8Array<ArrayBuffer> | undefined } | { message: string };

/** An exchange that waits for its answer. */
interface Waiting extends BundleItem {
  readonly batch: Uint8Array<ArrayBuffer>;
  readonly text: boolean;
  readonly tab: string;
  readonly id: string;
  tell: (outcome: Outcome) => void;
  /** How many bundles in flight carry it. */
  carriers: number;
}

/** A bundle in flight. */
interface Bundle {
  readonly items: readonly Waiting[];
  readonly text: boolean;
  readonly sentAt: number;
  readonly controller: AbortController;
  /** A later one makes the bridge let it go. */
  released: boolean;
}

/** How many bundles of a form are in flight at once. */
const MAX_BUNDLES = 2;
/** No session gives up sooner what gets no answer, in milliseconds: a younger bundle is not to blame. */
const DUE = 3_000;
/** Longest batch that is sent again beside others, in bytes. */
const SMALL = 1 << 10;
/** What a bundle carries at most, in bytes, unless it has one item. */
const BUNDLE_BYTES = 512 << 10;
const MAX_ITEMS = 256;

/** Hub carries exchanges to bridges. */
export class Hub {
  readonly #config: HubConfig;
  readonly #lanes = new Map<string, Lane>();

  constructor(config: HubConfig) {
    this.#config = config;
  }

  /** Takes what a tab says; tell answers that tab. */
  take(ask: Ask, tell: (tell: Tell) => void): void {
    switch (ask.type) {
      case "exchange":
        return this.#lane(ask).add(ask, tell);
      case "abort":
        return this.#lanes.forEach((lane) => lane.abort(ask.id));
      case "gone":
        return this.#lanes.forEach((lane) => lane.drop((w) => w.tab === ask.tab));
      case "ping":
        return tell({ type: "pong" });
    }
  }

  /** Ends every request without a word. */
  close(): void {
    this.#lanes.forEach((lane) => lane.drop(() => true));
  }

  /** Returns the lane of an exchange: requests carry all that they share. */
  #lane({ base, group: origin, credentials, headers }: Exchange): Lane {
    const { group = origin } = this.#config;
    const name = JSON.stringify([base, credentials, headers]);
    for (const [other, { idle }] of this.#lanes) if (idle && other !== name) this.#lanes.delete(other);
    let lane = this.#lanes.get(name);
    if (!lane) this.#lanes.set(name, (lane = new Lane(this.#config, base, group, credentials, headers)));
    return lane;
  }
}

/** Lane is a hub's way to one bridge. */
class Lane {
  readonly #config: HubConfig;
  readonly #base: string;
  readonly #group: string;
  readonly #credentials: RequestCredentials;
  readonly #headers: Exchange["headers"];
  readonly #waiting = new Map<string, Waiting>();
  readonly #bundles = new Set<Bundle>();
  /** The bridge knows no bundles. */
  #old = false;

  constructor(config: HubConfig, base: string, group: string, credentials: RequestCredentials, headers: Exchange["headers"]) {
    this.#config = config;
    this.#base = base;
    this.#group = group;
    this.#credentials = credentials;
    this.#headers = headers;
  }

  /** Nothing waits, and nothing is in flight. */
  get idle(): boolean {
    return this.#waiting.size === 0 && this.#bundles.size === 0;
  }

  add({ tab, id, sid, batch, text }: Exchange, tell: (tell: Tell) => void): void {
    const answer = (outcome: Outcome): void => {
      if (!this.#waiting.delete(id)) return;
      tell("message" in outcome ? { type: "failed", id, ...outcome } : { type: "answer", id, ...outcome });
    };
    const known = this.#waiting.get(id);
    if (known) known.tell = answer; // asked again, perhaps by another port
    else this.#waiting.set(id, { tab, id, sid, batch, text, tell: answer, carriers: 0 });
    this.#sendWaiting();
  }

  /** Forgets exchanges, and what carries nothing else. */
  drop(which: (w: Waiting) => boolean): void {
    for (const w of this.#waiting.values()) if (which(w)) this.#waiting.delete(w.id);
    for (const bundle of this.#bundles) {
      if (bundle.items.some(which) && !bundle.items.some(({ id }) => this.#waiting.has(id))) this.#abandon(bundle);
    }
    this.#sendWaiting();
  }

  /** Forgets an exchange that its session gave up; perhaps because what carries it, or keeps it from leaving, is dead. */
  abort(id: string): void {
    const given = this.#waiting.get(id);
    if (!given) return;
    const suspects = this.#bundlesOf(given.text).filter(({ items }, i) => (given.carriers > 0 ? items.includes(given) : i === 0));
    this.drop((w) => w === given);
    if (given.carriers > 0 && this.#newer(given)) return; // its session made room for another, which has left
    for (const bundle of suspects) if (performance.now() - bundle.sentAt >= DUE) this.#abandon(bundle);
    this.#sendWaiting();
  }

  /** Reports whether the exchange's session has another one under way. */
  #newer({ sid }: Waiting): boolean {
    return [...this.#waiting.values()].some((w) => w.sid === sid && w.carriers > 0);
  }

  #abandon(bundle: Bundle): void {
    if (this.#remove(bundle)) bundle.controller.abort();
  }

  /** Sends what waits, if bundles may leave. */
  #sendWaiting(): void {
    for (const text of [false, true]) this.#sendAs(text);
  }

  #bundlesOf(text: boolean): Bundle[] {
    return [...this.#bundles].filter((bundle) => bundle.text === text);
  }

  /** Sends what waits in one form. Each form has bundles of its own: where one is swallowed, the other is to get through. */
  #sendAs(text: boolean): void {
    const fresh = [...this.#waiting.values()].filter((w) => w.carriers === 0 && w.text === text);
    if (this.#old) return fresh.forEach((w) => void this.#single(w));
    if (fresh.length === 0 || this.#bundlesOf(text).length >= MAX_BUNDLES) return;
    const items: Waiting[] = [];
    let bytes = 0;
    for (const w of [...fresh, ...this.#again(text)]) {
      bytes += w.batch.length;
      if (items.length === MAX_ITEMS || (items.length > 0 && bytes > BUNDLE_BYTES)) break;
      items.push(w);
    }
    void this.#send(items, text);
  }

  /** Returns what a new bundle carries besides, so that others can be let go: the newest exchange of each session, if it is short. */
  #again(text: boolean): Waiting[] {
    const newest = new Map([...this.#waiting.values()].map((w) => [w.sid, w]));
    return [...newest.values()].filter((w) => w.carriers > 0 && w.text === text && retryable(w));
  }

  async #send(items: Waiting[], text: boolean): Promise<void> {
    for (const bundle of this.#bundles) bundle.released = true;
    const bundle: Bundle = { items, text, sentAt: performance.now(), controller: new AbortController(), released: false };
    this.#bundles.add(bundle);
    for (const w of items) w.carriers++;
    const hold = this.#config.holdMillis();
    const body = encodeBundle(hold, items, retryable);
    const outcome = await this.#post(`${this.#group}/bundle`, body, text, bundle.controller.signal);
    if (!this.#remove(bundle)) return; // abandoned
    const answers = "body" in outcome && outcome.status === 200 && outcome.body ? decodeAnswers(outcome.body, text) : undefined;
    if (knowsNoBundles(outcome)) this.#old = true;
    else if (!answers) this.#fail(items, outcome);
    else if (answers.size === 0 && !bundle.released && hold === 0) this.#fail(items, { message: "the bundle was answered without an answer" });
    else items.forEach((w, i) => answers.has(i) && w.tell({ ...outcome, body: answers.get(i) } as Outcome));
    this.#sendWaiting();
  }

  /** Takes a bundle out that was answered or is given up; false if it was out before. */
  #remove(bundle: Bundle): boolean {
    if (!this.#bundles.delete(bundle)) return false;
    for (const w of bundle.items) w.carriers--;
    return true;
  }

  /** Ends the exchanges that no other bundle carries. */
  #fail(items: readonly Waiting[], outcome: Outcome): void {
    for (const w of items) if (w.carriers === 0) w.tell(outcome);
  }

  /** Sends an exchange as it is. */
  async #single(w: Waiting): Promise<void> {
    w.carriers++;
    w.tell(await this.#post(`${w.sid}/poll`, w.batch, w.text));
  }

  async #post(path: string, body: Uint8Array<ArrayBuffer>, text: boolean, signal?: AbortSignal): Promise<Outcome> {
    let seen: { status: number; headers: [string, string][] } | undefined;
    try {
      const response = await this.#config.fetch(this.#base + path, {
        method: "POST",
        headers: { ...this.#headers, "Content-Type": text ? "text/plain" : "application/octet-stream" },
        body: text ? base64(body) : body,
        cache: "no-store",
        credentials: this.#credentials,
        redirect: "manual", // the body holds sessions' keys
        signal: signal ?? null,
      });
      const status = response.type === "opaqueredirect" ? 302 : response.status; // a browser keeps it back
      seen = { status, headers: [...response.headers] };
      return { ...seen, body: new Uint8Array(await response.arrayBuffer()) };
    } catch (err) {
      if (seen) return { ...seen, body: undefined };
      return { message: err instanceof Error ? err.message : String(err) };
    }
  }
}

/** Reports whether an exchange can be sent again if its bundle is let go. */
function retryable(w: Waiting): boolean {
  return w.batch.length <= SMALL;
}

/** Reports whether it is the bridge itself that says 404. */
function knowsNoBundles(outcome: Outcome): boolean {
  return "status" in outcome && outcome.status === 404 && new Headers(outcome.headers).has("Pollbridge");
}
