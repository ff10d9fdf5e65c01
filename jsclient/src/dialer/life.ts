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
 * Calls life for what happens to the page, by the events of window and page, until
 * the returned function is called. Never by "unload", which would keep the page
 * out of the browser's back/forward cache; "offline" is not believed. Nothing is
 * heard where there are no such events: in Node, and of a page in a worker.
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
