// Starts Debian's Chromium.

import { execFileSync } from "node:child_process";
import { type Browser, chromium, type LaunchOptions } from "playwright-core";

export function launchChromium(options: LaunchOptions = {}): Promise<Browser> {
  return chromium.launch({ executablePath: chromiumPath(), args: ["--no-sandbox", "--disable-dev-shm-usage"], ...options });
}

export function chromiumPath(): string {
  return execFileSync("sh", ["-c", "command -v chromium"], { encoding: "utf8" }).trim();
}
