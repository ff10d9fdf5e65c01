// Time as the simulation has it: it stands still but for what advance says.

interface Timer {
  due: number;
  what: () => void;
}

const timers = new Map<number, Timer>();
let now = 0;
let next = 1;

/** Puts this clock in the place of the platform's. */
export function install(): void {
  performance.now = () => now;
  Date.now = () => now;
  globalThis.setTimeout = ((what: () => void, millis = 0) => {
    timers.set(next, { due: now + Math.max(millis, 1), what });
    return next++;
  }) as unknown as typeof setTimeout;
  globalThis.clearTimeout = ((id: number | undefined) => void timers.delete(id!)) as typeof clearTimeout;
}

/** Sets the time, in milliseconds. */
export function advance(to: number): void {
  now = Math.max(now, to);
}

function first(): [number, Timer] | undefined {
  let found: [number, Timer] | undefined;
  for (const entry of timers) if (!found || entry[1].due < found[1].due) found = entry;
  return found;
}

/** Runs the timer that is due first, if one is. */
export function fire(): boolean {
  const found = first();
  if (!found || found[1].due > now + 1e-6) return false;
  timers.delete(found[0]);
  found[1].what();
  return true;
}

/** When the next timer is due; -1: there is none. */
export function due(): number {
  return first()?.[1].due ?? -1;
}

/** Forgets all timers, and sets the time. */
export function reset(to: number): void {
  timers.clear();
  now = to;
}
