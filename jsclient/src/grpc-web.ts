/**
 * Stands in for the package grpc-web, so that stubs generated for it call over
 * a bridge, as they are: map the name "grpc-web" to this module, by a bundler's
 * alias or an import map. The hostname that a stub is made with is then the
 * bridge's URL; all stubs of one URL share a channel: sharedChannel. To use a
 * channel of one's own give it in the stub's options:
 *
 *     new DemoClient("https://example.com", null, { channel })
 *
 * As in grpc-web there are unary and server-streaming RPCs only.
 */

import { Channel, StatusError } from "./client.js";
import type { CallLike, ChannelLike } from "./like.js";
import type { Metadata as Pairs } from "./metadata.js";
import { fromText, toText } from "./text.js";

/** Values of -bin keys are base64. Of requests, `deadline` is a time in milliseconds since 1970. */
export interface Metadata {
  [key: string]: string;
}

export interface Status {
  code: number;
  details: string;
  metadata?: Metadata;
}

export const StatusCode = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;
export type StatusCode = number;

export const MethodType = { UNARY: "unary", SERVER_STREAMING: "server_streaming", BIDI_STREAMING: "bidi_streaming" } as const;

/** RpcError is how an RPC failed. Details of the status are in its metadata, as `grpc-status-details-bin`. */
export class RpcError extends globalThis.Error {
  override name = "RpcError";
  code: StatusCode;
  metadata: Metadata;

  constructor(code: StatusCode, message: string, metadata: Metadata = {}) {
    super(message);
    this.code = code;
    this.metadata = metadata;
  }
}

export { RpcError as Error };

type Constructor<T> = new (...args: never[]) => T;

/** MethodDescriptor is what a generated stub says of a method. */
export class MethodDescriptor<REQ, RESP> {
  readonly name: string;
  readonly methodType: string;
  readonly serialize: (request: REQ) => Uint8Array;
  readonly deserialize: (bytes: Uint8Array) => RESP;

  constructor(
    name: string,
    methodType: string,
    _requestType: Constructor<REQ>,
    _responseType: Constructor<RESP>,
    serialize: (request: REQ) => Uint8Array,
    deserialize: (bytes: Uint8Array) => RESP,
  ) {
    this.name = name;
    this.methodType = methodType;
    this.serialize = serialize;
    this.deserialize = deserialize;
  }

  getName(): string {
    return this.name;
  }
}

export { MethodDescriptor as MethodInfo };

/** Request is what interceptors see of an RPC. */
export interface Request<REQ, RESP> {
  getRequestMessage(): REQ;
  getMethodDescriptor(): MethodDescriptor<REQ, RESP>;
  getMetadata(): Metadata;
}

export interface UnaryResponse<REQ, RESP> {
  getResponseMessage(): RESP;
  getMetadata(): Metadata;
  getMethodDescriptor(): MethodDescriptor<REQ, RESP>;
  getStatus(): Status;
}

export interface StreamInterceptor<REQ, RESP> {
  intercept(request: Request<REQ, RESP>, invoker: (request: Request<REQ, RESP>) => ClientReadableStream<RESP>): ClientReadableStream<RESP>;
}

export interface UnaryInterceptor<REQ, RESP> {
  intercept(
    request: Request<REQ, RESP>,
    invoker: (request: Request<REQ, RESP>) => Promise<UnaryResponse<REQ, RESP>>,
  ): Promise<UnaryResponse<REQ, RESP>>;
}

export interface PromiseCallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** GrpcWebClientBaseOptions are those of grpc-web that mean something here, and the channel. */
export interface GrpcWebClientBaseOptions {
  /** The channel to use. Default: one for each hostname, made with its first RPC. */
  channel?: ChannelLike | undefined;
  /** Send cookies to another origin's bridge, too. Default: false. */
  withCredentials?: boolean | undefined;
  unaryInterceptors?: UnaryInterceptor<unknown, unknown>[] | undefined;
  streamInterceptors?: StreamInterceptor<unknown, unknown>[] | undefined;
  /** Any other option of grpc-web is taken and has no effect. */
  [other: string]: unknown;
}

