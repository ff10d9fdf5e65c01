// What the tests of the recipes share: a page, of dom.ts, and a demo service in memory.

import { create, type DescMessage, type DescMethod, type DescMethodUnary, fromBinary, type MessageInitShape, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { FakeBridge, type FakeRPC, statusError } from "pollbridge/testing";
import { Code } from "pollbridge";
import { after } from "node:test";
import { Demo } from "../../.test/recipes/react/gen/demo_pb.js";

/** Where a test renders. */
export const main: HTMLElement = window.document.querySelector("main")!;

/** Resolves once it is so. */
export async function until(is: () => boolean): Promise<void> {
  while (!is()) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** A bridge with the demo's Greet and Count, which a test's file leaves closed. */
export function newBridge(): { bridge: FakeBridge; greets: FakeRPC[] } {
  const bridge = new FakeBridge();
  const greets: FakeRPC[] = [];
  const { greet, count } = Demo.method;
  unary(bridge, greet, ({ name }, rpc) => {
    greets.push(rpc);
    if (!name) throw statusError(Code.InvalidArgument, "name: 1 to 100 characters");
    return { greeting: `Hello, ${name}!` };
  });
  bridge.stream(pathOf(count), async function* (requests) {
    const { to } = fromBinary(count.input, (await requests.next()).value!);
    for (let number = 1; number <= to; number++) yield toBinary(count.output, create(count.output, { number }));
  });
  after(() => bridge.close());
  return { bridge, greets };
}

function unary<I extends DescMessage, O extends DescMessage>(bridge: FakeBridge, method: DescMethodUnary<I, O>, answer: (request: MessageShape<I>, rpc: FakeRPC) => MessageInitShape<O>): void {
  bridge.unary(pathOf(method), (request, rpc) => toBinary(method.output, create(method.output, answer(fromBinary(method.input, request), rpc))));
}

function pathOf({ parent, name }: DescMethod): string {
  return `/${parent.typeName}/${name}`;
}
