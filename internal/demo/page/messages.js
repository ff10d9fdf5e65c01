// The messages of proto/pollbridge/demo/v1/demo.proto, by hand: a protobuf
// message is a row of fields, each a tag (number × 8 + wire type) and a value.
// A page of its own would rather use generated code.

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

const utf8 = new TextEncoder();
const text = new TextDecoder();

/** What a ChatEvent is about. */
export const ChatKind = { welcome: 1, joined: 2, left: 3, said: 4 };

/** Encoders: plain values in, message bytes out. */
export const encode = {
  greet: ({ name }) => message(string(1, name)),
  count: ({ to, intervalMs }) => message(varint(1, to), varint(2, intervalMs)),
  upload: ({ chunk }) => message(bytes(1, chunk)),
  download: ({ bytes }) => message(varint(1, bytes)),
  echo: ({ text }) => message(string(1, text)),
  join: ({ room, name }) => message(bytes(1, message(string(1, room), string(2, name)))),
  say: ({ text }) => message(string(2, text)),
};

/** Decoders: message bytes in, plain values out. They throw on bytes that are no message. */
export const decode = {
  greeting: (bytes) => last(bytes, 1, asText, ""),
  number: (bytes) => last(bytes, 1, Number, 0),
  upload: (bytes) => ({
    bytes: last(bytes, 1, Number, 0),
    messages: last(bytes, 2, Number, 0),
    sha256: last(bytes, 3, (value) => value, new Uint8Array()),
  }),
  download: (bytes) => last(bytes, 1, (value) => value, new Uint8Array()),
  echo: (bytes) => ({ text: last(bytes, 1, asText, ""), number: last(bytes, 2, Number, 0) }),
  chat: (bytes) => ({
    kind: last(bytes, 1, Number, 0),
    name: last(bytes, 2, asText, ""),
    text: last(bytes, 3, asText, ""),
    time: new Date(last(bytes, 4, Number, 0)),
    members: all(bytes, 5).map(asText),
  }),
};

const asText = (value) => text.decode(value);

function message(...fields) {
  const out = new Uint8Array(fields.reduce((sum, field) => sum + field.length, 0));
  let at = 0;
  for (const field of fields) {
    out.set(field, at);
    at += field.length;
  }
  return out;
}

function varint(number, value) {
  return Uint8Array.of(...digits(number * 8 + VARINT), ...digits(value));
}

function string(number, value) {
  return bytes(number, utf8.encode(value));
}

function bytes(number, value) {
  const head = [...digits(number * 8 + LENGTH_DELIMITED), ...digits(value.length)];
  const out = new Uint8Array(head.length + value.length);
  out.set(head);
  out.set(value, head.length);
  return out;
}

/** The base-128 digits of a safe integer, lowest first, each but the last with its top bit set. */
function digits(value) {
  const out = [];
  for (; value > 127; value = Math.floor(value / 128)) out.push((value % 128) | 128);
  out.push(value);
  return out;
}

/** The values of every field with this number: a number for a varint, a view for bytes. */
function all(message, number) {
  const values = [];
  let at = 0;
  const read = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const digit = take(1)[0];
      value += (digit & 127) * scale;
      if (digit < 128) return value;
    }
  };
  const take = (length) => {
    if (at + length > message.length) throw new RangeError(`message of ${message.length} bytes is cut short`);
    at += length;
    return message.subarray(at - length, at);
  };
  const value = (type) => {
    if (type === VARINT) return read();
    if (type === FIXED64) return take(8);
    if (type === LENGTH_DELIMITED) return take(read());
    if (type === FIXED32) return take(4);
    throw new RangeError(`wire type ${type} is unknown`);
  };
  while (at < message.length) {
    const tag = read();
    const found = value(tag % 8);
    if (Math.floor(tag / 8) === number) values.push(found);
  }
  return values;
}

/** The last value of a field, converted; absent fields have their default, as in proto3. */
function last(message, number, convert, absent) {
  const values = all(message, number);
  return values.length === 0 ? absent : convert(values[values.length - 1]);
}
