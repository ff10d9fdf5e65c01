// What sessions and links count on: sizes in bytes, times in milliseconds. In a
// file of constants alone, so that bundlers inline them.

/** The longest delay of a timer. */
export const MAX_DELAY = 0x7fffffff;

// channel.ts
/** The first window of a stream towards the client. */
export const STREAM_WINDOW: number = 64 << 10;
/** How many sessions an RPC outlives that may be sent again. */
export const MAX_SESSIONS = 3;
/** A lost session that lived so long is replaced soon. */
export const LONG_LIFE = 10_000;
/** How many events are kept. */
export const MAX_EVENTS = 200;

// expiry.ts, session.ts
/** Part of the resume window after which the client gives up (E1). */
export const RESUME_PART = 0.8;
/** How long the bridge keeps a session from which only Hellos came (O4). */
export const HELLO_WINDOW = 30_000;
/** The resume window of a bridge that states none, and the longest that is believed. */
export const RESUME = 120_000;
export const MAX_RESUME = 86_400_000;
/** Bounds the wait for the first Welcome. */
export const CONNECT_TIMEOUT = 20_000;
/** The resume window that a pause asks for: browsers do not keep a page aside for much longer. */
export const PAUSE = 600_000;
/** How long a session that was left lives on where its CLOSE cannot be taken. */
export const LEFT = 1_000;
/** How long close waits for the bridge to hear of it. */
export const CLOSE_TIMEOUT = 3_000;
/** Most bytes of a batch by beacon: all beacons of a page share 64 KiB, and base64 makes 4 bytes of 3. */
export const MAX_BEACON: number = 40 << 10;

// http.ts
/** The longest foreign Retry-After that is honoured. */
export const MAX_RETRY_AFTER = 10_000;

// exchanges.ts
export const MAX_EXCHANGES = 2;
/** A failure within this time is one at once. */
export const QUICK_FAILURE = 200;
/** An ack alone is worth an exchange above so many bytes. */
export const ACK_ALONE: number = 64 << 10;
/** A Hello unanswered for so long gets another beside it. */
export const HELLO_AGAIN = 3_000;
/** By how much a timer must be late to tell of a sleep. */
export const LATE = 2_000;
/** The least hold that is asked for while something is expected. */
export const FIRST_HOLD = 1_500;

// ladder.ts
/** Exchanges have so long to bring the Welcome before a WebSocket is tried for it: a little less than until HELLO_AGAIN. */
export const HELLO_ALONE = 2_990;

// lasting.ts
export const ACK_DELAY = 20;
export const ACK_BYTES: number = 16 << 10;
export const MAX_BUFFERED: number = 128 << 10;
export const DRAIN = 5;
/** The least time for an answer to the dial. */
export const PROBE_TIMEOUT = 3_000;
/** A WebSocket is given up so long after a ping without a pong. */
export const DEAD = 10_000;
/** What a late look leaves for answers that wait unread. */
export const UNREAD = 1_000;
