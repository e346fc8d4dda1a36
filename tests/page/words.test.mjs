import assert from "node:assert/strict";
import test from "node:test";

import { ago, bytes, count, cut, duration, money } from "../../ws_relay/page/js/format.js";
import { activity, agentMark, describeEnd, sessionMark } from "../../ws_relay/page/js/words.js";
import { formatRoute, parseRoute } from "../../ws_relay/page/js/router.js";
import { keyAction } from "../../ws_relay/page/js/keyboard.js";
import { socketUrl, subprotocols, waitBefore } from "../../ws_relay/page/js/connection.js";
import { cameraFor, makeCamera, toPlane, toScreen, zoomAt } from "../../ws_relay/page/js/camera.js";
import { isTold, tell, timelineMark } from "../../ws_relay/page/js/story.js";
import { selectSessions } from "../../ws_relay/page/js/sessions.js";
import { ID, session } from "./events.mjs";

test("figures read like those of the terminal", () => {
  assert.deepEqual([0, 59_999, 60_000, 192_000, 7_500_000].map(duration), [
    "0 s",
    "59 s",
    "1 m 0 s",
    "3 m 12 s",
    "2 h 5 m",
  ]);
  assert.deepEqual([999, 12_400, 999_949, 999_950, 3_100_000].map(count), [
    "999",
    "12.4 k",
    "999.9 k",
    "1.0 M",
    "3.1 M",
  ]);
  assert.deepEqual([0, 0.042, 0.1, 1.27].map(money), ["$0.00", "$0.042", "$0.10", "$1.27"]);
  assert.deepEqual([512, 8_228_864, 3e9].map(bytes), ["512 B", "8.2 MB", "3.00 GB"]);
  for (const words of [duration, count, money, bytes]) assert.equal(words(null), "–");
});

test("times are relative below a day and dates above", () => {
  assert.equal(ago(1000, 193_000), "3 m 12 s ago");
  assert.match(ago(0, 86_400_001), /^19(70|69)-/);
});

test("text is cut to one line", () => {
  assert.equal(cut(" a\nb  c ", 10), "a b c");
  assert.equal(cut("abcdefgh", 5), "abcd…");
  assert.equal(cut(null, 5), "");
});

test("ends are told as the terminal tells them", () => {
  assert.equal(describeEnd({ status: "failed", reason: "exit", exit_code: 7 }), "failed: exit 7");
  assert.equal(describeEnd({ status: "failed", reason: "signal", signal: 9 }), "failed: signal 9");
  assert.equal(describeEnd({ status: "failed", reason: "spawn_error" }), "failed: spawn error");
  assert.equal(describeEnd({ status: "failed" }), "failed: unknown");
  assert.equal(describeEnd({ status: "created" }), "waiting");
});

test("every status has a mark, also one of tomorrow", () => {
  assert.deepEqual(["created", "starting", "running", "completed", "failed", "unreadable"].map(sessionMark), [
    "waiting",
    "starting",
    "running",
    "done",
    "failed",
    "unknown",
  ]);
  assert.deepEqual(["working", "waiting", "done", "failed", "new"].map(agentMark), [
    "running",
    "waiting",
    "done",
    "failed",
    "unknown",
  ]);
  assert.equal(activity({ status: "working", role: "queen" }), "planning");
  assert.equal(activity({ status: "working", role: "worker", tool: "Bash" }), "Bash");
});

test("the address holds the view, and what makes no sense in it is left out", () => {
  const view = { session: ID, agent: "toolu_01", moment: 1_795_345_042_001, view: "table" };
  assert.deepEqual(parseRoute(`#${formatRoute(view)}`), view);
  assert.equal(formatRoute({ session: null, agent: "x", moment: null, view: "graph" }), "");
  assert.deepEqual(parseRoute("#at=never&view=cube&agent=x"), {
    session: null,
    agent: null,
    moment: null,
    view: "graph",
  });
});

test("fields and buttons keep their keys", () => {
  assert.equal(keyAction("j", "page", false), "next");
  assert.equal(keyAction("j", "field", false), null);
  assert.equal(keyAction("Escape", "field", false), "back");
  assert.equal(keyAction(" ", "control", false), null);
  assert.equal(keyAction("t", "page", true), null);
});

test("waits grow, are spread, and have an end", () => {
  assert.equal(waitBefore(0, 0), 250);
  assert.equal(waitBefore(3, 0.5), 3000);
  assert.equal(waitBefore(60, 0.999), 14_993);
});

test("the socket is beside the page, and nothing of the page's own address goes along", () => {
  assert.equal(socketUrl("http://127.0.0.1:3002/?renderer=canvas#session=x"), "ws://127.0.0.1:3002/ws");
  assert.equal(socketUrl("https://hive.example/live/"), "wss://hive.example/live/ws");
});

test("the token goes as a subprotocol, escaped to what such a name may hold", () => {
  assert.deepEqual(subprotocols(""), []);
  assert.deepEqual(subprotocols("a&b (c)"), ["hive.telemetry", "bearer.a%26b%20%28c%29"]);
});

test("zooming keeps what is under the pointer, and a box is shown in the middle", () => {
  const camera = zoomAt({ ...makeCamera(), left: 40, top: 7 }, 1.7, 300, 200);
  assert.deepEqual(toScreen(camera, ...toPlane(camera, 300, 200)).map(Math.round), [300, 200]);
  const shown = cameraFor({ left: -10, right: 10, top: -10, bottom: 10 }, 400, 200, 100);
  assert.deepEqual(toScreen(shown, 0, 0), [200, 100]);
  assert.equal(shown.scale, 10);
});

test("events are told in a sentence with the names that people know", () => {
  const { who, text } = tell(
    { type: "agent_status", agent: "toolu_01", status: "working", tool: "Bash" },
    () => "coder",
  );
  assert.equal(`${who} ${text}`, "coder uses Bash");
  assert.equal(isTold({ type: "usage" }), false);
  assert.equal(timelineMark(session(1, "failed")), "failed");
  assert.equal(timelineMark({ type: "usage" }), null);
});

test("what runs is listed first, and search looks at all that is shown", () => {
  const entry = (id, row, agents = []) => [id, { row: { session_id: id, task: id, ...row }, agents: new Map(agents) }];
  const sessions = new Map([
    entry("old", { status: "completed", ended: "2026-01-01T00:00:00Z" }),
    entry("new", { status: "failed", ended: "2026-01-02T00:00:00Z", state: "failed: exit 7" }),
    entry("live", { status: "running", started: "2026-01-01T00:00:00Z", labels: { team: "core" } }, [
      ["w", { name: "tester", tool: "Bash" }],
    ]),
  ]);
  const ids = (filter, search) => selectSessions(sessions, { filter, search }).map(({ row }) => row.session_id);
  assert.deepEqual(ids("all", ""), ["live", "new", "old"]);
  assert.deepEqual(ids("failed", ""), ["new"]);
  assert.deepEqual(ids("all", "tester bash"), ["live"]);
  assert.deepEqual(ids("all", "team=core"), ["live"]);
  assert.deepEqual(ids("all", "EXIT 7"), ["new"]);
});
