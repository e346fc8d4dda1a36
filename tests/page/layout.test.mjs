import assert from "node:assert/strict";
import test from "node:test";

import { layoutSession, packSessions } from "../../ws_relay/page/js/layout.js";

function hive(workers, more = []) {
  return [
    { agent: "queen", parent: null, role: "queen" },
    ...Array.from({ length: workers }, (_, index) => ({ agent: `w${index}`, parent: "queen", role: "worker" })),
    ...more,
  ];
}

function nearest(places) {
  const all = [...places.values()];
  return Math.min(
    ...all.flatMap((one, index) => all.slice(index + 1).map((other) => Math.hypot(one.x - other.x, one.y - other.y))),
  );
}

test("the queen stands in the middle, and no two agents on one place", () => {
  for (const workers of [1, 2, 7, 18, 19, 60, 400]) {
    const { places, radius } = layoutSession(hive(workers));
    assert.deepEqual(places.get("queen"), { x: 0, y: 0 });
    assert.equal(places.size, workers + 1);
    assert.ok(nearest(places) > 30, `${workers} workers stand ${nearest(places)} apart`);
    for (const { x, y } of places.values()) assert.ok(Math.hypot(x, y) < radius);
  }
});

test("a thousand workers fill a disc, not a ring", () => {
  assert.ok(layoutSession(hive(1000)).radius < 1200);
});

test("every agent gets a place: unknown parents, circles, no queen, nobody", () => {
  const odd = [
    { agent: "a", parent: "b", role: "worker" },
    { agent: "b", parent: "a", role: "worker" },
    { agent: "c", parent: "gone", role: "worker" },
    { agent: "d", parent: "d", role: "worker" },
  ];
  const { places } = layoutSession(odd);
  assert.ok(places.has("a") && places.has("c") && places.has("d"));
  assert.equal(layoutSession([]).places.size, 0);
});

test("sub-agents stand outside of their parent", () => {
  const { places } = layoutSession(hive(4, [{ agent: "s", parent: "w1", role: "subagent" }]));
  const away = ({ x, y }) => Math.hypot(x, y);
  assert.ok(away(places.get("s")) > away(places.get("w1")));
});

test("circles of sessions do not lie over each other", () => {
  const circles = Array.from({ length: 40 }, (_, index) => ({ id: String(index), radius: 60 + ((index * 37) % 150) }));
  const middles = packSessions(circles);
  for (const one of circles) {
    for (const other of circles) {
      if (one === other) continue;
      const [a, b] = [middles.get(one.id), middles.get(other.id)];
      assert.ok(Math.hypot(a.x - b.x, a.y - b.y) >= one.radius + other.radius);
    }
  }
});

test("a session that comes or goes moves nobody else", () => {
  const circles = Array.from({ length: 8 }, (_, index) => ({ id: String(index), radius: 100 }));
  const before = packSessions(circles);
  const after = packSessions([...circles.slice(1), { id: "new", radius: 100 }], before);
  for (const { id } of circles.slice(1)) assert.deepEqual(after.get(id), before.get(id));
});

test("the same sessions give the same picture", () => {
  const circles = [
    { id: "a", radius: 90 },
    { id: "b", radius: 200 },
    { id: "c", radius: 120 },
  ];
  assert.deepEqual(packSessions(circles), packSessions(circles));
});
