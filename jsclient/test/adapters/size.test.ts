import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

/** What a module weighs, gzipped, as an application would bundle it. */
async function weigh(source: string, external: string[]): Promise<number> {
  const { outputFiles } = await build({
    stdin: { contents: source, resolveDir: ".", loader: "ts" },
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    target: "es2022",
    tsconfig: "tsconfig.json",
    external,
  });
  return gzipSync(outputFiles[0]!.contents, { level: 9 }).length;
}

const core = 'export * from "./src/index.ts";';
const peers = ["@bufbuild/protobuf", "@connectrpc/connect", "@protobuf-ts/*", "nice-grpc-*"];

test("an import of Channel weighs at most what README.md says", async (t) => {
  const size = await weigh('export { Channel } from "./dist/index.js";', []);
  t.diagnostic(`${size} bytes`);
  const said = /^\| `import \{ Channel \}.* \| ([0-9.]+) KB \|$/m.exec(readFileSync("README.md", "utf8"))?.[1];
  assert.ok(size <= 1000 * Number(said), `${size} bytes, and ${said} KB in README.md`);
});

const adapters: Record<string, number> = { connect: 1800, "protobuf-ts": 1536, "nice-grpc-web": 1024, "grpc-web": 1700 };

for (const [name, most] of Object.entries(adapters)) {
  test(`${name} adds at most ${most} bytes to the client`, async (t) => {
    const added = (await weigh(`${core} export * from "./src/${name}.ts";`, peers)) - (await weigh(core, peers));
    t.diagnostic(`${added} bytes`);
    assert(added <= most, `${added} bytes`);
  });
}

test("shared adds at most 3300 bytes to the client, and its worker has at most 2200", async (t) => {
  const added = (await weigh(`${core} export * from "./src/shared.ts";`, [])) - (await weigh(core, []));
  const worker = await weigh('export * from "./src/shared/hub.ts";', []); // all that it has
  t.diagnostic(`${added} and ${worker} bytes`);
  assert(added <= 3300 && worker <= 2200, `${added} and ${worker} bytes`);
});

test("connect adds at most 1800 bytes to what an application with Connect has", async (t) => {
  const application = `${core}
    import { createClient, ConnectError, Code } from "@connectrpc/connect";
    export { create, fromBinary, toBinary } from "@bufbuild/protobuf"; // every transport has them
    import { Echo } from "./test/gen/connect/echo_pb.ts";
    export const make = (transport) => createClient(Echo, transport);
    export const refused = (err) => ConnectError.from(err).code === Code.PermissionDenied;`;
  const added = (await weigh(`${application} export * from "./src/connect.ts";`, [])) - (await weigh(application, []));
  t.diagnostic(`${added} bytes`);
  assert(added <= 1800, `${added} bytes`);
});
