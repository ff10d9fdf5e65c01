// How a page learns what carries its exchanges.

import assert from "node:assert/strict";
import { test } from "node:test";
import { asPage } from "../testing.js";
import { HttpCarrier } from "./http.js";

const BASE = "http://bridge.test/bridge/v1/";

test("a page has exchanges that share a connection where the last one came by HTTP/2 or 3", (t) => {
  asPage(t);
  let say: (name: string, nextHopProtocol: string) => void = assert.fail;
  let listening = false;
  class Observer {
    constructor(heard: (list: unknown) => void) {
      say = (name, nextHopProtocol) => heard({ getEntries: () => [{ name, nextHopProtocol }] });
    }
    observe = (): void => void (listening = true);
    disconnect = (): void => void (listening = false);
  }
  const real = globalThis.PerformanceObserver;
  globalThis.PerformanceObserver = Observer as never;
  t.after(() => (globalThis.PerformanceObserver = real));

  const carrier = new HttpCarrier("http://bridge.test", {}, assert.fail);
  assert.deepEqual([carrier.multiplexed, listening], [false, true]);
  for (const [name, protocol, multiplexed] of [
    [`${BASE}0123456789012345678901/poll`, "h2", true],
    [`${BASE}client.js`, "http/1.1", true],
    ["http://other.test/bridge/v1/0123456789012345678901/poll", "http/1.1", true],
    [`${BASE}0123456789012345678902/poll`, "http/1.1", false],
    [`${BASE}0123456789012345678902/poll`, "h3", true],
    [`${BASE}0123456789012345678902/poll`, "", false], // without Timing-Allow-Origin
  ] as const) {
    say(name, protocol);
    assert.equal(carrier.multiplexed, multiplexed, `${name} by ${protocol}`);
  }
  carrier.close();
  assert.equal(listening, false);
});

test("without a page nothing is observed", (t) => {
  const real = globalThis.PerformanceObserver;
  globalThis.PerformanceObserver = assert.fail as never;
  t.after(() => (globalThis.PerformanceObserver = real));
  const carrier = new HttpCarrier("http://bridge.test", {}, assert.fail);
  carrier.close();
  assert.equal(carrier.multiplexed, false);
});
