// What a channel says of itself.

import type { LinkErrorReason } from "./dialer/carrier.js";
import type { Transport } from "./dialer/ladder.js";
import type { Outage } from "./dialer/outage.js";
import type { Reason, SessionError } from "./engine/errors.js";
import { EventBase } from "./globals.js";
import type { Network } from "./tune/network.js";

/** What a Channel is doing: opening its session, having it, repairing it, closed for good. */
export type State = "connecting" | "open" | "retrying" | "closed";

/** Why a link failed, or a session was lost. */
export type ErrorReason = Reason | LinkErrorReason;

/**
 * What happened to a channel, told apart by its type. No event holds a payload,
 * metadata or a credential: all of them may go into a support ticket.
 */
export type ChannelEvent = {
  /** When, in milliseconds since 1970. */
  readonly at: number;
} & Happening;

/** Happening is a ChannelEvent without its time. A session is named by its ID, which is no secret. */
export type Happening =
  /** A session began, or ended with a reason. */
  | { readonly type: "session"; readonly session: string; readonly reason?: ErrorReason; readonly message?: string }
  | { readonly type: "state"; readonly state: State; readonly transport: Transport | undefined }
  /** A link failed. */
  | { readonly type: "error"; readonly reason: ErrorReason; readonly message?: string }
  /** Something was learnt of the network. */
  | { readonly type: "network"; readonly network: Network }
  | { readonly type: "page"; readonly reason: "paused" | "left" | "woken" }
  /** Another credential was given; or, ignored, the bridge has said that it looks at none. */
  | { readonly type: "auth"; readonly session: string; readonly ignored: boolean }
  | RPCLine;

/** RPCLine is one RPC that has ended. It goes to loggers alone: Channel.events has none. */
export interface RPCLine {
  readonly type: "rpc";
  /** "/package.Service/Method". */
  readonly method: string;
  /** gRPC status code. */
  readonly code: number;
  /** Why bridge or client ended it, as Status has it; empty: they did not. */
  readonly reason: string;
  /** From its beginning, in milliseconds. */
  readonly ms: number;
  /** Lengths of its messages, in bytes. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** What carried messages when it ended. */
  readonly transport: Transport | undefined;
}

/** Dispatched as "statechange". */
export class StateChangeEvent extends EventBase {
  readonly state: State;
  readonly transport: Transport | undefined;
  /** For a program, why it is neither connecting nor open: that of lastError, e.g. "network", "expired", "origin". Else empty. */
  readonly reason: ErrorReason | "";

  constructor(state: State, transport: Transport | undefined, reason: ErrorReason | "") {
    super("statechange");
    this.state = state;
    this.transport = transport;
    this.reason = reason;
  }
}

/** Dispatched as "retrying", once in an outage of a session that was open: its first link that failed. Channel.outage tells how it goes on. */
export class RetryingEvent extends EventBase implements Outage {
  readonly since: number;
  readonly attempt: number;
  readonly nextTryAt: number;

  constructor({ since, attempt, nextTryAt }: Outage) {
    super("retrying");
    this.since = since;
    this.attempt = attempt;
    this.nextTryAt = nextTryAt;
  }
}

/** Dispatched as "resumed": a session goes on after an outage, and nothing of it was lost. */
export class ResumedEvent extends EventBase {
  /** How long the outage was, in milliseconds. */
  readonly outageMs: number;

  constructor(outageMs: number) {
    super("resumed");
    this.outageMs = outageMs;
  }
}

/** Dispatched as "lost": a session could not be kept. */
export class LostEvent extends EventBase {
  readonly error: SessionError;
  /** How many RPCs have ended with it. */
  readonly rpcs: number;

  constructor(error: SessionError, rpcs: number) {
    super("lost");
    this.error = error;
    this.rpcs = rpcs;
  }
}

/** ChannelEventMap has the events that a Channel dispatches. */
export interface ChannelEventMap {
  statechange: StateChangeEvent;
  retrying: RetryingEvent;
  resumed: ResumedEvent;
  lost: LostEvent;
}

/** ChannelListener is told of an event. */
export type ChannelListener<Type extends keyof ChannelEventMap> =
  | ((event: ChannelEventMap[Type]) => void)
  | { handleEvent(event: ChannelEventMap[Type]): void };
