// What the links count on: sizes in bytes, times in milliseconds. In a file of
// constants alone, so that bundlers put them where they are used.

// carrier.ts
/** Most bytes of a batch by beacon: all beacons of a page share 64 KiB, and base64 makes 4 bytes of 3. */
export const MAX_BEACON: number = 40 << 10;
/** The longest foreign Retry-After that is honoured. */
export const MAX_RETRY_AFTER = 10_000;

// exchanges.ts
export const MAX_IN_FLIGHT = 2;
/** A failure within this time is one at once. */
export const AT_ONCE = 200;
/** The bridge holds an exchange that carried frames no longer, in milliseconds. */
export const HOLD_WITH_FRAMES = 2_000;
/** An ack alone is worth an exchange above so many bytes. */
export const OWED_ACK: number = 64 << 10;
/** A Hello unanswered for so long gets another beside it, in milliseconds. */
export const HELLO_AGAIN = 3_000;
/** By how much a timer must be late to tell of a sleep, in milliseconds. */
export const LATE = 2_000;
/** The least hold that is asked for while something is expected. */
export const HOLD_FIRST = 1_500;

// hold.ts
/** Two cuts within this factor of each other are at a similar age. */
export const SIMILAR = 1.3;
export const SHORTER = 0.7;
export const LONGER = 1.2;
export const CLEAN = 20;

// ladder.ts
/** Exchanges have so long to bring the Welcome before a WebSocket is tried for it: a little less than until HELLO_AGAIN. */
export const HELLO_ALONE = 2_990;
export const DEMOTED = 30_000;

// network.ts
/** How long what was learnt counts. */
export const LIFE = 14_400_000;
export const UP_FIRST: number = 64 << 10;
export const UP_MOST: number = 512 << 10;
export const UP_LEAST: number = 1 << 10;
export const DOWN_MOST: number = 512 << 10;
export const DOWN_LEAST: number = 16 << 10;
export const WS_PAUSE_MOST = 600_000;
export const HOLD_LEAST = 5_000;
/** The bridge pings a WebSocket that was quiet for so long, and the client one on which that ping did not come. */
export const PINGED = 15_000;
export const QUIET_MOST = 20_000;

// socketlink.ts
export const ACK_DELAY = 20;
export const ACK_OWED: number = 16 << 10;
export const BATCH_MOST: number = 64 << 10;
export const BATCH_LEAST: number = 4 << 10;
/** How many batches must have been acked until they grow. */
export const GROW_AFTER = 4;
export const MAX_BUFFERED: number = 128 << 10;
export const DRAIN = 5;
/** The least time for an answer to the dial. */
export const PROOF = 3_000;
/** A WebSocket is given up so long after a ping without a pong. */
export const DEAD = 10_000;
/** How many doubts double what a WebSocket has for its answer. */
export const DOUBLED = 3;
/** What a late look leaves for answers that wait unread. */
export const UNREAD = 1_000;

// tuning.ts
/** The least that a bridge is taken at its word for, in milliseconds. */
export const LEAST_STATED = 1_000;
/** The other form is tried after so many failures in a row: of one that never worked, and of one that did. */
export const MISSES_FIRST = 2;
export const MISSES = 4;
/** The shortest body that the uplink's rate is measured by. */
export const MEASURED: number = 16 << 10;

// uplink.ts
/** An answer within this time lets uplink batches grow. */
export const UPLINK_QUICK = 1_000;
/** The shortest body of which one break is proof enough. */
export const PLAIN_FLOOR: number = 32 << 10;
/** After so many failures in a row an exchange goes without frames. */
export const DOUBTS = 3;
/** Bodies that have to get through before what was refused is tried again: at first, and at most. */
export const WAIT_LEAST = 8;
export const WAIT_MOST = 64;
