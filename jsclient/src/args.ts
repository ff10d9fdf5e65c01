// What callers give: checked before any of it gets further, as nothing behind it expects anything else.

/** Bytes that a caller may give: they are copied. */
export type Bytes = ArrayBufferView | ArrayBuffer;

/** Returns a copy of bytes. Throws TypeError for anything else, naming what came in place of what. */
export function copyBytes(what: string, value: unknown): Uint8Array<ArrayBuffer> {
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice();
  try {
    return new Uint8Array(ArrayBuffer.prototype.slice.call(value, 0)); // one of another realm, too
  } catch {
    throw new TypeError(`${what}: must be a Uint8Array, another view or an ArrayBuffer, not ${tag(value)}`);
  }
}

/** Returns a value as an error names it: a number or a short text itself, of all else its kind. */
export function shown(value: unknown): string {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (typeof value === "string") return value.length > 200 ? `text of ${value.length} characters` : JSON.stringify(value);
  return tag(value);
}

/** Returns the kind of a value, whatever realm it is of: "Array", "Map", "Object", "Null" …. */
export function tag(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}

/** Rule is what an option may be: as a test, and in words. */
export type Rule = readonly [is: (value: never) => boolean, text: string];

/** Rules has one for each option. */
export type Rules<Options> = { readonly [Name in keyof Required<Options>]: Rule };

/** Returns a copy of options. Throws TypeError for one that is unknown, or not as its rule has it. */
export function checkOptions<Options extends object>(what: string, options: Options, rules: Rules<Options>): Options {
  if (typeof options !== "object" || options === null) throw new TypeError(`${what}s: must be an object, not ${shown(options)}`);
  const given = { ...options };
  for (const [name, value] of Object.entries(given)) {
    const rule = Object.hasOwn(rules, name) ? rules[name as keyof Options] : undefined;
    if (!rule) throw new TypeError(`${what} ${name}: there is none of this name, but ${Object.keys(rules).join(", ")}`);
    if (value !== undefined && !rule[0](value as never)) throw new TypeError(`${what} ${name} ${shown(value)}: must be ${rule[1]}`);
  }
  return given;
}

const MAX_DELAY = 0x7fffffff;

export const truth: Rule = [(value: unknown) => typeof value === "boolean", "true or false"];
export const callback: Rule = [(value: unknown) => typeof value === "function", "a function"];
export const size: Rule = [(value: number) => Number.isSafeInteger(value) && value > 0, "a whole number of bytes above 0"];
/** A delay that a timer can count. */
export const delay: Rule = [(value: unknown) => typeof value === "number" && value >= 0 && value <= MAX_DELAY, `milliseconds from 0 to ${MAX_DELAY}`];

/** Returns the rule that a value is one of few texts. */
export function oneOf(...texts: string[]): Rule {
  return [(value: string) => texts.includes(value), texts.map((text) => JSON.stringify(text)).join(" or ")];
}

/** Returns the rule that a value is an object which has these methods. */
export function having(text: string, ...methods: string[]): Rule {
  return [(value: Record<string, unknown> | null) => typeof value === "object" && value !== null && methods.every((name) => typeof value[name] === "function"), text];
}
