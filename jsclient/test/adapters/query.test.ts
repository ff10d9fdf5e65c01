// connect-query with TanStack Query, as they document it, over a bridge and over connect-web's own transport side by side, with Connect 2.3 and 2.2.

import assert from "node:assert/strict";
import { resolve } from "node:path";
import { describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import * as query23 from "@connectrpc/connect-query";
import { createConnectTransport } from "@connectrpc/connect-web";
import { QueryClient } from "@tanstack/react-query";
import { build } from "esbuild";
import { createBridgeTransport } from "../../src/connect.js";
import { Echo } from "../gen/connect/echo_pb.js";
import { Stage } from "./support.js";

const stage = new Stage();

const transports: Record<string, () => Transport> = {
  bridge: () => createBridgeTransport(stage.channel()),
  "connect-web": () => createConnectTransport({ baseUrl: stage.url }),
};

/** connect-query as an application has it that has Connect 2.2. */
async function query22(): Promise<typeof query23> {
  const outfile = resolve(".test/query22.mjs");
  await build({
    stdin: { contents: 'export * from "@connectrpc/connect-query";', resolveDir: "." },
    alias: { "@connectrpc/connect": "connect22" },
    external: ["react", "react-dom", "@tanstack/*", "@bufbuild/*"],
    bundle: true,
    format: "esm",
    platform: "node",
    outfile,
  });
  return (await import(pathToFileURL(outfile).href)) as typeof query23;
}

for (const [name, transport] of Object.entries(transports)) {
  for (const [version, query] of [["2.3", query23], ["2.2", await query22()]] as const) {
    describe(`connect-query over ${name}, Connect ${version}`, { timeout: 60_000 }, () => {
      const { createQueryOptions, callUnaryMethod } = query;

      test("a query has the reply, and asks once while it is fresh", async () => {
        const client = new QueryClient({ defaultOptions: { queries: { staleTime: Infinity } } });
        const options = createQueryOptions(Echo.method.unary, { payload: Uint8Array.of(7) }, { transport: transport() });
        const reply = await client.fetchQuery(options);
        assert.deepEqual([...reply.payload], [7]);
        assert.equal(await client.fetchQuery(options), reply);
      });

      test("a query fails with the RPC's ConnectError", async () => {
        const options = createQueryOptions(Echo.method.unary, { script: { status: 5, message: "none" } }, { transport: transport() });
        const err = await new QueryClient().fetchQuery({ ...options, retry: false }).catch((thrown: unknown) => thrown);
        const { code, rawMessage } = ConnectError.from(err);
        assert.deepEqual([code, rawMessage], [Code.NotFound, "none"]);
      });

      test("a query that is cancelled cancels its RPC", async () => {
        const client = new QueryClient();
        const options = createQueryOptions(Echo.method.unary, { script: { hang: true } }, { transport: transport() });
        await stage.cancels(1, async () => {
          const fetched = client.fetchQuery({ ...options, retry: false }).catch((err: unknown) => err);
          await stage.active(1);
          await client.cancelQueries({ queryKey: options.queryKey });
          assert.match(String(await fetched), /Cancelled/);
        });
      });

      test("a mutation's call has the reply", async () => {
        const reply = await callUnaryMethod(transport(), Echo.method.unary, { payload: Uint8Array.of(8) });
        assert.deepEqual([...reply.payload], [8]);
      });
    });
  }
}