interface Events<RESP> {
  metadata: Metadata;
  data: RESP;
  error: RpcError;
  status: Status;
  end: void;
}
type Callback<RESP, E extends keyof Events<RESP>> = (value: Events<RESP>[E]) => void;

/** ClientReadableStream is one RPC. Its events come in the order metadata, data, then status and end, or error and status. */
export class ClientReadableStream<RESP> {
  readonly #call: CallLike;
  readonly #callbacks = new Map<string, ((value: never) => void)[]>();
  #cancelled = false;

  /** Made by GrpcWebClientBase. */
  constructor(call: CallLike, deserialize: (bytes: Uint8Array) => RESP) {
    this.#call = call;
    void this.#run(deserialize);
  }

  on<E extends keyof Events<RESP>>(event: E, callback: Callback<RESP, E>): this {
    this.#callbacks.set(event, [...(this.#callbacks.get(event) ?? []), callback]);
    return this;
  }

  removeListener<E extends keyof Events<RESP>>(event: E, callback: Callback<RESP, E>): void {
    this.#callbacks.set(event, (this.#callbacks.get(event) ?? []).filter((c) => c !== callback));
  }

  /** Gives the RPC up: no more events come. */
  cancel(): void {
    this.#cancelled = true;
    this.#call.cancel();
  }

  #emit<E extends keyof Events<RESP>>(event: E, value: Events<RESP>[E]): void {
    for (const callback of this.#callbacks.get(event) ?? []) {
      if (this.#cancelled) return;
      try {
        callback(value as never);
      } catch (err) {
        queueMicrotask(() => {
          throw err; // the application's, not the RPC's
        });
      }
    }
  }

  async #run(deserialize: (bytes: Uint8Array) => RESP): Promise<void> {
    try {
      this.#emit("metadata", toMetadata(await this.#call.headers));
      for await (const message of this.#call.messages) this.#emit("data", deserialize(message));
      const { message, trailers } = await this.#call.status;
      this.#emit("status", { code: 0, details: message, metadata: toMetadata(trailers) });
      this.#emit("end", undefined);
    } catch (err) {
      const error = toError(err);
      this.#emit("error", error);
      this.#emit("status", { code: error.code, details: error.message, metadata: error.metadata });
    }
  }
}

/** GrpcWebClientBase is what generated stubs call. method is the hostname followed by the RPC's path. */
export class GrpcWebClientBase {
  readonly #options: GrpcWebClientBaseOptions;

  constructor(options: GrpcWebClientBaseOptions | null = {}) {
    this.#options = options ?? {};
  }

  /** Makes a unary RPC. callback gets its error, or its response. */
  rpcCall<REQ, RESP>(
    method: string,
    request: REQ,
    metadata: Metadata,
    descriptor: MethodDescriptor<REQ, RESP>,
    callback: (error: RpcError, response: RESP) => void,
  ): ClientReadableStream<RESP> {
    const stream = this.serverStreaming(method, request, metadata, descriptor);
    const responses: RESP[] = [];
    stream.on("data", (response) => responses.push(response));
    stream.on("error", (error) => callback(error, null as RESP));
    stream.on("end", () => {
      if (responses.length === 1) callback(null as unknown as RpcError, responses[0]!);
      else callback(new RpcError(StatusCode.UNIMPLEMENTED, `a unary RPC gave ${responses.length} messages`), null as RESP);
    });
    return stream;
  }

