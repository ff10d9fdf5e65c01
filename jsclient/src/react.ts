/** Hooks for React 18 and later: what a channel is doing, and RPCs that last as long as their component. */

import { useCallback, useMemo, useReducer, useSyncExternalStore } from "react";
import { callback, checkOptions, type Rules, shown } from "./args.js";
import type { Transport } from "./dialer/ladder.js";
import type { ChannelEventMap, State } from "./events.js";

/** What the hooks use of a Channel; a double of one has no more. */
export interface ChannelSource {
  readonly state: State;
  readonly transport: Transport | undefined;
  addEventListener(type: keyof ChannelEventMap, listener: () => void): void;
  removeEventListener(type: keyof ChannelEventMap, listener: () => void): void;
}

/** Returns the state of a channel, and renders again when it changes. On a server, and while a page hydrates, it is "connecting". */
export function useChannelState(channel: ChannelSource): State {
  return useSyncExternalStore(useChanges(channel), () => channel.state, () => "connecting");
}

/** Returns what carries a channel's messages now, and renders again when it changes; undefined while nothing does, and on a server. */
export function useTransport(channel: ChannelSource): Transport | undefined {
  return useSyncExternalStore(useChanges(channel), () => channel.transport, () => undefined);
}

function useChanges(channel: ChannelSource): Subscribe {
  return useCallback(
    (changed) => {
      channel.addEventListener("statechange", changed);
      return () => channel.removeEventListener("statechange", changed);
    },
    [channel],
  );
}

/** What useStream has received. */
export interface Received<T> {
  /** The messages in order: all of this run, or the latest of them, as keep has it. */
  readonly messages: readonly T[];
  /** The stream has ended, in order or with error. */
  readonly done: boolean;
  /** Why the stream has failed: what its client throws, e.g. a StatusError or a ConnectError. */
  readonly error: unknown;
  /** Begins the stream anew, without the messages that came. */
  readonly restart: () => void;
}

/** StreamOptions are the options of useStream, which reads them when a run begins. */
export interface StreamOptions {
  /** How many messages are kept, the latest. All that are kept are copied whenever one comes, so give it for a stream that is long. Default: all. */
  keep?: number | undefined;
}

const RULES: Rules<StreamOptions> = { keep: [(value: unknown) => Number.isInteger(value) && (value as number) > 0, "a whole number above 0"] };

/**
 * Runs a server-streaming RPC while its component is mounted, and returns what
 * came of it. call starts the RPC with a signal, which aborts when the component
 * goes; undefined starts none. The RPC is started anew when one of deps changes,
 * as an effect is; without deps when call does, which is to be memoised then.
 * Nothing runs on a server. StrictMode mounts twice: the first RPC is cancelled.
 * Throws TypeError for a call that is no function, and for a bad option.
 */
export function useStream<T>(call: ((signal: AbortSignal) => AsyncIterable<T>) | undefined, deps: readonly unknown[] = [call], options: StreamOptions = {}): Received<T> {
  const { keep = Infinity } = checkOptions("option", options, RULES);
  return useRun<AsyncIterable<T>, Received<T>>(call, deps, NO_MESSAGES, async (messages, signal, update) => {
    for await (const message of messages) {
      if (signal.aborted) return; // leaving cancels too
      update((was) => ({ ...was, messages: [...was.messages, message].slice(-keep) }));
    }
    update((was) => ({ ...was, done: true }));
  });
}

/** What useUnary has received. */
export interface Answered<T> {
  /** The response; undefined until it is there. */
  readonly response: T | undefined;
  /** The RPC has ended, with a response or with error. */
  readonly done: boolean;
  /** Why the RPC has failed: what its client throws, e.g. a StatusError or a ConnectError. */
  readonly error: unknown;
  /** Makes the RPC again. */
  readonly restart: () => void;
}

/** Makes an RPC with one response when its component mounts, and returns what came of it. Else as useStream. */
export function useUnary<T>(call: ((signal: AbortSignal) => Promise<T>) | undefined, deps: readonly unknown[] = [call]): Answered<T> {
  return useRun<Promise<T>, Answered<T>>(call, deps, NO_RESPONSE, async (answer, _, update) => {
    const response = await answer;
    update((was) => ({ ...was, response, done: true }));
  });
}

type Subscribe = (changed: () => void) => () => void;
/** What came of a run, without restart. */
type Outcome<Result> = Omit<Result, "restart">;
type Update<Result> = (change: (was: Outcome<Result>) => Outcome<Result>) => void;
/** Passes on by update what came of an RPC, until signal aborts. */
type Follow<Answer, Result> = (answer: Answer, signal: AbortSignal, update: Update<Result>) => Promise<void>;
interface Ending {
  readonly done: boolean;
  readonly error: unknown;
  readonly restart: () => void;
}

const NO_MESSAGES: Outcome<Received<never>> = { messages: [], done: false, error: undefined };
const NO_RESPONSE: Outcome<Answered<never>> = { response: undefined, done: false, error: undefined };

/** Runs call while the component is mounted, anew when deps change. Returns what follow says came of it, and nothing before. */
function useRun<Answer, Result extends Ending>(call: ((signal: AbortSignal) => Answer) | undefined, deps: readonly unknown[], nothing: Outcome<Result>, follow: Follow<Answer, Result>): Result {
  if (call !== undefined && !callback[0](call as never)) throw new TypeError(`call ${shown(call)}: must be a function or undefined`);
  const [round, restart] = useReducer((round: number) => round + 1, 0);
  const [subscribe, outcome] = useMemo(() => newRun(call, nothing, follow), [...deps, round]);
  return { ...useSyncExternalStore(subscribe, outcome, () => nothing), restart } as Result;
}

/** Returns what useSyncExternalStore takes: subscribing makes the call, unsubscribing aborts it. */
function newRun<Answer, Result extends Ending>(call: ((signal: AbortSignal) => Answer) | undefined, nothing: Outcome<Result>, follow: Follow<Answer, Result>): [Subscribe, () => Outcome<Result>] {
  let outcome = nothing;
  const subscribe: Subscribe = (changed) => {
    const controller = new AbortController();
    const { signal } = controller;
    const update: Update<Result> = (change) => {
      if (signal.aborted) return; // of a run that is over
      outcome = change(outcome);
      changed();
    };
    const run = async (): Promise<void> => call && follow(call(signal), signal, update);
    outcome = nothing;
    run().catch((error: unknown) => update((was) => ({ ...was, done: true, error })));
    return () => controller.abort();
  };
  return [subscribe, () => outcome];
}
