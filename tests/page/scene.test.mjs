import assert from "node:assert/strict";
import test from "node:test";

import { linkAlpha, nodeRadius, Scene } from "../../ws_relay/page/js/scene.js";
import { ID } from "./events.mjs";

const OTHER = "00000000-0000-4000-8000-00000000000b";

function agent(name, parent, more = {}) {
  const role = parent ? "worker" : "queen";
  const known = { agent: name, parent_id: parent && `${ID}/${parent}`, role, status: "working", tokens: 0, ...more };
  return [name, known];
}

function hive(more = []) {
  const agents = new Map([agent("queen", null), agent("a", "queen"), agent("b", "queen"), ...more]);
  return { row: { session_id: ID, status: "running", task: "Build" }, agents, links: new Map() };
}

const empty = { row: { session_id: OTHER, status: "created" }, agents: new Map(), links: new Map() };
const kinds = (scene) => scene.links.map(({ kind }) => kind);
const nodeOf = (scene, name) => scene.nodes.find((node) => node.agent === name);

test("a scene links parents, and whoever speaks with each other once, whether one called the other or not", () => {
  const session = hive();
  session.links = new Map(["queen>a", "a>queen", "a>b", "a>gone", "a>a"].map((link) => [link, 1]));
  const scene = new Scene();
  scene.update([session]);
  assert.deepEqual(kinds(scene), ["parent", "parent", "message", "message"]);
});

test("a session whose agents are not known is a queen alone, in the middle of her circle", () => {
  const scene = new Scene();
  scene.update([hive(), empty]);
  assert.equal(scene.nodes.length, 4);
  const { mark, agent: of, x, y } = scene.nodes[3];
  assert.deepEqual({ mark, of }, { mark: "waiting", of: null });
  assert.deepEqual({ x, y }, { x: scene.circles[1].x, y: scene.circles[1].y });
});

test("what did not change makes no work", () => {
  const scene = new Scene();
  const session = hive();
  assert.deepEqual(scene.update([session, empty]), { moved: true, changed: true, told: true });
  assert.deepEqual(scene.update([session, empty]), { moved: false, changed: false, told: false });
});

test("a tool changes words, a status colours, an agent places; those who were there stay the same nodes", () => {
  const scene = new Scene();
  const session = hive();
  scene.update([session]);
  const before = [...scene.nodes];
  session.agents.set(...agent("a", "queen", { tool: "Bash" }));
  assert.deepEqual(scene.update([session]), { moved: false, changed: false, told: true });
  assert.equal(nodeOf(scene, "a").tool, "Bash");
  session.agents.set(...agent("a", "queen", { status: "done", tool: "Bash" }));
  assert.deepEqual(scene.update([session]), { moved: false, changed: true, told: true });
  assert.deepEqual([nodeOf(scene, "a").mark, nodeOf(scene, "a").tool], ["done", null]);
  session.agents.set(...agent("c", "queen"));
  assert.equal(scene.update([session]).moved, true);
  assert.ok(before.every((node, index) => node === scene.nodes[index]));
});

test("who comes later comes out of the middle, and is bound for a place of its own", () => {
  const scene = new Scene();
  const session = hive();
  scene.update([session]);
  session.agents.set(...agent("c", "queen"));
  scene.update([session]);
  const { x, y, goes } = nodeOf(scene, "c");
  const { x: left, y: top } = scene.middles.get(ID);
  assert.deepEqual([x, y], [left, top]);
  assert.ok(Math.hypot(goes.x - left, goes.y - top) > 30);
});

test("the end of a session is seen on its circle and on its nodes", () => {
  const scene = new Scene();
  const session = hive();
  scene.update([session]);
  session.row = { ...session.row, status: "failed" };
  assert.deepEqual(scene.update([session]), { moved: false, changed: false, told: true });
  assert.equal(scene.circles[0].mark, "failed");
  assert.ok(scene.nodes.every(({ of }) => of === "failed"));
});

test("a session that goes takes its nodes with it", () => {
  const scene = new Scene();
  const session = hive();
  scene.update([session, empty]);
  assert.equal(scene.update([session]).moved, true);
  assert.deepEqual([scene.nodes.length, scene.circles.length], [3, 1]);
  assert.equal(scene.update([]).moved, true);
  assert.equal(scene.nodes.length, 0);
});

test("size tells the role first, then the tokens", () => {
  assert.ok(nodeRadius("worker", 1e6) > nodeRadius("worker", 0));
  assert.ok(nodeRadius("worker", 1e12) <= nodeRadius("queen", 0));
});

test("the more links, the fainter, but never gone", () => {
  const alpha = (count) => linkAlpha({ length: count });
  assert.equal(alpha(10), 1);
  assert.ok(alpha(1000) < 0.3 && alpha(1e6) > 0.1);
});
