// Runs the suite's cases with the JavaScript client, in Node and in a page alike.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import type * as Pollbridge from "../../jsclient/src/index.js";
import {
  type ClientCompatRequest,
  ClientCompatRequestSchema,
  ClientCompatResponseSchema,
  type ClientResponseResult,
  ClientResponseResultSchema,
} from "./gen/connectrpc/conformance/v1/client_compat_pb.js";
import { type Code, Compression, StreamType } from "./gen/connectrpc/conformance/v1/config_pb.js";
import {
  type ConformancePayload,
  ConformancePayloadSchema,
  ErrorSchema,
  type Header,
  HeaderSchema,
  UnaryResponseSchema,
} from "./gen/connectrpc/conformance/v1/service_pb.js";

/** Runs a case, a ClientCompatRequest, through the bridge at url, and returns the ClientCompatResponse. */
export type Run = (url: string, request: Uint8Array) => Promise<Uint8Array>;

/** Makes a Run that keeps a session with each bridge. */
export function newRun(library: typeof Pollbridge, options: Pollbridge.ChannelOptions): { run: Run; close: () => void } {
  const channels = new Map<string, Pollbridge.Channel>();
  const channelTo = (url: string, limit: number): Pollbridge.Channel => {
    const key = `${url} ${limit}`;
    let channel = channels.get(key);
    if (!channel) {
      channel = new library.Channel(url, { ...options, maxMessageBytes: limit || undefined });
      channels.set(key, channel);
    }
    return channel;
  };
  return {
    async run(url, bytes) {
      const request = fromBinary(ClientCompatRequestSchema, bytes);
      const rpc = new Rpc(library, request);
      await rpc.run(channelTo(url, request.messageReceiveLimit));
      const { testName } = request;
      return toBinary(ClientCompatResponseSchema, create(ClientCompatResponseSchema, { testName, result: { case: "response", value: rpc.result } }));
    },
    close: () => channels.forEach((channel) => channel.close()),
  };
}

/** A case in the making. */
class Rpc {
  readonly result: ClientResponseResult = create(ClientResponseResultSchema);
  readonly #library: typeof Pollbridge;
  readonly #request: ClientCompatRequest;
  readonly #controller = new AbortController();

  constructor(library: typeof Pollbridge, request: ClientCompatRequest) {
    this.#library = library;
    this.#request = request;
  }

  /** Runs the RPC that the case asks for. How it ended is part of the result; what is thrown says that the case makes no sense. */
  async run(channel: Pollbridge.Channel): Promise<void> {
    try {
      if (this.#request.streamType === StreamType.UNARY) await this.#unary(channel);
      else await this.#stream(channel);
    } catch (err) {
      if (!(err instanceof this.#library.StatusError)) throw err;
      this.#failed(err);
    }
  }

  get #path(): string {
    return `/${this.#request.service}/${this.#request.method}`;
  }

  get #options(): Pollbridge.CallOptions {
    const { requestHeaders, timeoutMs, compression } = this.#request;
    return {
      metadata: requestHeaders.flatMap(({ name, value }) => value.map((text) => [name, text] as const)),
      timeoutMs,
      signal: this.#controller.signal,
      compression: compression === Compression.GZIP ? "gzip" : undefined,
    };
  }

  async #unary(channel: Pollbridge.Channel): Promise<void> {
    const [message] = this.#request.requestMessages;
    const call = channel.unary(this.#path, message!.value, this.#options);
    this.#cancelAfterCloseSend();
    const response = await call;
    this.result.responseHeaders = toHeaders(response.headers);
    this.#received(response.message);
    this.result.responseTrailers = toHeaders(response.trailers);
  }

  async #stream(channel: Pollbridge.Channel): Promise<void> {
    const { streamType } = this.#request;
    const call = channel.open(this.#path, {
      ...this.#options,
      singleRequest: streamType === StreamType.SERVER_STREAM,
      singleResponse: streamType === StreamType.CLIENT_STREAM,
    });
    void call.headers.then((headers) => (this.result.responseHeaders = toHeaders(headers)));
    await this.#talk(call);
    for await (const message of call.messages) this.#received(message);
    this.result.responseTrailers = toHeaders((await call.status).trailers);
  }

  /** Sends; throws if the RPC is over. */
  async #talk(call: Pollbridge.Call): Promise<void> {
    const { requestMessages, requestDelayMs, cancel } = this.#request;
    for (const [i, message] of requestMessages.entries()) {
      await sleep(requestDelayMs);
      if (!(await this.#exchange(call, message))) {
        this.result.numUnsentRequests = requestMessages.length - i;
        break; // the status is to be had by receiving
      }
    }
    if (cancel?.cancelTiming.case === "beforeCloseSend") this.#controller.abort();
    call.closeSend();
    this.#cancelAfterCloseSend();
  }

  /** Sends one message and, in full duplex, takes one; reports whether the RPC goes on. */
  async #exchange(call: Pollbridge.Call, message: Any): Promise<boolean> {
    try {
      await call.send(message.value);
    } catch {
      return false;
    }
    if (this.#request.streamType !== StreamType.FULL_DUPLEX_BIDI_STREAM) return true;
    const { value } = await call.messages.next();
    if (value) this.#received(value);
    return true;
  }

  #cancelAfterCloseSend(): void {
    const { cancel } = this.#request;
    if (!cancel) return;
    const { case: kind, value } = cancel.cancelTiming;
    if (kind === "afterCloseSendMs" || kind === undefined) setTimeout(() => this.#controller.abort(), value);
  }

  #received(message: Uint8Array): void {
    this.result.payloads.push(payloadOf(message));
    const { cancel } = this.#request;
    if (cancel?.cancelTiming.case === "afterNumResponses" && cancel.cancelTiming.value === this.result.payloads.length) this.#controller.abort();
  }

  #failed({ status, headers }: Pollbridge.StatusError): void {
    this.result.responseHeaders = toHeaders(headers);
    this.result.responseTrailers = toHeaders(status.trailers);
    // Error is made like google.rpc.Status.
    const { details } = fromBinary(ErrorSchema, status.details);
    this.result.error = create(ErrorSchema, { code: status.code as Code, message: status.message, details });
  }
}

/** All of the service's responses have their payload where a unary one has it, or have none. */
function payloadOf(message: Uint8Array): ConformancePayload {
  return fromBinary(UnaryResponseSchema, message).payload ?? create(ConformancePayloadSchema);
}

function toHeaders(metadata: Pollbridge.Metadata): Header[] {
  const headers = new Map<string, Header>();
  for (const [key, value] of metadata) {
    const header = headers.get(key) ?? create(HeaderSchema, { name: key });
    header.value.push(typeof value === "string" ? value : btoa(String.fromCharCode(...value)).replace(/=+$/, ""));
    headers.set(key, header);
  }
  return [...headers.values()];
}

function sleep(millis: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, millis));
}
