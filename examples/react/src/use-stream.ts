import { useEffect, useState } from "react";

/** What useStream has received so far. */
export interface Received<T> {
  readonly messages: readonly T[];
  /** The stream has ended, in order or with error. */
  readonly done: boolean;
  readonly error: unknown;
}

const nothing = { messages: [], done: false, error: undefined };

/**
 * The messages of a server-streaming RPC that runs while the component is
 * mounted. call starts it and is to be memoised: another call cancels the RPC
 * and starts anew. StrictMode mounts twice, so there the first RPC is cancelled.
 */
export function useStream<T>(call: (signal: AbortSignal) => AsyncIterable<T>): Received<T> {
  const [received, setReceived] = useState<Received<T>>(nothing);
  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    const update = (change: (was: Received<T>) => Received<T>): void => {
      if (!signal.aborted) setReceived(change);
    };
    const run = async (): Promise<void> => {
      for await (const message of call(signal)) update((was) => ({ ...was, messages: [...was.messages, message] }));
    };
    setReceived(nothing);
    run().then(
      () => update((was) => ({ ...was, done: true })),
      (error: unknown) => update((was) => ({ ...was, done: true, error })),
    );
    return () => controller.abort();
  }, [call]);
  return received;
}
