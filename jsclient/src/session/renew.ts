import type { Session } from "./session.js";

/** Goes on with another credential on the running session; RPCs opened meanwhile wait for it (O5). Rejects if there is none to be had. */
export async function renewCredential(session: Session, auth: () => string | Promise<string>): Promise<void> {
  session.renewing = true;
  try {
    session.config.token = await auth();
    session.tokenDue = session.restate = true;
  } finally {
    session.renewing = false;
    for (const stream of session.unsent) stream.release();
    session.wake();
  }
}
