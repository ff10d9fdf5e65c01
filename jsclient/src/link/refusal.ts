import type { OriginError, Weather } from "./carrier.js";
import { MAX_RETRY_AFTER } from "./limits.js";

/** What an answer with another status than 200 means (W4), as an error of the classes given. */
export async function refusal(response: Response, weather: typeof Weather, originError: typeof OriginError): Promise<Weather | OriginError> {
  const { status, headers } = response;
  if (status === 403 && headers.get("Pollbridge")) {
    const said = await response.text().catch(() => "");
    return new originError(`the bridge refuses this origin: --allow-origin admits it (${said.trim()})`);
  }
  response.body?.cancel().catch(() => undefined);
  const retryAfterMillis = Math.min(1000 * (Number(headers.get("Retry-After")) || 0), MAX_RETRY_AFTER);
  return new weather("status", `HTTP status ${status}`, { status, retryAfterMillis });
}
