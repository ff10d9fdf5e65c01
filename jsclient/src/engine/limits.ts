// What the engine counts on: sizes in bytes, times in milliseconds. In a file of
// constants alone, so that bundlers inline them.

// sendside.ts, recvside.ts
/** What a stream queues before send waits. */
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
/** Bounds the wait for room (D4). */
export const ROOM_TIMEOUT = 10_000;

// endpoint.ts
/** A request to send dropped frames again has so long for its answer. */
export const ASK_AGAIN = 1_000;

/** gRPC status codes that the engine itself gives to RPCs. */
export const OK = 0;
export const CANCELLED = 1;
export const DEADLINE_EXCEEDED = 4;
export const RESOURCE_EXHAUSTED = 8;
export const UNIMPLEMENTED = 12;
export const UNAVAILABLE = 14;
export const UNAUTHENTICATED = 16;
