// How batches reach a bridge. No rule of the protocol is known here.

/**
 * Why a link failed, for a program: "network": the browser does not say why;
 * "mixed_content": a page by https may not call a bridge by http; "csp": the
 * page's Content-Security-Policy forbids it; "cors": the server answers, but
 * not for this page; "timeout"; "status": an HTTP status that is not the
 * bridge's; "foreign": an answer that is not the bridge's; "refused" by the
 * bridge, for now; "cut" on request; "certificate": it is not trusted, which
 * only Node tells; "headers": the option of that name has thrown; "websocket":
 * the bridge would take a WebSocket, but something before it keeps it from there.
 */
export type LinkErrorReason = "network" | "mixed_content" | "csp" | "cors" | "timeout" | "status" | "foreign" | "refused" | "cut" | "certificate" | "headers" | "websocket";

/** LinkError is anything but a batch of ours: an answer of somebody else, or none. It never ends a session (W2). */
export class LinkError extends Error {
  override name = "LinkError";
  readonly reason: LinkErrorReason;
  /** HTTP status, where there was one. */
  readonly status: number | undefined;
  /** The answer began and was cut. */
  readonly cut: boolean = false;
  /** A foreign Retry-After, in milliseconds. */
  readonly retryAfterMillis: number = 0;

  constructor(reason: LinkErrorReason, message: string, more: { status?: number; cut?: boolean; retryAfterMillis?: number; cause?: unknown } = {}) {
    super(message);
    this.reason = reason;
    Object.assign(this, more);
  }
}

/** OriginError says that the bridge itself refused this page's origin: final before a Welcome (W4). */
export class OriginError extends Error {
  override name = "OriginError";
}

/** What happens on a WebSocket. After close, or once it is lost, nothing of it counts any more. */
export interface SocketEvents {
  opened(): void;
  received(message: Uint8Array): void;
  /** The socket is gone, or could not be opened; draining: closed by a bridge that takes no new sessions any more. */
  lost(message: string, draining?: boolean): void;
}

/** One WebSocket. */
export interface Socket {
  send(batch: Uint8Array<ArrayBuffer>): void;
  /** Bytes that wait to leave. */
  readonly bufferedAmount: number;
  /** Closes without waiting. */
  close(): void;
}

/** Carrier is how a session reaches its bridge. */
export interface Carrier {
  /** Requests from here carry the Origin of a page, without which the bridge admits no text. */
  readonly sendsOrigin: boolean;
  /** Exchanges share a connection, as in HTTP/2, so that more than two of them take none from others. */
  readonly multiplexed: boolean;
  /**
   * Sends one batch by POST and resolves with what the answer's body holds,
   * whatever that is; rejects with LinkError or OriginError. text: both bodies
   * are base64.
   */
  exchange(sid: string, batch: Uint8Array<ArrayBuffer>, signal: AbortSignal, text: boolean): Promise<Uint8Array>;
  /** Sends one batch that outlives the page; nobody learns of its answer. */
  beacon(sid: string, batch: Uint8Array<ArrayBuffer>, text: boolean): void;
  /** Opens a WebSocket. */
  dial(sid: string, events: SocketEvents): Socket;
}

/** What HttpCarrier needs of a WebSocket class; every implementation of the standard has it. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

/** The part of a WebSocket that is used. */
export interface WebSocketLike {
  binaryType: string;
  readonly bufferedAmount: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: Uint8Array<ArrayBuffer>): void;
  close(): void;
}
