// The numbers of envelope and wire format. In a file of constants alone, so that
// bundlers put them where they are used.

/** The envelope (W2): magic, version and flags that it begins with, and how long the parts before and after the body are, in bytes. */
export const MARK = 0xb1d6_01_00;
export const HEAD = 8;
export const TAIL = 4;

/** Most frames of a batch. */
export const MAX_FRAMES = 4096;

/** Wire types. */
export const VARINT = 0;
export const FIXED64 = 1;
export const BYTES = 2;
export const START_GROUP = 3;
export const END_GROUP = 4;
export const FIXED32 = 5;

export const MAX_GROUP_DEPTH = 100;
