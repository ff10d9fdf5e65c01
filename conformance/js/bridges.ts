// The bridges to the suite's servers: a `bridge serve` for each.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { ClientCompatRequest } from "./gen/connectrpc/conformance/v1/client_compat_pb.js";

/** Bridges starts bridges, one for each server that the cases name. */
export class Bridges {
  readonly #binary: string;
  readonly #origin: string | undefined;
  readonly #files: Promise<string> = mkdtemp(join(tmpdir(), "conformance-"));
  readonly #urls = new Map<string, Promise<string>>();
  readonly #processes: ChildProcess[] = [];

  /** Of the pages that call, origin is allowed. */
  constructor(binary: string, origin: string | undefined) {
    this.#binary = binary;
    this.#origin = origin;
  }

  /** The URL of the bridge to the server that a case names. */
  url(request: ClientCompatRequest): Promise<string> {
    const { host, port, serverTlsCert, clientTlsCreds } = request;
    const key = JSON.stringify([host, port, serverTlsCert.length > 0, clientTlsCreds !== undefined]);
    let url = this.#urls.get(key);
    if (!url) {
      url = this.#start(request, this.#urls.size);
      this.#urls.set(key, url);
    }
    return url;
  }

  async #start({ host, port, serverTlsCert, clientTlsCreds }: ClientCompatRequest, number: number): Promise<string> {
    const args = ["serve", "--listen", "127.0.0.1:0", "--backend", `${host}:${port}`];
    const file = async (flag: string, text: Uint8Array): Promise<void> => {
      const path = join(await this.#files, `${number}${flag}.pem`);
      await writeFile(path, text, { mode: 0o600 });
      args.push(flag, path);
    };
    if (serverTlsCert.length > 0) {
      args.push("--backend-tls");
      await file("--backend-ca", serverTlsCert);
    }
    if (clientTlsCreds) {
      await file("--backend-cert", clientTlsCreds.cert);
      await file("--backend-key", clientTlsCreds.key);
    }
    if (this.#origin) args.push("--allow-origin", this.#origin);
    const bridge = spawn(this.#binary, args, { stdio: ["ignore", "pipe", "ignore"] });
    this.#processes.push(bridge);
    for await (const line of createInterface(bridge.stdout)) return line.slice("listening on ".length);
    throw new Error(`${this.#binary} ${args.join(" ")}: ended before it listened`);
  }

  /** Ends them all. */
  async stop(): Promise<void> {
    for (const bridge of this.#processes) {
      if (bridge.exitCode !== null) continue;
      bridge.kill();
      await once(bridge, "exit");
    }
    await rm(await this.#files, { recursive: true });
  }
}
