/**
 * Runs a streaming RPC that is cancelled when its loop is left, by break,
 * return or an exception, or when it ends. For clients that do not tell their
 * transport of it, as Connect before 2.3:
 *
 *     for await (const reply of withCancel((signal) => client.count(request, { signal }))) { … }
 *
 * call gets the signal that cancels the RPC and gives its responses. It is
 * called once, when iterating begins.
 */
export async function* withCancel<T>(call: (signal: AbortSignal) => AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
  const controller = new AbortController();
  try {
    yield* call(controller.signal);
  } finally {
    controller.abort();
  }
}
