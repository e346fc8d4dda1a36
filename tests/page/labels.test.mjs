import assert from "node:assert/strict";
import test from "node:test";

import { arcBetween, pointOn } from "../../ws_relay/page/js/shapes.js";
import { Boxes, roomAbove } from "../../ws_relay/page/js/shapes.js";
import { paintNames, paintTitles } from "../../ws_relay/page/js/labels.js";
import { fitted, inTwo } from "../../ws_relay/page/js/text.js";
import { viewOf } from "../../ws_relay/page/js/camera.js";

const LETTER = 7; // pixels

/** A canvas that notes what is written: {text, x, y}. */
function paper() {
  const written = [];
  const nothing = () => {};
  return {
    written,
    measureText: (text) => ({ width: LETTER * text.length }),
    fillText: (text, x, y) => written.push({ text, x, y }),
    strokeText: nothing,
    beginPath: nothing,
    roundRect: nothing,
    fill: nothing,
  };
}

function look(scale) {
  return { context: paper(), width: 800, height: 600, taken: new Boxes(), ...viewOf({ scale, left: 0, top: 0 }) };
}

function circle(id, x, y, r, title, mark = "running", chosen = false) {
  return { x, y, r, chosen, circle: { id, mark, title } };
}

const titlesIn = ({ written }) => written.map(({ text }) => text).filter((text) => text.length > 2);

/** Boxes of all that was written, without the marks before titles. */
function meet(written, size) {
  const boxes = written.map(({ text, x, y }) => [x, y - size + 3, LETTER * text.length, size]);
  const reach = (one, two, axis) => one[axis] < two[axis] + two[axis + 2];
  const over = (one, two) => [0, 1].every((axis) => reach(one, two, axis) && reach(two, one, axis));
  return boxes.some((one, index) => boxes.slice(index + 1).some((two) => over(one, two)));
}

test("a place is free until a box lies there, across the cells of the grid too", () => {
  const boxes = new Boxes();
  boxes.add([-10, -10, 300, 20]);
  assert.equal(boxes.isFree([250, 5, 10, 10]), false);
  assert.equal(boxes.isFree([-90, -9, 81, 2]), false);
  assert.equal(boxes.isFree([290, -10, 10, 20]), true);
  assert.equal(boxes.isFree([0, 10, 10, 10]), true);
});

test("a line over a circle ends where another circle begins, or the picture", () => {
  const one = { x: 400, y: 300, r: 50 };
  assert.deepEqual(roomAbove(one, [one], 230, 245, 800), [0, 800]);
  const [left, right] = roomAbove(one, [one, { x: 200, y: 240, r: 60 }, { x: 520, y: 100, r: 40 }], 230, 245, 800);
  assert.deepEqual([Math.round(left), right], [260, 800]);
});

test("text is cut to what fits, and breaks between words", () => {
  const context = paper();
  assert.equal(fitted(context, "f", "Build the importer", 1000), "Build the importer");
  assert.equal(fitted(context, "f", "Build the importer", 10 * LETTER), "Build the…");
  assert.equal(fitted(context, "f", "Build the importer", 3 * LETTER), "");
  assert.deepEqual(inTwo(context, "f", "Build the importer", 10 * LETTER), ["Build the", "importer"]);
  assert.deepEqual(inTwo(context, "f", "Unbreakable-as-it-is", 5 * LETTER), []);
});

test("a title is whole where there is room", () => {
  const seen = look(1);
  const title = "Fix the login that forgets people";
  paintTitles(seen, [circle("a", 400, 300, 70, title)]);
  assert.deepEqual(titlesIn(seen.context), [title]);
});

test("between neighbours a title takes two lines, and lies over no other", () => {
  const seen = look(1);
  const titles = ["Fix the login that forgets people", "Migrate the database to the schema", "Write the release notes"];
  const circles = titles.map((title, index) => circle(String(index), 150 + 190 * index, 300, 80, title));
  paintTitles(seen, circles);
  assert.ok(seen.context.written.length >= 6);
  assert.equal(meet(seen.context.written, 13), false);
});

test("where not all titles fit, the open session and the failed ones have theirs", () => {
  const seen = look(0.4);
  const running = (_, index) => circle(`r${index}`, 300 + 8 * index, 300, 30, "Some running task");
  const failed = circle("f", 200, 302, 30, "One that failed", "failed");
  const open = circle("c", 500, 302, 30, "This one is open", "done", true);
  paintTitles(seen, [...Array.from({ length: 40 }, running), failed, open]);
  const shown = titlesIn(seen.context).join(" ");
  assert.match(shown, /One/);
  assert.match(shown, /This one is open/);
  assert.ok(titlesIn(seen.context).length < 20);
});

test("names lie over no other, and a tool goes with its agent's name", () => {
  const seen = look(1);
  const hull = { x: 300, y: 300, r: 200 };
  const shown = Array.from({ length: 9 }, (_, index) => {
    const out = index ? { x: 90 * Math.cos(index), y: 90 * Math.sin(index) } : { x: 0, y: 0 };
    const node = { name: index ? "researcher" : "queen", role: index ? "worker" : "queen", mark: "running", out };
    return { node: { ...node, tool: index === 3 ? "WebSearch" : null }, x: 300 + out.x, y: 300 + out.y, r: 9, hull };
  });
  paintNames(seen, shown, () => false);
  assert.ok(seen.context.written.some(({ text }) => text === "WebSearch"));
  assert.equal(meet(seen.context.written, 11), false);
});

test("messages between two agents take one arc, beside the straight line between them", () => {
  const view = viewOf({ scale: 1, left: 0, top: 0 });
  const [one, other] = [
    { key: "a", x: 0, y: 0, r: 10 },
    { key: "b", x: 100, y: 0, r: 10 },
  ];
  const there = arcBetween(view, one, other);
  const back = arcBetween(view, other, one);
  assert.ok(Math.abs(there.bend[1]) > 10);
  assert.deepEqual(pointOn(there, 0.5).map(Math.round), pointOn(back, 0.5).map(Math.round));
  assert.ok(Math.hypot(...there.start) > one.r);
});
