import assert from "node:assert/strict";
import test from "node:test";

import { Archive } from "../../ws_relay/page/js/archive.js";
import { SMALL_HIVE } from "./events.mjs";

const PIECE = { from: 0, to: 100, end: 100, events: SMALL_HIVE };

/** An archive, and what it asks for: {id, from, answer(piece)}. */
function asked() {
  const questions = [];
  const archive = new Archive(() => {}, (id, from) => new Promise((answer) => questions.push({ id, from, answer })));
  return { archive, questions };
}

/** Lets everything go on that can. */
const rest = () => new Promise((resolve) => setImmediate(resolve));

test("what is forgotten while it is read is not read on, and may be wanted again", async () => {
  const { archive, questions } = asked();
  const before = archive.want("one");
  archive.take({ session_id: "one", from: 100, to: 200, events: [] });
  archive.forget("one");
  const after = archive.want("one");
  await rest();
  assert.deepEqual(questions.map(({ id, from }) => [id, from]), [["one", 0]]);
  questions[0].answer(PIECE);
  await rest();
  assert.equal(before.events.length, 0);
  assert.deepEqual(questions.map(({ id, from }) => [id, from]), [["one", 0], ["one", 0]]);
  questions[1].answer(PIECE);
  await rest();
  assert.equal(after.events.length, SMALL_HIVE.length);
  assert.equal(archive.isReading("one"), false);
});

test("what is forgotten for good is not asked for again", async () => {
  const { archive, questions } = asked();
  for (const id of ["one", "two", "three", "four"]) archive.want(id); // the last of them waits
  archive.take({ session_id: "one", from: 100, to: 200, events: [] });
  archive.forget("one");
  archive.forget("four");
  for (const { answer } of questions) answer(PIECE);
  await rest();
  assert.deepEqual(questions.map(({ id }) => id), ["one", "two", "three"]);
  assert.equal(archive.get("one"), null);
  assert.equal(archive.isReading("four"), false);
});

test("what came live while a session was read is read after it", async () => {
  const { archive, questions } = asked();
  const recording = archive.want("one");
  archive.take({ session_id: "one", from: 100, to: 200, events: SMALL_HIVE });
  questions[0].answer(PIECE);
  await rest();
  assert.deepEqual([questions[1].id, questions[1].from], ["one", 100]);
  questions[1].answer({ from: 100, to: 200, end: 200, events: SMALL_HIVE });
  await rest();
  assert.equal(recording.to, 200);
});
