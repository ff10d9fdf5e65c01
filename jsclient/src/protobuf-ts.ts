/** protobuf-ts over a bridge: `new DemoClient(createBridgeTransport(channel))`. */

import {
  ClientStreamingCall,
  DuplexStreamingCall,
  mergeRpcOptions,
  type MethodInfo,
  RpcError,
  type RpcInputStream,
  type RpcMetadata,
  type RpcOptions,
  type RpcOutputStream,
  type RpcStatus,
  type RpcTransport,
  ServerStreamingCall,
  UnaryCall,
} from "@protobuf-ts/runtime-rpc";
import type { CallOptions } from "./call.js";
import { Code, codeName, type Status, StatusError } from "./client.js";
import { type CallLike, type ChannelLike, checkChannel } from "./like.js";
import type { Metadata } from "./metadata.js";
import { fromText, toText } from "./text.js";

export { withCancel } from "./cancel.js";

/**
 * Returns a protobuf-ts transport for all four kinds of RPC; defaults are the options
 * of RPCs that do not state their own. Methods declared NO_SIDE_EFFECTS or
 * IDEMPOTENT need not wait until the session is open.
 *
 * `send` resolves when there is room for the next request: await it, and a slow
 * network or server slows the sender. What is not read of `responses` is not
 * sent for, and leaving its `for await` early cancels the RPC. Callbacks of
 * `responses` get each message as it is read, and read if nothing iterates.
 * Details of a status are in the metadata, as `grpc-status-details-bin`.
 */
export function createBridgeTransport(channel: ChannelLike, defaults: RpcOptions = {}): RpcTransport {
  checkChannel(channel);
  const open = (method: MethodInfo, options: RpcOptions): CallLike => channel.open(pathOf(method), callOptions(method, options));
  return {
    mergeOptions: (options) => mergeRpcOptions(defaults, options),

    unary<I extends object, O extends object>(method: MethodInfo<I, O>, input: I, options: RpcOptions) {
      const run = async (): ReturnType<ChannelLike["unary"]> =>
        channel.unary(pathOf(method), method.I.toBinary(input, options.binaryOptions), callOptions(method, options));
      const result = run();
      const fail = (err: unknown): never => {
        throw toError(err, method);
      };
      const headers = result.then((r) => r.headers, (err: unknown) => (err instanceof StatusError ? err.headers : fail(err)));
      const response = result.then((r) => method.O.fromBinary(r.message, options.binaryOptions)).catch(fail);
      const status = result.then(() => OK, fail);
      const trailers = result.then((r) => toMeta(r.trailers), fail);
      return new UnaryCall(method, options.meta ?? {}, input, quiet(headers.then(toMeta)), quiet(response), quiet(status), quiet(trailers));
    },

    serverStreaming<I extends object, O extends object>(method: MethodInfo<I, O>, input: I, options: RpcOptions) {
      const request = method.I.toBinary(input, options.binaryOptions);
      const call = open(method, options);
      void call.send(request);
      call.closeSend();
      const { headers, status, trailers } = parts(call, method);
      return new ServerStreamingCall(method, options.meta ?? {}, input, headers, new Responses(call, method, options), status, trailers);
    },

    clientStreaming<I extends object, O extends object>(method: MethodInfo<I, O>, options: RpcOptions) {
      const call = open(method, options);
      const { headers, status, trailers } = parts(call, method);
      const response = quiet(only(new Responses(call, method, options)));
      return new ClientStreamingCall(method, options.meta ?? {}, requests(call, method, options), headers, response, status, trailers);
    },

    duplex<I extends object, O extends object>(method: MethodInfo<I, O>, options: RpcOptions) {
      const call = open(method, options);
      const { headers, status, trailers } = parts(call, method);
      const responses = new Responses(call, method, options);
      return new DuplexStreamingCall(method, options.meta ?? {}, requests(call, method, options), headers, responses, status, trailers);
    },
  };
}

const OK: RpcStatus = { code: "OK", detail: "" };

function pathOf(method: MethodInfo): string {
  return `/${method.service.typeName}/${method.name}`;
}

function callOptions(method: MethodInfo, { meta = {}, timeout, abort }: RpcOptions): CallOptions {
  const pairs = Object.entries(meta).flatMap(([key, values]) => [values].flat().map((value) => [key, value] as const));
  return {
    metadata: fromText(pairs),
    timeoutMs: timeout instanceof Date ? Math.max(0, timeout.getTime() - Date.now()) : timeout,
    signal: abort,
    idempotent: method.idempotency !== undefined && !method.clientStreaming,
    singleRequest: !method.clientStreaming,
    singleResponse: !method.serverStreaming,
  };
}

