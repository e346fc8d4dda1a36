import assert from "node:assert/strict";
import test from "node:test";

import { logWords } from "../../ws_relay/page/js/logwords.js";

const NAMES = { toolu_01: "coder" };
const words = (line) => logWords(typeof line === "string" ? line : JSON.stringify(line), (id) => NAMES[id] ?? "");
const assistant = (content, more = {}) => ({ type: "assistant", message: { role: "assistant", content }, ...more });
const user = (content, more = {}) => ({ type: "user", message: { role: "user", content }, ...more });

test("lines that are no stream-json stay as they are, and blank ones are left out", () => {
  assert.deepEqual(words("[SESSION-MGR] Starting"), [{ who: "", text: "[SESSION-MGR] Starting", mark: null }]);
  for (const line of ['{"a": 1}', "{broken", '{"type": 7}', "{}"]) assert.equal(words(line)[0].text, line);
  assert.deepEqual(words("   "), []);
});

test("what agents say and use is told with their names", () => {
  assert.deepEqual(words(assistant([{ type: "text", text: "The plan." }])), [{ who: "queen", text: "The plan.", mark: null }]);
  const uses = { type: "tool_use", name: "Read", input: { file_path: "/home/x/src/importer.py", limit: 3 } };
  assert.deepEqual(words(assistant([uses], { parent_tool_use_id: "toolu_01" })), [
    { who: "coder", text: "uses Read: src/importer.py", mark: null },
  ]);
  const deep = { type: "tool_use", name: "Edit", input: { file_path: `/ws/${"d".repeat(36)}/README.md` } };
  assert.equal(words(assistant([deep]))[0].text, "uses Edit: README.md");
  const unknown = words(assistant([{ type: "tool_use", name: "Bash", input: {} }], { parent_tool_use_id: "x", subagent_type: "tester" }));
  assert.deepEqual(unknown, [{ who: "tester", text: "uses Bash", mark: null }]);
});

test("one line may say more than one thing", () => {
  const said = words(assistant([{ type: "thinking", thinking: "Hm." }, { type: "text", text: "Yes." }, { type: "new" }, null]));
  assert.deepEqual(said.map(({ text }) => text), ["thinks: Hm.", "Yes."]);
});

test("a sub-agent's answer is told without what is meant for programs", () => {
  const content = [{ type: "text", text: "All done." }, { type: "text", text: "agentId: a1b2\n<usage>tokens: 3\ntool_uses: 1</usage>" }];
  assert.equal(words(user([{ type: "tool_result", content }]))[0].text, "→ All done.");
});

test("errors and ends are marked", () => {
  assert.equal(words(user([{ type: "tool_result", content: "no such file", is_error: true }]))[0].mark, "failed");
  assert.deepEqual(words({ type: "result", is_error: true, subtype: "error_max_turns" }), [
    { who: "result", text: "error max turns", mark: "failed" },
  ]);
  assert.equal(words({ type: "result", is_error: false, result: "Done." })[0].mark, "done");
});

test("what only programs need is not told, and unknown types by their name", () => {
  assert.deepEqual(words({ type: "system", subtype: "task_progress" }), []);
  assert.deepEqual(words({ type: "system", subtype: "task_notification", status: "completed", tool_use_id: "toolu_01" }), []);
  assert.deepEqual(words({ type: "assistant" }), []);
  assert.equal(words({ type: "rate_limit_event" })[0].text, "rate limit event");
});

test("long texts are cut", () => {
  assert.equal(words(assistant([{ type: "text", text: "x".repeat(5000) }]))[0].text.length, 400);
});
