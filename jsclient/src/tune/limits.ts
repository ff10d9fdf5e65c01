// What the learners count on: sizes in bytes, times in milliseconds. In a file
// of constants alone, so that bundlers inline them.

// path.ts
/** How long the best rate and the least round-trip time count. */
export const RATE_WINDOW = 10_000;
/** What may always be in flight on a lasting link. */
export const MIN_IN_FLIGHT: number = 64 << 10;
/** What an uplink carries in no time worth counting. */
export const FREE_UPLOAD: number = 4 << 10;
/** Bytes per millisecond that an uplink is taken for before it was measured: it is given twice the time. */
export const UNKNOWN_UPLINK = 8.192;

// network.ts
/** How long what was learnt counts. */
export const LIFE = 14_400_000;
export const FIRST_UP: number = 64 << 10;
export const MAX_UP: number = 512 << 10;
export const MIN_UP: number = 1 << 10;
export const MAX_DOWN: number = 512 << 10;
export const MIN_DOWN: number = 16 << 10;
export const MIN_HOLD = 5_000;
/** The bridge pings a WebSocket that was quiet for PINGED, and the client one on which that ping did not come. */
export const PINGED = 15_000;
export const MAX_QUIET = 20_000;

// demotion.ts
export const FIRST_DEMOTION = 30_000;
export const MAX_DEMOTION = 600_000;

// hold.ts
/** Two cuts within this factor of each other are at a similar age. */
export const SIMILAR = 1.3;
export const SHORTER = 0.7;
export const LONGER = 1.2;
/** Polls in a row that were held to their end before a longer hold is tried. */
export const KEPT_BEFORE_LONGER = 20;

// exchanges.ts
/** The bridge holds an exchange that carried frames no longer. */
export const HOLD_WITH_FRAMES = 2_000;
/** The least hold that a bridge is taken at its word for. */
export const MIN_STATED_HOLD = 1_000;
/** The other form is tried after so many failures in a row: of one that never worked, and of one that did. */
export const FIRST_MISSES = 2;
export const MISSES = 4;
/** The shortest body that the uplink's rate is measured by. */
export const MEASURED: number = 16 << 10;

// lasting.ts
export const MAX_BATCH: number = 64 << 10;
export const MIN_BATCH: number = 4 << 10;
/** How many batches must have been acked until they grow. */
export const GROW_AFTER = 4;
/** How many suspicions double what a WebSocket has for its answer. */
export const MAX_DOUBLINGS = 3;

// uplink.ts
/** An answer within this time lets bodies grow. */
export const QUICK = 1_000;
/** The shortest body that one break proves too long. */
export const PLAIN_BREAK: number = 32 << 10;
/** After so many failures in a row an exchange goes without frames. */
export const MAX_SUSPECTS = 3;
/** Bodies that have to get through before what was refused is tried again: at first, and at most. */
export const FIRST_RETRY_AFTER = 8;
export const MAX_RETRY_AFTER_BODIES = 64;
