// What the engine counts on: sizes in bytes, times in milliseconds. In a file of
// constants alone, so that bundlers put them where they are used.

/** The longest delay of a timer. */
export const MAX_DELAY = 0x7fffffff;

// channel.ts
/** The first window of a stream towards the client, in bytes. */
export const STREAM_WINDOW: number = 64 << 10;
/** How many sessions an RPC outlives that may be sent again. */
export const MAX_SESSIONS = 3;
/** A lost session that lived so long, in milliseconds, is replaced soon. */
export const LONG_LIFE = 10_000;
/** How many events are kept. */
export const MAX_EVENTS = 200;

// flow.ts
/** What a stream queues before send waits, in bytes. */
export const QUEUE_BYTES: number = 64 << 10;
/** How many times its first size a stream's window grows (D3). */
export const WINDOW_GROWTH = 4;

// inbox.ts
/** Most that is kept ahead of order (D1). */
export const MAX_AHEAD_FRAMES = 1024;
export const MAX_AHEAD_BYTES: number = 1 << 20;

// outbox.ts
export const MAX_FRAMES_PER_BATCH = 1024;
/** The least worth cutting off a longer message to fill a batch. */
export const SMALLEST_CUT: number = 1 << 10;
/** Bounds what a frame's encoding adds to its payload. */
export const FRAME_OVERHEAD = 48;

// reassembly.ts
/** Bounds the wait for room, in milliseconds (D4). */
export const TIMEOUT = 10_000;

// session.ts
/** Part of the resume window after which the client gives up (E1). */
export const LAPSE = 0.8;
/** How long the bridge keeps a session from which only Hellos came, in milliseconds (O4). */
export const HELLO_WINDOW = 30_000;
/** The resume window of a bridge that states none, and the longest that is believed, in milliseconds. */
export const RESUME = 120_000;
export const MOST_RESUME = 86_400_000;
/** A request to send dropped frames again has so long for its answer, in milliseconds. */
export const ASK_AGAIN = 1_000;
/** Bounds the wait for the first Welcome, in milliseconds. */
export const CONNECT = 20_000;
/** The resume window that a pause asks for, in milliseconds: browsers do not keep a page aside for much longer. */
export const PAUSE = 600_000;
/** How long a session that was left lives on where its CLOSE cannot be taken, in milliseconds. */
export const LEFT = 1_000;
/** How long close waits for the bridge to hear of it, in milliseconds. */
export const CLOSE_PATIENCE = 3_000;

// estimator.ts
/** How long the best of late counts, in milliseconds. */
export const MEMORY = 10_000;
/** What a WebSocket may always have in flight, in bytes. */
export const MIN_FLIGHT: number = 64 << 10;

/** What an uplink carries in no time worth counting, in bytes. */
export const FREE_UPLOAD: number = 4 << 10;
/** Bytes per millisecond that it is taken for before it was measured: it is given twice the time. */
export const UNKNOWN_UPLINK = 8.192;

/** gRPC status codes that the engine itself gives to RPCs. */
export const OK = 0;
export const CANCELLED = 1;
export const DEADLINE_EXCEEDED = 4;
export const RESOURCE_EXHAUSTED = 8;
export const UNIMPLEMENTED = 12;
export const UNAVAILABLE = 14;
export const UNAUTHENTICATED = 16;
