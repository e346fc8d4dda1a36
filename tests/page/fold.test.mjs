import assert from "node:assert/strict";
import test from "node:test";

import { applyEvent, emptyHive, hiveCost, hiveTokens, hiveView, isEvent } from "../../ws_relay/page/js/fold.js";
import { folded, ID, session, SMALL_HIVE, spawned, usage, working } from "./events.mjs";

const fold = (events) => folded(emptyHive, applyEvent, events);

test("a small hive ends with its agents done and the totals of its result", () => {
  const hive = fold(SMALL_HIVE);
  assert.equal(hive.status, "completed");
  assert.deepEqual(
    Object.values(hive.agents).map(({ status }) => status),
    ["done", "done"],
  );
  assert.equal(hiveTokens(hive), 1000);
  assert.equal(hiveCost(hive), 0.05);
  assert.equal(hive.agents.w1.summary, "Done.");
  assert.deepEqual(hive.links, { "queen>w1": 1 });
});

test("what agents use after a result is added to what the result said", () => {
  const hive = fold([...SMALL_HIVE.slice(0, -1), usage(2050, "w1", 900)]);
  assert.equal(hiveTokens(hive), 1200);
});

test("a repeated event changes nothing, and figures only grow", () => {
  const once = fold(SMALL_HIVE.slice(0, 8));
  assert.deepEqual(
    fold([...SMALL_HIVE.slice(0, 8), usage(1810, "w1", 400), usage(1810, "w1", 500, { cost_usd: 0.01, tool_uses: 1 })]),
    { ...once, lastMs: 1810 },
  );
});

test("events from before the newest position in claude.jsonl were seen already", () => {
  const hive = fold([
    { ...spawned(1, "queen", null, "queen"), at: 50 },
    { ...usage(2, "queen", 10), at: 60 },
    { ...usage(3, "queen", 99), at: 55 },
  ]);
  assert.equal(hive.agents.queen.tokens, 10);
});

test("a new attempt has no agents, and keeps the totals of those before", () => {
  const hive = fold([...SMALL_HIVE, session(3000, "starting", { attempt: 2 })]);
  assert.deepEqual(hive.agents, {});
  assert.equal(hiveTokens(hive), 1000);
  assert.equal(hive.startedMs, 3000);
  assert.equal(hive.endedMs, null);
});

test("another conversation after the queen's end is another process", () => {
  const begin = (ts, conversation) => ({ ts, type: "claude_started", agent: "queen", conversation });
  const hive = fold([
    begin(1, "a"),
    usage(2, "queen", 100),
    { ts: 3, type: "agent_ended", agent: "queen", status: "failed" },
    begin(4, "b"),
    working(5, "queen"),
    usage(6, "queen", 30),
  ]);
  assert.equal(hiveTokens(hive), 130);
  assert.equal(hive.agents.queen.tokens, 30);
});

test("agents that were open when the session failed have failed, and stay so", () => {
  const hive = fold([
    session(1, "running"),
    spawned(2, "queen", null, "queen"),
    working(3, "queen", "Bash"),
    session(9, "failed", { reason: "exit", exit_code: 7 }),
    working(10, "queen"),
  ]);
  assert.equal(hive.agents.queen.status, "failed");
  assert.equal(hive.agents.queen.tool, null);
  assert.equal(hiveView(hive, { session_id: ID }).row.state, "failed: exit 7");
});

test("an agent that works again after its end was resumed", () => {
  const hive = fold([
    spawned(1, "w1", "queen", "worker"),
    { ts: 5, type: "agent_ended", agent: "w1", status: "done" },
    working(8, "w1"),
  ]);
  assert.equal(hive.agents.w1.endedMs, null);
  assert.equal(hive.agents.w1.status, "working");
});

test("what is no event is passed over, and unknown types are kept harmless", () => {
  const bad = [
    null,
    3,
    [],
    {},
    { ts: -1, type: "usage" },
    { ts: 1, type: "usage", agent: "x" },
    { ts: 1, type: "usage", agent: 5, tokens: 1 },
  ];
  for (const event of bad) assert.equal(isEvent(event), false);
  assert.equal(isEvent({ ts: 1, type: "of_tomorrow", anything: [1] }), true);
  assert.deepEqual(fold([...bad, { ts: 0, type: "of_tomorrow" }]), emptyHive());
});

test("an agent named like a part of every object is an agent like any other", () => {
  const hive = fold([spawned(1, "constructor", "queen", "worker"), usage(2, "constructor", 5)]);
  assert.equal(hive.agents.constructor.tokens, 5);
});

test("the view has the names that the relay uses", () => {
  const { row, agents } = hiveView(fold(SMALL_HIVE), { session_id: ID, task: "T" });
  assert.equal(row.task, "T");
  assert.equal(row.started, "1970-01-01T00:00:01.100Z");
  assert.equal(agents.get("w1").parent_id, `${ID}/queen`);
  assert.equal(agents.get("w1").agent_id, `${ID}/w1`);
  assert.equal(agents.get("queen").name, "queen");
});
