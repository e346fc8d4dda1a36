import assert from "node:assert/strict";
import test from "node:test";

import { Connection } from "../../ws_relay/page/js/connection.js";

/** Stands where the browser's WebSocket would be; the test plays the relay. */
class FakeSocket {
  static made = [];

  constructor(url, protocols) {
    Object.assign(this, { url, protocols, readyState: 0, sent: [] });
    FakeSocket.made.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.readyState = 3;
  }

  accept() {
    this.readyState = 1;
    this.onopen();
  }

  say(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }

  fail() {
    this.readyState = 3;
    this.onclose();
  }
}

function connect(context, allowed = true) {
  context.mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  context.mock.method(Math, "random", () => 0);
  FakeSocket.made = [];
  globalThis.WebSocket = FakeSocket;
  const states = [];
  const heard = [];
  const connection = new Connection({
    url: "ws://relay/ws",
    token: () => "t",
    hello: () => ({ action: "subscribe" }),
    isAllowed: async () => allowed,
    onMessage: (message) => heard.push(message.type),
    onState: ({ state }) => states.push(state),
  });
  connection.open();
  return { connection, states, heard, latest: () => FakeSocket.made.at(-1) };
}

test("it is live once the relay has answered the subscription", (context) => {
  const { states, heard, latest } = connect(context);
  assert.deepEqual(latest().protocols, ["hive.telemetry", "bearer.t"]);
  latest().accept();
  assert.deepEqual(
    latest().sent.map(({ action }) => action),
    ["subscribe", "ping"],
  );
  latest().say({ type: "subscribed" });
  assert.deepEqual(states, ["connecting", "live"]);
  assert.deepEqual(heard, ["subscribed"]);
});

test("a connection that breaks is opened again, and says hello again", (context) => {
  const { states, latest } = connect(context);
  latest().accept();
  latest().say({ type: "subscribed" });
  latest().fail();
  assert.equal(states.at(-1), "waiting");
  context.mock.timers.tick(250);
  assert.equal(FakeSocket.made.length, 2);
  latest().accept();
  assert.equal(latest().sent[0].action, "subscribe");
});

test("a relay that is away is asked less and less often", (context) => {
  const { latest } = connect(context);
  latest().fail();
  context.mock.timers.tick(250);
  latest().fail();
  context.mock.timers.tick(499);
  assert.equal(FakeSocket.made.length, 2);
  context.mock.timers.tick(1);
  assert.equal(FakeSocket.made.length, 3);
});

test("a relay that wants a token is not asked again without one", async (context) => {
  const { states, latest } = connect(context, false);
  latest().fail();
  await new Promise((resolve) => setImmediate(resolve));
  context.mock.timers.tick(60_000);
  assert.equal(states.at(-1), "token");
  assert.equal(FakeSocket.made.length, 1);
});

test("a peer that does not answer a ping is given up", (context) => {
  const { states, latest } = connect(context);
  latest().accept();
  latest().say({ type: "subscribed" });
  context.mock.timers.tick(10_000);
  assert.equal(states.at(-1), "live");
  context.mock.timers.tick(10_000);
  assert.equal(states.at(-1), "waiting");
});

test("the lag is the middle of the last ones, by the relay's clock", (context) => {
  const { connection, latest } = connect(context);
  latest().accept();
  latest().say({ type: "pong", timestamp: 5000 });
  for (const lag of [4, 900, 7]) connection.noteLag(5000 - lag);
  assert.equal(connection.behindMs, 7);
});
