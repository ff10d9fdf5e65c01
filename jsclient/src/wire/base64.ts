// Bytes as text: Latin-1 for metadata, base64 for paths and for the text form of batches.

/** Returns bytes as the characters of their numbers. */
export function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** Returns the bytes that latin1 made text of. */
export function fromLatin1(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

/** Returns bytes as base64. */
export function base64(bytes: Uint8Array): string {
  return btoa(latin1(bytes));
}

/** Returns bytes as base64url without padding. */
export function base64url(bytes: Uint8Array): string {
  return base64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Returns the bytes that base64 stands for. Throws DOMException for text that is no base64. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return fromLatin1(atob(text));
}
