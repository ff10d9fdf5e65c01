import { fromWire, type Metadata } from "./metadata.js";
import { type End, ORIGIN_BACKEND } from "./wire/batch.js";

/** Code is a gRPC status code. */
export const Code = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  aborted: 10,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
  unauthenticated: 16,
} as const;

/** How an RPC ended. */
export interface Status {
  /** gRPC status code: 0 is OK. */
  readonly code: number;
  readonly message: string;
  /** Serialized google.rpc.Status; empty: the status has no details. */
  readonly details: Uint8Array;
  readonly trailers: Metadata;
  /** Who made the status: the gRPC server, or the bridge or this client. */
  readonly origin: "backend" | "bridge";
  /** For origin "bridge": why, for a program, e.g. "expired", "drained", "cancelled", "deadline". */
  readonly reason: string;
}

export function toStatus(end: End): Status {
  return {
    code: end.status,
    message: end.message,
    details: end.details.slice(),
    trailers: fromWire(end.trailers),
    origin: end.origin === ORIGIN_BACKEND ? "backend" : "bridge",
    reason: end.reason,
  };
}

/** StatusError is thrown where an RPC that ended with another status than OK has no result to give. */
export class StatusError extends Error {
  override name = "StatusError";
  readonly status: Status;
  /** The response headers that came before. */
  readonly headers: Metadata;

  constructor(status: Status, headers: Metadata = []) {
    super(`gRPC status ${status.code}: ${status.message}`);
    this.status = status;
    this.headers = headers;
  }

  /** gRPC status code. */
  get code(): number {
    return this.status.code;
  }
}

/** Returns the name of a gRPC status code as gRPC writes it, e.g. "DEADLINE_EXCEEDED". */
export function codeName(code: number): string {
  const name = Object.keys(Code)[code];
  return name?.replace(/[A-Z]/g, "_$&").toUpperCase() ?? `CODE_${code}`;
}
