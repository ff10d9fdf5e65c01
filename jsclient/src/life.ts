// The life of the page around a channel, as its events tell it. Nothing is
// heard where there are none: in Node, and of a page in a worker.

import type { Ladder } from "./link/ladder.js";
import { MAX_BEACON } from "./link/limits.js";
import type { SessionError } from "./session/errors.js";
import { LEFT, PAUSE } from "./session/limits.js";
import type { Session } from "./session/session.js";
import type { Batch } from "./wire/batch.js";

/** What happens to a page. */
export interface Life {
  /** It is put aside, and may come back. */
  paused(): void;
  /** It goes for good. */
  left(): void;
  /** It is back; network: or the network is. */
  woken(network: boolean): void;
}

/** What is used of the events. */
interface Heard extends Event {
  readonly persisted: boolean;
}

/** What is known of the page beside its events. */
interface Page extends EventTarget {
  readonly visibilityState: string;
}

/**
 * Tells life what happens to the page that window and page are events of, until
 * the function returned is called. Never by "unload", which would keep the page
 * out of the browser's back/forward cache; "offline" is not believed.
 */
export function watchLife(
  life: Life,
  window: EventTarget = globalThis,
  page: Page | undefined = (globalThis as { document?: Page }).document,
): () => void {
  const hears = (target: EventTarget | undefined, type: string, heard: (event: Heard) => void): (() => void) => {
    const listener = (event: Event): void => heard(event as Heard);
    target?.addEventListener?.(type, listener);
    return () => target?.removeEventListener?.(type, listener);
  };
  const back = (): void => life.woken(false);
  const stops = [
    hears(window, "pagehide", ({ persisted }) => (persisted ? life.paused() : life.left())),
    hears(window, "pageshow", ({ persisted }) => persisted && back()),
    hears(window, "online", () => life.woken(true)),
    hears(page, "freeze", () => life.paused()),
    hears(page, "resume", back),
    hears(page, "visibilitychange", () => page?.visibilityState === "visible" && back()),
  ];
  return () => stops.forEach((stop) => stop());
}

/**
 * Has a channel's sessions follow the life of the page, until the function
 * returned is called. heard is told what happens, before it is done, and gives
 * why RPCs end with a page that goes.
 */
export function followPage(sessions: ReadonlyMap<Session, Ladder>, heard: (what: "paused" | "left" | "woken") => SessionError): () => void {
  return watchLife({
    paused() {
      heard("paused");
      for (const [session, ladder] of sessions) pause(session, ladder);
    },
    left() {
      const why = heard("left");
      for (const [session, ladder] of [...sessions]) leave(session, ladder, why);
    },
    woken(network) {
      heard("woken");
      for (const ladder of [...sessions.values()]) ladder.hurry(network);
    },
  });
}

/** The page is put aside and may come back: ends every link, and asks the bridge to wait (L6). */
export function pause(session: Session, ladder: Ladder): void {
  if (ladder.off) return;
  ladder.halt();
  session.lose(() => true);
  if (!session.welcome) return;
  session.window = Math.min(PAUSE, session.welcome.pauseMaxMillis);
  ladder.beacon(parting(session, session.window));
}

/**
 * Closes the session with a page that goes for good. Its last batch holds all
 * that is unacked, then CLOSE; where that is more than a beacon takes, the
 * bridge frees the session because nobody comes within the window that the
 * batch asks for.
 */
export function leave(session: Session, ladder: Ladder, why: SessionError): void {
  ladder.halt();
  session.close();
  if (session.error) return;
  session.out.markLost(() => true);
  const batch = parting(session, LEFT);
  session.out.fill(batch, { x: batch.x, ws: false }, session.now(), MAX_BEACON, Infinity);
  session.end(why);
  ladder.beacon(batch);
}

/** The head of a batch that no answer is awaited to. */
function parting(session: Session, pause: number): Batch {
  session.prefer = session.awaiting = 0;
  const batch = session.header(session.nextX++, true);
  batch.pauseMillis = pause;
  return batch;
}
