import assert from "node:assert/strict";
import test from "node:test";

import { applyEvent, emptyHive } from "../../ws_relay/page/js/fold.js";
import { Recording } from "../../ws_relay/page/js/recording.js";
import { spanOf, stepFrom } from "../../ws_relay/page/js/moment.js";
import { seriesOf, polyline } from "../../ws_relay/page/js/series.js";
import { folded, SMALL_HIVE, spawned, usage } from "./events.mjs";

test("pieces are added in order; what is known is left out, and a hole is said", () => {
  const recording = new Recording();
  assert.equal(recording.add(0, 100, SMALL_HIVE.slice(0, 3)), "added");
  assert.equal(recording.add(0, 100, SMALL_HIVE.slice(0, 3)), "known");
  assert.equal(recording.add(150, 200, SMALL_HIVE.slice(5)), "hole");
  assert.equal(recording.add(50, 150, SMALL_HIVE.slice(2, 5)), "hole");
  assert.equal(recording.add(100, 200, SMALL_HIVE.slice(3)), "added");
  assert.equal(recording.events.length, SMALL_HIVE.length);
  assert.deepEqual(recording.span, [1000, 2100]);
});

test("the hive at a moment is what the events up to it make, whatever was looked at before", () => {
  const recording = new Recording();
  recording.add(0, 1, SMALL_HIVE);
  for (const moment of [2100, 1000, 1650, 999, 1650, 5000]) {
    const before = SMALL_HIVE.filter(({ ts }) => ts <= moment);
    assert.deepEqual(recording.hiveAt(moment), folded(emptyHive, applyEvent, before));
  }
});

test("jumping about in a long recording gives the same as folding from its start", () => {
  const events = [
    spawned(0, "queen", null, "queen"),
    ...Array.from({ length: 9000 }, (_, index) => usage(index, "queen", index + 1)),
  ];
  const recording = new Recording();
  recording.add(0, 1, events);
  for (const moment of [8999, 10, 4500, 4499, 2000, 8999])
    assert.equal(recording.hiveAt(moment).agents.queen.tokens, moment + 1);
});

test("a clock that was set back does not turn the order of the file", () => {
  const recording = new Recording();
  recording.add(0, 1, [spawned(500, "queen", null, "queen"), usage(100, "queen", 7)]);
  assert.equal(recording.countAt(400), 0);
  assert.equal(recording.hiveAt(500).agents.queen.tokens, 7);
});

test("steps go to the nearest moment on either side", () => {
  assert.equal(stepFrom([1, 5, 9], 5, 1), 9);
  assert.equal(stepFrom([1, 5, 9], 5, -1), 1);
  assert.equal(stepFrom([1, 5, 9], 9, 1), null);
  assert.equal(stepFrom([], 9, -1), null);
});

test("the time line spans from the first birth to the last end, or to now", () => {
  const ended = { row: { status: "completed", created: "1970-01-01T00:00:10Z", ended: "1970-01-01T00:00:20Z" } };
  const live = { row: { status: "running", created: "1970-01-01T00:00:15Z" } };
  assert.deepEqual(spanOf([ended], 99_000), [10_000, 20_000]);
  assert.deepEqual(spanOf([ended, live], 99_000), [10_000, 99_000]);
  assert.equal(spanOf([], 99_000), null);
});

test("curves show percent of a core, carried on between samples", () => {
  const sample = (ts, cpu_ms) => ({ ts, type: "resources", cpu_ms, rss_bytes: 1000, processes: 1 });
  const { cpu, memory, tokens } = seriesOf(
    [sample(0, 0), sample(45_000, 22_500), usage(60_000, "q", 600), usage(61_000, "q", 600)],
    0,
    90_000,
  );
  assert.equal(cpu[45], 50);
  assert.equal(cpu.at(-1), 50);
  assert.equal(memory[10], 1000);
  assert.equal(tokens[58], undefined);
  assert.deepEqual(tokens.slice(59), new Array(31).fill(600));
});

test("tokens a minute are those of the last minute, and unknown before the first", () => {
  const { tokens } = seriesOf([usage(0, "q", 100), usage(10_000, "w", 50), usage(80_000, "q", 400)], 0, 90_000);
  assert.deepEqual([tokens[0], tokens[9], tokens[59], tokens[61], tokens[79], tokens[89]], [100, 150, 150, 50, 300, 300]);
  assert.equal(seriesOf([], 0, 90_000).tokens.at(-1), undefined);
});

test("a curve needs two values", () => {
  assert.equal(polyline([null, 3], 10, 10), "");
  assert.equal(polyline([0, 5], 10, 10), "0.0,9.0 10.0,1.0");
});