  /** Makes a unary RPC. Rejects with an RpcError. */
  async thenableCall<REQ, RESP>(
    method: string,
    request: REQ,
    metadata: Metadata,
    descriptor: MethodDescriptor<REQ, RESP>,
    options: PromiseCallOptions = {},
  ): Promise<RESP> {
    const interceptors = (this.#options.unaryInterceptors ?? []) as UnaryInterceptor<REQ, RESP>[];
    const invoke = interceptors.reduce<(request: Request<REQ, RESP>) => Promise<UnaryResponse<REQ, RESP>>>(
      (inner, interceptor) => (req) => interceptor.intercept(req, inner),
      (req) => this.#unary(method, req, options),
    );
    return (await invoke(newRequest(request, metadata, descriptor))).getResponseMessage();
  }

  unaryCall<REQ, RESP>(
    method: string,
    request: REQ,
    metadata: Metadata,
    descriptor: MethodDescriptor<REQ, RESP>,
    options: PromiseCallOptions = {},
  ): Promise<RESP> {
    return this.thenableCall(method, request, metadata, descriptor, options);
  }

  serverStreaming<REQ, RESP>(
    method: string,
    request: REQ,
    metadata: Metadata,
    descriptor: MethodDescriptor<REQ, RESP>,
  ): ClientReadableStream<RESP> {
    const interceptors = (this.#options.streamInterceptors ?? []) as StreamInterceptor<REQ, RESP>[];
    const invoke = interceptors.reduce<(request: Request<REQ, RESP>) => ClientReadableStream<RESP>>(
      (inner, interceptor) => (req) => interceptor.intercept(req, inner),
      (req) => new ClientReadableStream(this.#open(method, req), descriptor.deserialize),
    );
    return invoke(newRequest(request, metadata, descriptor));
  }

  async #unary<REQ, RESP>(method: string, request: Request<REQ, RESP>, { signal }: PromiseCallOptions): Promise<UnaryResponse<REQ, RESP>> {
    const descriptor = request.getMethodDescriptor();
    const { path, channel } = this.#target(method, descriptor);
    try {
      const { headers, message, trailers } = await channel.unary(path, descriptor.serialize(request.getRequestMessage()), {
        ...callOptions(request.getMetadata()),
        signal,
      });
      const response = descriptor.deserialize(message);
      return {
        getResponseMessage: () => response,
        getMetadata: () => toMetadata(headers),
        getMethodDescriptor: () => descriptor,
        getStatus: () => ({ code: StatusCode.OK, details: "", metadata: toMetadata(trailers) }),
      };
    } catch (err) {
      throw toError(err);
    }
  }

  #open<REQ, RESP>(method: string, request: Request<REQ, RESP>): CallLike {
    const descriptor = request.getMethodDescriptor();
    const { path, channel } = this.#target(method, descriptor);
    const message = descriptor.serialize(request.getRequestMessage());
    const call = channel.open(path, {
      ...callOptions(request.getMetadata()),
      singleRequest: true,
      singleResponse: descriptor.methodType === MethodType.UNARY,
    });
    void call.send(message);
    call.closeSend();
    return call;
  }

  #target(method: string, { name }: MethodDescriptor<never, unknown>): { path: string; channel: ChannelLike } {
    const { channel, withCredentials = false } = this.#options;
    return { path: name, channel: channel ?? sharedChannel(method.slice(0, -name.length), withCredentials) };
  }
}

export { GrpcWebClientBase as AbstractClientBase };

const channels = new Map<string, Channel>();

/**
 * Returns the channel that all stubs of a hostname share unless they were given
 * another; it is made by whoever asks first. The hostname "" is the page's own.
 */
export function sharedChannel(hostname: string, withCredentials = false): Channel {
  const key = `${withCredentials} ${hostname}`;
  const channel = channels.get(key) ?? new Channel(hostname || "/", { credentials: withCredentials ? "include" : "same-origin" });
  channels.set(key, channel);
  return channel;
}

function newRequest<REQ, RESP>(message: REQ, metadata: Metadata, descriptor: MethodDescriptor<REQ, RESP>): Request<REQ, RESP> {
  return { getRequestMessage: () => message, getMethodDescriptor: () => descriptor, getMetadata: () => metadata };
}

function callOptions({ deadline, ...metadata }: Metadata): { metadata: Pairs; timeoutMs: number | undefined } {
  return {
    metadata: fromText(Object.entries(metadata)),
    timeoutMs: deadline === undefined ? undefined : Math.max(0, Number(deadline) - Date.now()),
  };
}

function toMetadata(pairs: Pairs): Metadata {
  const metadata: Metadata = {};
  for (const [key, text] of toText(pairs)) metadata[key] = key in metadata ? `${metadata[key]}, ${text}` : text;
  return metadata;
}

function toError(err: unknown): RpcError {
  if (!(err instanceof StatusError)) return new RpcError(StatusCode.INTERNAL, err instanceof globalThis.Error ? err.message : String(err));
  const { status, headers } = err;
  return new RpcError(status.code, status.message, toMetadata([...headers, ...status.trailers]));
}
