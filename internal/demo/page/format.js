// Figures and names as people read them.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

const CODES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
];

const TRANSPORTS = { ws: "WebSocket", longpoll: "long-polling" };

/** 14:03:07 */
export function time(date = new Date()) {
  return clock.format(date);
}

/** 14:03:07.042 */
export function exactTime(date = new Date()) {
  return `${time(date)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** 0.83 ms, 84 ms, 2.1 s: two or three digits. */
export function duration(ms) {
  if (ms < 10) return `${ms.toFixed(ms < 1 ? 2 : 1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

/** 512 B, 3.2 KiB, 1.0 MiB */
export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 ** 2) return `${(bytes / 1024).toFixed(1)} KiB`;
  return `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}

/** 412 Mbit/s, of bytes a millisecond: two or three digits. */
export function rate(bytesPerMs) {
  const mbit = (bytesPerMs * 8) / 1000;
  return `${mbit < 10 ? mbit.toFixed(1) : Math.round(mbit).toLocaleString()} Mbit/s`;
}

/** 1 message, 2 messages */
export function count(n, noun) {
  return `${n.toLocaleString()} ${noun}${n === 1 ? "" : "s"}`;
}

/** INVALID_ARGUMENT for 3: gRPC's name of a status code. */
export function codeName(code) {
  return CODES[code] ?? `CODE ${code}`;
}

/** WebSocket for "ws". */
export function transportName(transport) {
  return TRANSPORTS[transport] ?? transport;
}

/** The bytes in hexadecimal. */
export function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
