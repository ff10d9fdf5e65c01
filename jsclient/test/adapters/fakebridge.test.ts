// Connect over a fake bridge, as README.md has it.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code as ConnectCode, ConnectError, createClient } from "@connectrpc/connect";
import { createBridgeTransport } from "../../src/connect.js";
import { FakeBridge, statusError } from "../../src/fakebridge.js";
import { Code } from "../../src/index.js";
import { Echo } from "../gen/connect/echo_pb.js";
import { collect } from "./support.js";

const bridge = new FakeBridge();
after(() => bridge.close());

const pathOf = ({ parent, name }: { parent: { typeName: string }; name: string }): string => `/${parent.typeName}/${name}`;

test("scripts answer a generated client", async () => {
  const { unary, serverStream } = Echo.method;
  bridge.unary(pathOf(unary), (request) => {
    const { number } = fromBinary(unary.input, request);
    if (number === 0n) throw statusError(Code.NotFound, "no such number");
    return toBinary(unary.output, create(unary.output, { number: number + 1n }));
  });
  bridge.stream(pathOf(serverStream), async function* () {
    for (let number = 1n; number <= 3n; number++) yield toBinary(serverStream.output, create(serverStream.output, { number }));
  });
  const client = createClient(Echo, createBridgeTransport(bridge.channel()));
  assert.equal((await client.unary({ number: 1n })).number, 2n);
  assert.deepEqual((await collect(client.serverStream({}))).map(({ number }) => number), [1n, 2n, 3n]);
  await assert.rejects(client.unary({}), (err) => err instanceof ConnectError && err.code === ConnectCode.NotFound && err.rawMessage === "no such number");
});
