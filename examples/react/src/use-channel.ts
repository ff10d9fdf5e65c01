import { useCallback, useSyncExternalStore } from "react";
import type { Channel, State } from "pollbridge";

/** The state of a channel, which renders again when it changes. */
export function useChannelState(channel: Channel): State {
  return useSyncExternalStore(useSubscription(channel), () => channel.state);
}

/** What carries a channel's messages now. */
export function useTransport(channel: Channel): string | undefined {
  return useSyncExternalStore(useSubscription(channel), () => channel.transport);
}

function useSubscription(channel: Channel): (changed: () => void) => () => void {
  return useCallback(
    (changed) => {
      channel.addEventListener("statechange", changed);
      return () => channel.removeEventListener("statechange", changed);
    },
    [channel],
  );
}
