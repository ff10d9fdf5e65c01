import type { Reason } from "./engine/errors.js";
import { fromWire, type Metadata } from "./metadata.js";
import { type End, ORIGIN_BACKEND } from "./wire/batch.js";

/** Code is a gRPC status code, spelt as in Connect. */
export const Code = {
  Ok: 0,
  Canceled: 1,
  Unknown: 2,
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  DataLoss: 15,
  Unauthenticated: 16,
} as const;
export type Code = (typeof Code)[keyof typeof Code];

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
  /** For origin "bridge": why, for a program, e.g. "expired", "drained", "cancelled", "deadline"; a bridge has some of its own. Else empty. */
  readonly reason: Reason | (string & {});
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
  if (code === Code.Canceled) return "CANCELLED";
  const name = Object.keys(Code)[code];
  return name?.replace(/(?!^)[A-Z]/g, "_$&").toUpperCase() ?? `CODE_${code}`;
}
