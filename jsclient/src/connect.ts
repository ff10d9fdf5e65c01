/** Connect-ES over a bridge: `createClient(Service, createBridgeTransport(channel))`. */

import {
  type BinaryReadOptions,
  type BinaryWriteOptions,
  create,
  type DescMessage,
  type DescMethodStreaming,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createContextValues,
  type Interceptor,
  type StreamRequest,
  type StreamResponse,
  type Transport,
  type UnaryRequest,
  type UnaryResponse,
} from "@connectrpc/connect";
import type { CallOptions } from "./call.js";
import { StatusError } from "./client.js";
import { type CallLike, type ChannelLike, checkChannel } from "./like.js";
import { pump, type Pumped } from "./pump.js";
import { fromText, toText } from "./text.js";
import { Reader } from "./wire/proto.js";
import { at, bytes, define, read, repeated, type Schema, string, zero } from "./wire/schema.js";

export { withCancel } from "./cancel.js";

/** BridgeTransportOptions are what createBridgeTransport takes beside the channel. */
export interface BridgeTransportOptions {
  /** Wrap each RPC; the first is the outermost. Default: none. */
  interceptors?: readonly Interceptor[] | undefined;
  /** Time allowed for RPCs that state none, in milliseconds. Default: no deadline. */
  defaultTimeoutMs?: number | undefined;
  /** How messages are read and written. Default: as @bufbuild/protobuf does. */
  binaryOptions?: Partial<BinaryReadOptions & BinaryWriteOptions> | undefined;
}

/** Why an option of createConnectTransport or createGrpcWebTransport has no meaning here. */
const ELSEWHERE: Record<string, string> = {
  baseUrl: "the channel has it: new Channel(baseUrl)",
  fetch: "an option of Channel",
  credentials: "an option of Channel",
  useBinaryFormat: "messages are always binary",
  jsonOptions: "messages are always binary",
  useHttpGet: "messages are no requests of their own",
};

const OPTIONS = ["interceptors", "defaultTimeoutMs", "binaryOptions"];

/**
 * Returns a Connect transport for all four kinds of RPC. Requests of a stream are sent
 * as they come, before there are response headers. Methods declared
 * NO_SIDE_EFFECTS or IDEMPOTENT need not wait until the session is open. Throws
 * TypeError for what is no channel, and for an option that it does not have.
 *
 * Leaving a `for await` early cancels the RPC, with Connect from 2.3 on. Earlier
 * ones do not tell their transport: the RPC stays open then, and the bridge sends
 * as much as the stream's window takes. withCancel cancels it.
 *
 * Why an RPC was ended by bridge or client is in the ConnectError's cause, a
 * StatusError: `err.cause.status.reason`.
 */
export function createBridgeTransport(channel: ChannelLike, options: BridgeTransportOptions = {}): Transport {
  checkChannel(channel);
  for (const name of Object.keys(options)) {
    if (!OPTIONS.includes(name)) throw new TypeError(`option ${name}: ${ELSEWHERE[name] ?? `there is none of this name, but ${OPTIONS.join(", ")}`}`);
  }
  const { interceptors = [], defaultTimeoutMs, binaryOptions } = options;

  /** Runs one RPC through the interceptors. */
  async function run(request: Draft, signal: AbortSignal | undefined, timeoutMs = defaultTimeoutMs): Promise<unknown> {
    const scope = new Scope(signal, timeoutMs);
    const fail = (err: unknown): never => {
      throw toError(err, scope.signal);
    };
    const send: Next = (req) => (req.stream ? stream(channel, req, scope, binaryOptions) : unary(channel, req, scope, binaryOptions)).catch(fail);
    const next = interceptors.reduceRight((inner, interceptor) => interceptor(inner), send);
    try {
      return await next({ ...request, signal: scope.signal } as UnaryRequest | StreamRequest).catch(fail);
    } finally {
      scope.release();
    }
  }

  return {
    async unary(method, signal, timeoutMs, header, input, contextValues) {
      const request = { ...common(channel, method, header, contextValues), stream: false, method, message: create(method.input, input) } as const;
      return run(request, signal, timeoutMs) as Promise<never>;
    },
    async stream(method, signal, timeoutMs, header, input, contextValues) {
      const request = { ...common(channel, method, header, contextValues), stream: true, method, message: normalize(method.input, input) } as const;
      return run(request, signal, timeoutMs) as Promise<never>;
    },
  };
}

type Next = ReturnType<Interceptor>;
type Method = DescMethodUnary | DescMethodStreaming;
type Draft = Omit<UnaryRequest, "signal"> | Omit<StreamRequest, "signal">;

/** Returns what the requests of all kinds have in common. */
function common(channel: ChannelLike, method: Method, header: HeadersInit | undefined, contextValues = createContextValues()): Omit<Draft, "stream" | "method" | "message"> {
  return { service: method.parent, requestMethod: "POST", url: channel.url + pathOf(method), header: new Headers(header), contextValues };
}

function pathOf(method: Method): string {
  return `/${method.parent.typeName}/${method.name}`;
}

async function* normalize<I extends DescMessage>(schema: I, inputs: AsyncIterable<MessageInitShape<I>>): AsyncGenerator<MessageShape<I>> {
  for await (const input of inputs) yield create(schema, input);
}

