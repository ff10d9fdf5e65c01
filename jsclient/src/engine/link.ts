/** The shapes of links: one batch each way, as an exchange has, or many, as a WebSocket has. */
export type LinkKind = "oneShot" | "lasting";

/** LinkID names a link of a session. Links are numbered 1, 2, … whatever their kind (L1). */
export interface LinkID {
  readonly number: number;
  readonly kind: LinkKind;
}
