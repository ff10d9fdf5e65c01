import type { HttpCarrier, Socket, SocketEvents, WebSocketLike } from "./carrier.js";

const SUBPROTOCOL = "pollbridge.v1";

/** Opens a WebSocket of the class that carrier has. */
export function dialWebSocket(carrier: HttpCarrier, sid: string, events: SocketEvents): Socket {
  const url = `ws${carrier.base.slice("http".length)}`;
  const lost = (message: string): void => events.lost(`WebSocket: ${message}`);
  let opened = false;
  let socket: WebSocketLike;
  try {
    socket = new carrier.WebSocket!(`${url}${sid}/ws`, [SUBPROTOCOL]);
  } catch (cause) { // e.g. by the page's content security policy
    queueMicrotask(() => lost(String(cause)));
    return { send: () => undefined, bufferedAmount: 0, close: () => undefined };
  }
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    opened = true;
    events.opened();
  };
  // A text message is not ours: it is received as nothing.
  socket.onmessage = ({ data }: { data: unknown }) => events.received(new Uint8Array(data instanceof ArrayBuffer ? data : []));
  socket.onclose = ({ code, reason }: { code: number; reason: string }) => {
    if (!opened) carrier.explain(url);
    lost(`closed: ${code} ${reason}`);
  };
  socket.onerror = () => undefined; // close follows and says as much
  return socket;
}
