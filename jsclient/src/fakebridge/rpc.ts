// An RPC as a fake bridge has it: its requests in, its script's answers out.

import { type Bytes, copyBytes } from "../args.js";
import { fromWire, type Metadata, type MetadataInit, toWire } from "../metadata.js";
import { Code, StatusError } from "../status.js";
import { type End, type Frame, FRAME_COST, MAX_FRAGMENT, type Open, ORIGIN_BACKEND, TYPE_END, TYPE_HEADERS, TYPE_MESSAGE } from "../wire/batch.js";

/** FakeRPC is an RPC that a script answers. */
export interface FakeRPC {
  /** "/package.Service/Method". */
  readonly method: string;
  /** The request metadata. */
  readonly metadata: Metadata;
  /** Aborts when the client has cancelled the RPC, or its session is lost. */
  readonly signal: AbortSignal;
  /** Sends response headers, before the first message. Throws TypeError for what gRPC forbids. */
  sendHeaders(metadata: MetadataInit): void;
  /** Sets the trailers of an RPC that ends OK; those of another are in its error. Throws TypeError for what gRPC forbids. */
  setTrailers(metadata: MetadataInit): void;
}

/** Script answers the RPCs of one method. What it throws is their status: see statusError. */
export type Script = (requests: AsyncIterableIterator<Uint8Array>, rpc: FakeRPC) => AsyncIterable<Bytes>;

/** What is left of a frame for the session to say. */
export type Unnumbered = Omit<Frame, "seq">;

/** RPC runs a script. */
export class RPC implements FakeRPC {
  readonly method: string;
  readonly metadata: Metadata;
  readonly #stream: number;
  readonly #queue: (frame: Unnumbered) => void;
  readonly #abort = new AbortController();
  #trailers: End["trailers"] = [];
  #over = false;
  /** Requests that the script has not taken, and the one that still comes. */
  readonly #requests: Uint8Array[] = [];
  #part: { bytes: Uint8Array; length: number } | undefined;
  #halfClosed = false;
  /** The client's limit of the stream, and what of it was used, in bytes (D3). */
  #limit: number;
  #used = 0;
  /** Looks again: there is a request, credit, or an end. */
  #wake: (() => void)[] = [];

  constructor(stream: number, open: Open, limit: number, queue: (frame: Unnumbered) => void) {
    this.#stream = stream;
    this.method = open.method;
    this.metadata = fromWire(open.metadata);
    this.#limit = limit;
    this.#queue = queue;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  sendHeaders(metadata: MetadataInit): void {
    this.#say({ type: TYPE_HEADERS, headers: { metadata: toWire(metadata) } });
  }

  setTrailers(metadata: MetadataInit): void {
    this.#trailers = toWire(metadata);
  }

  /** Runs the script to the RPC's end. Never rejects. */
  async run(script: Script): Promise<void> {
    if (this.#over) return;
    try {
      for await (const message of script(this.#take(), this)) await this.#send(copyBytes("message", message));
      this.#end({ code: Code.Ok, message: "", details: new Uint8Array() }, this.#trailers);
    } catch (err) {
      if (err instanceof StatusError) this.#end(err.status, toWire(err.status.trailers));
      else this.#end({ code: Code.Unknown, message: err instanceof Error ? err.message : String(err), details: new Uint8Array() }, []);
    }
  }

  /** Takes a MESSAGE frame. */
  messageCame({ data = new Uint8Array(), length }: Frame): void {
    const part = (this.#part ??= { bytes: new Uint8Array(length ?? 0), length: 0 });
    part.bytes.set(data, part.length);
    part.length += data.length;
    if (part.length < part.bytes.length) return;
    this.#requests.push(part.bytes);
    this.#part = undefined;
    this.#look();
  }

  halfCloseCame(): void {
    this.#halfClosed = true;
    this.#look();
  }

  /** Takes the client's limit, which never falls. */
  windowCame(limit: number): void {
    this.#limit = Math.max(this.#limit, limit);
    this.#look();
  }

  cancelCame(): void {
    this.#end({ code: Code.Canceled, message: "cancelled by the client", details: new Uint8Array() }, []);
    this.lost();
  }

  /** Ends the RPC, of which nobody hears any more. */
  lost(): void {
    this.#over = true;
    this.#abort.abort();
    this.#look();
  }

  async *#take(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const request = this.#requests.shift();
      if (request) yield request;
      else if (this.#halfClosed || this.#over) return;
      else await this.#woken();
    }
  }

  /** Sends a message, as the client gives credit for it. */
  async #send(message: Uint8Array): Promise<void> {
    let at = 0;
    do {
      const start = at === 0 ? FRAME_COST : 0;
      const left = Math.min(message.length - at, MAX_FRAGMENT);
      while (!this.#over && this.#limit - this.#used - start < Math.min(left, 1)) await this.#woken();
      if (this.#over) this.#abort.signal.throwIfAborted();
      const data = message.subarray(at, at + Math.min(left, this.#limit - this.#used - start));
      this.#used += start + data.length;
      this.#say({ type: TYPE_MESSAGE, data, ...(at === 0 && { length: message.length }) });
      at += data.length;
    } while (at < message.length);
  }

  #end({ code, message, details }: { code: number; message: string; details: Uint8Array }, trailers: End["trailers"]): void {
    this.#say({ type: TYPE_END, end: { status: code, message, details, trailers, origin: ORIGIN_BACKEND, reason: "" } });
    this.#over = true;
  }

  #say(frame: Omit<Unnumbered, "stream">): void {
    if (!this.#over) this.#queue({ ...frame, stream: this.#stream });
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  #look(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}
