// The bytes of a bundle: see docs/PROTOCOL.md, "Carriage".

import { base64, fromBase64, fromLatin1, latin1 } from "../wire/base64.js";

const MAGIC = [0xb1, 0xd7, 1, 0] as const;
const HEAD = MAGIC.length + 4;
const SESSION = 16;
const ITEM = SESSION + 1 + 4;
const RETRYABLE = 1;
const ANSWER = 2 + 4;

/** One exchange in a bundle. */
export interface BundleItem {
  /** The session's ID, as it stands in paths. */
  readonly sid: string;
  readonly batch: Uint8Array;
}

/** Returns the body of a request. retryable: the item is sent again if this bundle does not answer it. */
export function encodeBundle<I extends BundleItem>(holdMillis: number, items: readonly I[], retryable: (item: I) => boolean): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(items.reduce((n, item) => n + ITEM + item.batch.length, HEAD));
  const view = new DataView(out.buffer);
  out.set(MAGIC);
  view.setUint32(MAGIC.length, holdMillis);
  let at = HEAD;
  for (const item of items) {
    out.set(idOf(item.sid), at);
    out[at + SESSION] = retryable(item) ? RETRYABLE : 0;
    view.setUint32(at + SESSION + 1, item.batch.length);
    out.set(item.batch, at + ITEM);
    at += ITEM + item.batch.length;
  }
  return out;
}

/** Returns the answers in the body of a response, by the place of their exchange and in the form of the body; undefined if it is not ours. */
export function decodeAnswers(body: Uint8Array, text: boolean): Map<number, Uint8Array<ArrayBuffer>> | undefined {
  if (!text) return answersOf(body);
  try {
    const answers = answersOf(fromBase64(latin1(body)));
    answers?.forEach((answer, place) => answers.set(place, fromLatin1(base64(answer))));
    return answers;
  } catch { // no base64
    return undefined;
  }
}

function answersOf(body: Uint8Array): Map<number, Uint8Array<ArrayBuffer>> | undefined {
  if (MAGIC.some((byte, i) => body[i] !== byte)) return undefined;
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const answers = new Map<number, Uint8Array<ArrayBuffer>>();
  for (let at: number = MAGIC.length; at < body.length; ) {
    if (at + ANSWER > body.length) return undefined;
    const end = at + ANSWER + view.getUint32(at + 2);
    if (end > body.length) return undefined;
    answers.set(view.getUint16(at), body.slice(at + ANSWER, end));
    at = end;
  }
  return answers;
}

function idOf(sid: string): Uint8Array {
  const id = new Uint8Array(SESSION);
  const binary = atob(sid.replaceAll("-", "+").replaceAll("_", "/"));
  for (let i = 0; i < SESSION; i++) id[i] = binary.charCodeAt(i);
  return id;
}
