import { LOAD_AGAIN } from "./link/limits.js";

/** What no first RPC needs: see later.ts. */
export type Later = typeof import("./later.js");

let loaded: Later | undefined;
let loading: Promise<Later | undefined> | undefined;

/**
 * Loads it, once for all channels, after what the present task has to send: that
 * goes by the connection that is open. Resolves with undefined if it cannot be
 * loaded; a later call tries again.
 */
export function load(): Promise<Later | undefined> {
  return (loading ??= new Promise((resolve) => setTimeout(resolve)).then(() => import("./later.js")).then(
    (module) => (loaded = module),
    () => void setTimeout(() => (loading = undefined), LOAD_AGAIN),
  ));
}

/** The same if it is there already; else asks for it. */
export function later(): Later | undefined {
  void load();
  return loaded;
}