function toMeta(metadata: Metadata): RpcMetadata {
  const meta: RpcMetadata = {};
  for (const [key, text] of toText(metadata)) {
    const earlier = meta[key];
    meta[key] = earlier === undefined ? text : [earlier, text].flat();
  }
  return meta;
}

/** Returns the error that protobuf-ts's users expect to catch. */
function toError(err: unknown, method: MethodInfo): RpcError {
  const error = err instanceof StatusError ? fromStatus(err) : new RpcError(err instanceof Error ? err.message : String(err), "INTERNAL");
  error.methodName = method.name;
  error.serviceName = method.service.typeName;
  return error;
}

function fromStatus({ status, headers }: StatusError): RpcError {
  return new RpcError(status.message, codeName(status.code), toMeta([...headers, ...status.trailers]));
}

/** Marks rejections as handled: not every caller looks at each part of a call. */
function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

/** Returns the parts that streaming calls have in common. */
function parts(call: CallLike, method: MethodInfo): { headers: Promise<RpcMetadata>; status: Promise<RpcStatus>; trailers: Promise<RpcMetadata> } {
  const ended = call.status.then(async (status): Promise<Status> => {
    if (status.code !== Code.Ok) throw toError(new StatusError(status, await call.headers), method);
    return status;
  });
  return {
    headers: call.headers.then(toMeta),
    status: quiet(ended.then(() => OK)),
    trailers: quiet(ended.then((status) => toMeta(status.trailers))),
  };
}

function requests<I extends object>(call: CallLike, method: MethodInfo<I>, options: RpcOptions): RpcInputStream<I> {
  return {
    send(message) {
      const sent = call.send(method.I.toBinary(message, options.binaryOptions));
      return quiet(sent.catch((err: unknown) => Promise.reject(toError(err, method))));
    },
    async complete() {
      call.closeSend();
    },
  };
}

/** Returns the one response of a client-streaming RPC. */
async function only<O>(responses: AsyncIterable<O>): Promise<O> {
  const { value } = await responses[Symbol.asyncIterator]().next();
  return value as O;
}

type Listener<O extends object> = Parameters<RpcOutputStream<O>["onNext"]>[0];

class Responses<O extends object> implements RpcOutputStream<O> {
  readonly #source: AsyncGenerator<O, void, undefined>;
  readonly #listeners = new Set<Listener<O>>();
  /** The read that is under way. */
  #reading: Promise<IteratorResult<O, void>> | undefined;
  #iterated = false;

  constructor(call: CallLike, method: MethodInfo<object, O>, { binaryOptions }: RpcOptions) {
    this.#source = (async function* () {
      try {
        for await (const message of call.messages) yield method.O.fromBinary(message, binaryOptions);
      } catch (err) {
        throw toError(err, method);
      }
    })();
  }

  [Symbol.asyncIterator](): AsyncIterator<O, void, undefined> {
    this.#iterated = true;
    return { next: () => this.#read(), return: () => this.#source.return() };
  }

  onNext(listener: Listener<O>): () => void {
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) void this.#drive();
    return () => this.#listeners.delete(listener);
  }

  onMessage(callback: (message: O) => void): () => void {
    return this.onNext((message) => message && callback(message));
  }

  onComplete(callback: () => void): () => void {
    return this.onNext((_, __, complete) => complete && callback());
  }

  onError(callback: (reason: Error) => void): () => void {
    return this.onNext((_, error) => error && callback(error));
  }

  /** Reads for the listeners, until an iterator does. */
  async #drive(): Promise<void> {
    try {
      while (!this.#iterated && this.#listeners.size > 0 && !(await this.#read()).done);
    } catch {
      // The listeners know.
    }
  }

  #read(): Promise<IteratorResult<O, void>> {
    return (this.#reading ??= this.#pull().finally(() => (this.#reading = undefined)));
  }

  async #pull(): Promise<IteratorResult<O, void>> {
    try {
      const result = await this.#source.next();
      for (const listener of this.#listeners) listener(result.value ?? undefined, undefined, result.done === true);
      return result;
    } catch (err) {
      for (const listener of this.#listeners) listener(undefined, err as Error, false);
      throw err;
    }
  }
}
