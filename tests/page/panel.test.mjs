import assert from "node:assert/strict";
import test from "node:test";

import { endFacts, reasonOf } from "../../ws_relay/page/js/failure.js";
import { excerpt } from "../../ws_relay/page/js/format.js";
import { isEcho, isTold } from "../../ws_relay/page/js/story.js";
import { missingWords } from "../../ws_relay/page/js/missing.js";
import { nextTab } from "../../ws_relay/page/js/tabs.js";
import { parentOf, partners } from "../../ws_relay/page/js/agents.js";
import { partsOf } from "../../ws_relay/page/js/rows.js";
import { ratePerMinute, totalsOf } from "../../ws_relay/page/js/topbar.js";
import { SMALL_HIVE } from "./events.mjs";

test("the end of a session is told once, and its answer once", () => {
  const end = [
    { ts: 1, type: "result", agent: "queen", is_error: false, text: "All done." },
    { ts: 1, type: "agent_status", agent: "queen", status: "done" },
    { ts: 1, type: "agent_ended", agent: "queen", status: "done", summary: "All done." },
    { ts: 1, type: "tap_ended" },
    { ts: 2, type: "session", status: "completed" },
  ];
  const told = end.filter((event, index) => isTold(event) && !isEcho(end, index));
  assert.deepEqual(told.map(({ type }) => type), ["result", "session"]);
});

test("a queen that ended without a result is told", () => {
  const end = [{ ts: 1, type: "agent_ended", agent: "queen", status: "failed", summary: "no result" }];
  assert.equal(isEcho(end, 0), false);
});

test("an agent's last word is told once, another message is kept", () => {
  const answer = { ts: 1, type: "message", from: "w1", to: "queen", text: "Done. And more of it." };
  const ended = { ts: 1, type: "agent_ended", agent: "w1", status: "done", summary: "Done." };
  assert.equal(isEcho([answer, ended], 0), true);
  assert.equal(isEcho([{ ...answer, text: "Halfway." }, ended], 0), false);
  assert.equal(isEcho([{ ...answer, from: "w2" }, ended], 0), false);
  assert.equal(SMALL_HIVE.some((event, index) => isEcho(SMALL_HIVE, index)), false);
});

test("arrows walk the tabs round, Home and End go to the first and the last", () => {
  assert.deepEqual([nextTab("ArrowRight", 2, 3), nextTab("ArrowLeft", 0, 3)], [0, 2]);
  assert.deepEqual([nextTab("Home", 2, 3), nextTab("End", 0, 3), nextTab("j", 0, 3)], [0, 2, null]);
});

test("a session that cannot be shown is explained once the relay has answered", () => {
  assert.match(missingWords("x", false, null), /no session x.*created/);
  assert.match(missingWords("x", true, 1000), /had not begun at \d\d:/);
  assert.equal(missingWords("x", null, null), "");
  assert.equal(missingWords("x", true, null), "");
});

test("a rate is not told before it is known", () => {
  assert.equal(ratePerMinute(500, 9_999), null);
  assert.equal(ratePerMinute(500, 30_000), 1000);
  assert.equal(ratePerMinute(500, 3_600_000), 500);
});

test("today's cost is what is known of it, or nothing", () => {
  const now = Date.now();
  const row = (more) => ({ row: { status: "running", active_agents: 1, ...more } });
  assert.equal(totalsOf([row({ cost_usd: null })], now).today, null);
  assert.equal(totalsOf([row({ cost_usd: null }), row({ cost_usd: 0.5 })], now).today, 0.5);
});

test("a failure is explained by whoever said why", () => {
  const agents = new Map([["queen", { summary: "gave no result" }]]);
  assert.equal(reasonOf({ row: { detail: "no room", result: { text: "x" } }, agents }), "no room");
  assert.equal(reasonOf({ row: { detail: null, result: { text: "x" } }, agents }), "x");
  assert.equal(reasonOf({ row: {}, agents }), "gave no result");
  assert.equal(endFacts({ state: "failed: exit 7", exit_code: 7 }), "");
  assert.equal(endFacts({ state: "failed: timeout", exit_code: 124, signal: "TERM" }), "exit code 124, signal TERM");
});

test("an excerpt keeps its lines and says that there is more", () => {
  assert.equal(excerpt("one\ntwo", 20), "one\ntwo");
  assert.equal(excerpt("one two three", 8), "one two…");
  assert.equal(excerpt(null, 8), "");
});

test("an agent's card names who called it and whom it speaks with", () => {
  const queen = { agent: "queen", role: "queen" };
  const coder = { agent: "w1", name: "coder", parent_id: "S/queen" };
  const session = { agents: new Map([["queen", queen], ["w1", coder]]), links: new Map([["queen>w1", 2], ["w1>gone", 1]]) };
  assert.equal(parentOf(session, coder), queen);
  assert.equal(parentOf(session, queen), undefined);
  assert.deepEqual([...partners(session)], [["queen", ["coder (2)"]]]);
});

test("of a table only the rows in sight and those asked for are drawn, and gaps keep the room of the others", () => {
  assert.deepEqual(partsOf(3, [0, 40], []), [{ at: 0 }, { at: 1 }, { at: 2 }]);
  assert.deepEqual(partsOf(100, [-3, 2], [50]), [
    { at: 0 }, { at: 1 }, { at: 2, rows: 48 }, { at: 50 }, { at: 51, rows: 49 },
  ]);
  assert.deepEqual(partsOf(100, [97, 130], [98, 0]), [{ at: 0 }, { at: 1, rows: 96 }, { at: 97 }, { at: 98 }, { at: 99 }]);
  assert.deepEqual(partsOf(5, [70, 90], []), [{ at: 0, rows: 5 }]);
  assert.deepEqual(partsOf(0, [0, 40], []), []);
});
