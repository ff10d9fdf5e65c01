/** Outage is what a session without a link that works knows of its tries. Times are in milliseconds since 1970. */
export interface Outage {
  /** When the first link failed. */
  readonly since: number;
  /** Number of the try that is to come or under way: 1 for the first since then. */
  readonly attempt: number;
  /** When that one is made; not after now: it is under way. */
  readonly nextTryAt: number;
}
