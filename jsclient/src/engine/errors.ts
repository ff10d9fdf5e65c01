import {
  type Batch,
  type Close,
  CODE_BUSY,
  CODE_DONE,
  CODE_DRAINED,
  CODE_GARBLED,
  CODE_OVERLOADED,
  CODE_PROTOCOL_VIOLATION,
  CODE_TOO_LARGE,
  CODE_UNAUTHENTICATED,
  CODE_UNKNOWN,
  CODE_VERSION,
  type End,
  ORIGIN_BRIDGE,
} from "../wire/batch.js";

/** gRPC status codes that the engine itself gives to RPCs. */
export const OK = 0;
export const CANCELLED = 1;
export const DEADLINE_EXCEEDED = 4;
export const RESOURCE_EXHAUSTED = 8;
export const UNIMPLEMENTED = 12;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;

/** Reasons for which a session, or by the engine's doing an RPC, ends. */
export type Reason =
  | "expired"
  | "unknown_session"
  | "bridge_restarted"
  | "drained"
  | "unreachable"
  | "closed"
  | "protocol_violation"
  | "overloaded"
  | "unauthenticated"
  | "version"
  | "origin"
  | "internal"
  | "cancelled"
  | "deadline"
  | "limit"
  | "cardinality";

/** SessionError says why a session is over. */
export class SessionError extends Error {
  override name = "SessionError";
  readonly reason: Reason;
  constructor(reason: Reason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

const reasons: Record<number, Reason> = {
  [CODE_DONE]: "closed",
  [CODE_DRAINED]: "drained",
  [CODE_PROTOCOL_VIOLATION]: "protocol_violation",
  [CODE_OVERLOADED]: "overloaded",
  [CODE_UNAUTHENTICATED]: "unauthenticated",
  [CODE_VERSION]: "version",
  [CODE_UNKNOWN]: "unknown_session",
};

/** Returns the end of the session that a close states; undefined for a refusal that touches no session (W6). */
export function endOfSession(close: Close): SessionError | undefined {
  const reason = reasons[close.code];
  return reason && new SessionError(reason, close.message);
}

/** Reports whether a batch is a refusal that touches no session (W6). */
export function isRefusal({ close }: Batch): boolean {
  return [CODE_GARBLED, CODE_BUSY, CODE_TOO_LARGE].includes(close?.code ?? 0);
}

/** Returns an RPC's end that is the engine's own, not the backend's. */
export function bridgeEnd(status: number, reason: Reason, message: string): End {
  return { status, message, details: new Uint8Array(0), trailers: [], origin: ORIGIN_BRIDGE, reason };
}

/** Returns the end of an RPC whose session was lost (E2). */
export function lossEnd(why: SessionError, sent: boolean): End {
  if (why.reason === "unauthenticated") return bridgeEnd(UNAUTHENTICATED, why.reason, why.message);
  return bridgeEnd(why.reason === "internal" ? INTERNAL : UNAVAILABLE, why.reason, `session lost: ${why.message}; the RPC ${sent ? "may have" : "has not"} run`);
}

/** Returns the end of a session whose peer broke a rule. */
export function violation(message: string): SessionError {
  return new SessionError("protocol_violation", `protocol violation: ${message}`);
}

/** Returns the end of a session whose engine has thrown what it should not. */
export function internalError(cause: unknown): SessionError {
  return new SessionError("internal", `internal error: ${String(cause)}`, { cause });
}