/** The longest delay of setTimeout, in milliseconds. */
const MAX_DELAY = 2 ** 31 - 1;

/** Scope is how long an RPC may take, retries by interceptors included. */
class Scope {
  readonly #controller = new AbortController();
  /** Aborts with the caller's signal, and at the deadline. */
  readonly signal: AbortSignal = this.#controller.signal;
  /** On the clock of performance.now. */
  readonly #deadline: number | undefined;
  readonly #cleanUp: () => void;
  #users = 1;

  constructor(caller: AbortSignal | undefined, timeoutMs: number | undefined) {
    const abort = (): void => this.#controller.abort(caller?.reason);
    if (caller?.aborted) abort();
    caller?.addEventListener("abort", abort);
    let timer: ReturnType<typeof setTimeout> | undefined;
    if (timeoutMs && timeoutMs > 0) {
      this.#deadline = performance.now() + timeoutMs;
      const expire = (): void => this.#controller.abort(new ConnectError("the operation timed out", Code.DeadlineExceeded));
      if (timeoutMs <= MAX_DELAY) timer = setTimeout(expire, timeoutMs);
    }
    this.#cleanUp = () => {
      clearTimeout(timer);
      caller?.removeEventListener("abort", abort);
    };
  }

  get timeoutMs(): number | undefined {
    return this.#deadline && Math.max(0, this.#deadline - performance.now());
  }

  retain(): void {
    this.#users++;
  }

  /** Lets go of timer and caller when nothing uses the scope any more. */
  release(): void {
    if (--this.#users === 0) this.#cleanUp();
  }
}

function callOptions({ header, method }: UnaryRequest | StreamRequest, { signal, timeoutMs }: Scope): CallOptions {
  const singleRequest = method.methodKind === "unary" || method.methodKind === "server_streaming";
  return {
    metadata: fromText(header),
    timeoutMs,
    signal,
    idempotent: singleRequest && method.idempotency > 0,
    singleRequest,
    singleResponse: method.methodKind === "client_streaming",
  };
}

type BinaryOptions = BridgeTransportOptions["binaryOptions"];

async function unary(channel: ChannelLike, req: UnaryRequest, scope: Scope, binary: BinaryOptions): Promise<UnaryResponse> {
  const { service, method } = req;
  const response = await channel.unary(pathOf(method), toBinary(method.input, req.message, binary), callOptions(req, scope));
  const header = new Headers(toText(response.headers));
  const trailer = new Headers(toText(response.trailers));
  return { stream: false, service, method, header, trailer, message: fromBinary(method.output, response.message, binary) };
}

async function stream(channel: ChannelLike, req: StreamRequest, scope: Scope, binary: BinaryOptions): Promise<StreamResponse> {
  const { service, method } = req;
  const call = channel.open(pathOf(method), callOptions(req, scope));
  scope.retain();
  void call.status.then(() => scope.release());
  const pumped = pump(call, encode(method.input, req.message, binary));
  const header = new Headers(toText(await call.headers));
  const trailer = new Headers();
  return { stream: true, service, method, header, trailer, message: receive(call, method.output, binary, trailer, pumped, scope.signal) };
}

async function* encode<I extends DescMessage>(schema: I, messages: AsyncIterable<MessageShape<I>>, binary: BinaryOptions): AsyncGenerator<Uint8Array> {
  for await (const one of messages) yield toBinary(schema, one, binary);
}

/** The responses of a stream; fills in the trailer after the last. */
async function* receive<O extends DescMessage>(
  call: CallLike,
  schema: O,
  binary: BinaryOptions,
  trailer: Headers,
  pumped: Pumped,
  signal: AbortSignal,
): AsyncGenerator<MessageShape<O>> {
  try {
    for await (const response of call.messages) yield fromBinary(schema, response, binary);
  } catch (err) {
    throw pumped.error === undefined ? toError(err, signal) : ConnectError.from(pumped.error);
  }
  for (const [key, text] of toText((await call.status).trailers)) trailer.append(key, text);
}

/** Returns the error that Connect's users expect to catch. */
function toError(err: unknown, signal: AbortSignal): ConnectError {
  if (!(err instanceof StatusError)) return ConnectError.from(err, Code.Internal);
  const { status, headers } = err;
  if (signal.aborted && status.reason === "cancelled") return ConnectError.from(signal.reason, Code.Canceled);
  const error = new ConnectError(status.message, status.code, toText([...headers, ...status.trailers]), undefined, err);
  error.details = detailsOf(status.details);
  return error;
}

/** google.rpc.Status; only its details matter here. */
interface Details {
  any: { url: string; value: Uint8Array }[];
}
const detailsSchema: Schema<Details> = define<Details>({
  any: at(3, repeated(define<Details["any"][number]>({ url: string, value: bytes }))),
});

function detailsOf(raw: Uint8Array): { type: string; value: Uint8Array }[] {
  try {
    const { any } = read(new Reader(raw), detailsSchema, zero(detailsSchema));
    return any.map(({ url, value }) => ({ type: url.slice(url.lastIndexOf("/") + 1), value }));
  } catch {
    return []; // the status itself matters more
  }
}
