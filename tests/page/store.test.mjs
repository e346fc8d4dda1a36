import assert from "node:assert/strict";
import test from "node:test";

import { applyMessage, applyRows, createStore, resumeCursors, tokenRate } from "../../ws_relay/page/js/store.js";
import { ID } from "./events.mjs";

const OTHER = "9b2ac1f0-e29b-41d4-a716-446655440000";

function agent(name, more = {}) {
  return {
    agent: name,
    agent_id: `${ID}/${name}`,
    role: name === "queen" ? "queen" : "worker",
    status: "working",
    tokens: 1,
    ...more,
  };
}

function update(agents, more = {}) {
  return {
    type: "telemetry_update",
    session_id: ID,
    snapshot: false,
    cursor: 10,
    agents,
    topology_changes: [],
    session: { session_id: ID, status: "running", state: "running", task: "T", tokens: 10, attempt: 1 },
    ...more,
  };
}

function started() {
  const store = createStore();
  applyMessage(store, update([agent("queen"), agent("w1")], { snapshot: true }), 0);
  return store;
}

test("a snapshot replaces the agents, an update changes those that it names", () => {
  const store = started();
  applyMessage(store, update([agent("w1", { status: "done" })]), 0);
  assert.deepEqual(
    [...store.sessions.get(ID).agents.values()].map(({ status }) => status),
    ["working", "done"],
  );
  applyMessage(store, update([agent("queen")], { snapshot: true }), 0);
  assert.deepEqual([...store.sessions.get(ID).agents.keys()], ["queen"]);
});

test("an update without agents still tells how the session stands", () => {
  const store = started();
  const { transitions } = applyMessage(
    store,
    update([], { session: { session_id: ID, status: "failed", state: "failed: exit 7" } }),
    0,
  );
  assert.equal(store.sessions.get(ID).row.state, "failed: exit 7");
  assert.equal(store.sessions.get(ID).row.task, "T");
  assert.deepEqual(transitions, [{ id: ID, status: "failed" }]);
});

test("the first word of a session is no transition", () => {
  assert.deepEqual(applyMessage(createStore(), update([], { snapshot: true }), 0).transitions, []);
});

test("events move the cursor, and a frame that came already does nothing", () => {
  const store = started();
  const frame = {
    type: "events",
    session_id: ID,
    from: 10,
    to: 30,
    events: [{ ts: 1, type: "message", from: "queen", to: "w1", text: "" }],
  };
  const changes = applyMessage(store, frame, 0);
  assert.equal(store.sessions.get(ID).cursor, 30);
  assert.deepEqual(changes.pulses, [{ session: ID, from: "queen", to: "w1" }]);
  assert.equal(store.sessions.get(ID).links.get("queen>w1"), 1);
  assert.deepEqual(applyMessage(store, frame, 0).events, []);
  assert.equal(store.sessions.get(ID).links.get("queen>w1"), 1);
});

test("a cursor never runs ahead of the events: a later snapshot does not move it", () => {
  const store = started();
  applyMessage(store, update([], { snapshot: true, cursor: 500 }), 0);
  assert.deepEqual(resumeCursors(store), { [ID]: 10 });
});

test("a gap is handed on, and streaming goes on behind it", () => {
  const store = started();
  const gap = { type: "gap", session_id: ID, from: 10, to: 90 };
  assert.deepEqual(applyMessage(store, gap, 0).gaps, [gap]);
  assert.equal(store.sessions.get(ID).cursor, 90);
});

test("cursors to go on from are those of what runs, and of what is looked at", () => {
  const store = started();
  applyMessage(
    store,
    {
      ...update([]),
      session_id: OTHER,
      cursor: 70,
      snapshot: true,
      session: { session_id: OTHER, status: "completed" },
    },
    0,
  );
  assert.deepEqual(resumeCursors(store), { [ID]: 10 });
  assert.deepEqual(resumeCursors(store, [OTHER]), { [ID]: 10, [OTHER]: 70 });
});

test("sessions that are gone go, whether told or no longer listed", () => {
  const store = started();
  applyMessage(store, { type: "session_removed", session_id: ID }, 0);
  assert.equal(store.sessions.size, 0);
  applyRows(store, [
    { session_id: ID, status: "running" },
    { session_id: OTHER, status: "created" },
  ]);
  applyRows(store, [{ session_id: OTHER, status: "created" }]);
  assert.deepEqual([...store.sessions.keys()], [OTHER]);
});

test("a new attempt begins without agents", () => {
  const store = started();
  applyMessage(store, update([agent("queen")], { session: { session_id: ID, status: "starting", attempt: 2 } }), 0);
  assert.deepEqual([...store.sessions.get(ID).agents.keys()], ["queen"]);
});

test("tokens a minute are those of the last minute", () => {
  const store = started();
  const at = (tokens, now) =>
    applyMessage(store, update([], { session: { session_id: ID, status: "running", tokens } }), now);
  at(110, 1000);
  at(160, 50_000);
  assert.equal(tokenRate(store, 55_000), 150);
  assert.equal(tokenRate(store, 70_000), 50);
  assert.equal(tokenRate(store, 200_000), 0);
});

test("connections come from topology, once, with bare ids", () => {
  const store = started();
  const changes = [
    { action: "connection_established", from: `${ID}/w1`, to: `${ID}/queen`, connection_type: "message" },
    { action: "agent_spawned", agent_id: `${ID}/w2`, parent_id: `${ID}/queen` },
  ];
  applyMessage(store, { type: "topology_change", session_id: ID, changes }, 0);
  applyMessage(store, { type: "topology_change", session_id: ID, changes }, 0);
  assert.deepEqual([...store.sessions.get(ID).links], [["w1>queen", 0]]);
});

test("what it does not know changes nothing", () => {
  for (const message of [{ type: "of_tomorrow" }, {}, null, { type: "topology_change", session_id: "none" }]) {
    assert.equal(applyMessage(createStore(), message, 0).sessions.size, 0);
  }
});

test("events begin where the acknowledgement says, though the snapshot is newer", () => {
  const store = createStore();
  applyMessage(store, { type: "subscribed", cursors: { [ID]: 5 } }, 0);
  applyMessage(store, update([agent("queen")], { snapshot: true, cursor: 10 }), 0);
  const frame = { type: "events", session_id: ID, from: 5, to: 10, events: [] };
  assert.deepEqual(applyMessage(store, frame, 0).events, [frame]);
});

test("a file that is shorter than what was read of it is another one", () => {
  const store = started();
  assert.deepEqual(applyMessage(store, { type: "subscribed", cursors: { [ID]: 10 } }, 0).restarted, []);
  assert.deepEqual(applyMessage(store, { type: "subscribed", cursors: { [ID]: 3 } }, 0).restarted, [ID]);
  assert.equal(store.sessions.get(ID).cursor, 3);
});
