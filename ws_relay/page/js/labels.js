// The words in the graph: the names of agents, each with the tool that it uses, and the titles of sessions over their
// circles: in one line, in two, or cut, as there is room.

import { roomAbove } from "./shapes.js";
import { colours } from "./theme.js";
import { fitted, FONT, inTwo, widthOf, write } from "./text.js";
import { GLYPHS } from "./words.js";

const NAMES_FROM = 0.42; // pixels a unit of the picture from which names are written
const SUBAGENTS_FROM = 1.1;
const PILL = 5; // pixels around a tool's name

const SMALLEST = 17; // radius of a circle in pixels from which it gets a title unasked
const LARGE = 60; // from here on in larger letters
const TWO_LINES = 46; // from here on in two lines where one is short; smaller circles have it on their rim in a crowd
const MOST_WIDE = 300; // pixels of a line over a small circle
const CROWDED = 0.62; // pixels a unit: in a smaller picture titles are no wider than their circles
const RIM = 30; // of the picture: so far from a circle's rim there are no agents, and in a crowd titles may lie
const EDGE = 6;
const RANK = { failed: 1, starting: 2, running: 2 };
const CALM = new Set(["done", "waiting", "unknown"]);

// -- names -------------------------------------------------------------------------------------------------------

/**
 * Write the names of agents {node, x, y, r, hull} on the screen, each with the tool that it uses; `asked` tells whose
 * come first.
 */
export function paintNames(seen, shown, asked) {
  if (seen.scale < NAMES_FROM) {
    for (const each of shown) if (asked(each.node)) paintName(seen, each, true);
    return;
  }
  const order = [...shown].sort((one, other) => first(other.node, asked) - first(one.node, asked));
  for (const each of order) paintName(seen, each, asked(each.node));
}

function first(node, asked) {
  if (asked(node)) return 3;
  return node.role === "subagent" ? 0 : node.tool ? 2 : 1;
}

function paintName(seen, { node, x, y, r, hull }, asked) {
  if (!node.name || (node.role === "subagent" && seen.scale < SUBAGENTS_FROM && !asked)) return;
  const { context, scale } = seen;
  const size = scale > 1.4 ? 13 : 11;
  const font = `${node.role === "queen" ? 600 : 400} ${size}px ${FONT}`;
  const small = `500 ${size - 1}px ${FONT}`;
  const rim = 5 + (asked ? r + Math.max(6, 0.55 * r) : node.role === "queen" ? 1.32 * r + 2 : r);
  const line = size + 3;
  const wide = widthOf(context, font, node.name);
  const pill = node.tool ? widthOf(context, small, node.tool) + 2 * PILL : 0;
  const place = (width, height) => placeBeside(seen, node, x, y, rim, width, height, hull, asked);
  const found = (pill && place(Math.max(wide, pill), 2 * line + 2)) || place(wide, line);
  if (!found) return;
  const { side, box } = found;
  seen.taken.add(box);
  const leftOf = (width) => (side === "left" ? box[0] + box[2] - width : side === "right" ? box[0] : x - width / 2);
  const bright = asked || node.mark !== "done";
  write(context, font, node.name, leftOf(wide), box[1] + size, bright ? colours.text : colours.quiet);
  if (box[3] > line) paintTool(context, small, node.tool, leftOf(pill), box[1] + line, pill, size);
}

/** A tool in use: a label of its own under the name, gone when it is done. */
function paintTool(context, font, tool, left, top, width, size) {
  context.beginPath();
  context.roundRect(left, top, width, size + 4, 4);
  context.fillStyle = colours.ground;
  context.fill();
  context.fillStyle = colours.running;
  context.globalAlpha = 0.22;
  context.fill();
  context.globalAlpha = 1;
  context.font = font;
  context.fillStyle = colours.text;
  context.fillText(tool, left + PILL, top + size);
}

/** A free place beside a node: {side, box}, better within its session's circle than across its rim; or null. */
function placeBeside(seen, node, x, y, rim, width, height, hull, asked) {
  const places = sides(node).map((side) => ({ side, box: boxBeside(side, x, y, rim, width, height) }));
  const free = places.filter(({ box }) => seen.taken.isFree(box));
  return free.find(({ box }) => isWithin(box, hull)) ?? free[0] ?? (asked ? places[0] : null);
}

function sides({ role, out }) {
  if (role === "queen") return ["below", "above", "right", "left"];
  const across = out.x < -1 ? ["left", "right"] : ["right", "left"];
  const along = out.y < 0 ? ["above", "below"] : ["below", "above"];
  const sideways = Math.abs(out.x) > 1.6 * Math.abs(out.y);
  return sideways ? [...along, ...across] : [across[0], ...along, across[1]];
}

function boxBeside(side, x, y, rim, width, height) {
  if (side === "left") return [x - rim - width, y - height / 2, width, height];
  if (side === "right") return [x + rim, y - height / 2, width, height];
  return [x - width / 2, side === "above" ? y - rim - height + 2 : y + rim - 2, width, height];
}

function isWithin([left, top, width, height], hull) {
  if (!hull) return true;
  const away = (x, y) => Math.hypot(x - hull.x, y - hull.y);
  const right = left + width;
  const bottom = top + height;
  return Math.max(away(left, top), away(right, top), away(left, bottom), away(right, bottom)) < hull.r - 2;
}

// -- titles ------------------------------------------------------------------------------------------------------

/**
 * Write the titles of the circles {x, y, r, circle, chosen} on the screen; the open one's and those that failed come
 * first, then what runs, then the larger ones.
 */
export function paintTitles(seen, circles) {
  const crowded = seen.scale < CROWDED;
  const solid = crowded ? circles.map((each) => ({ ...each, r: each.r - RIM * seen.scale })) : circles;
  const asked = circles
    .map((each, index) => {
      const rank = each.chosen ? 0 : (RANK[each.circle.mark] ?? 3);
      return { ...each, own: each, self: solid[index], rank };
    })
    .filter(({ x, y, r, chosen }) => (chosen || r >= SMALLEST) && isInSight(seen, x, y, r));
  asked.sort((one, other) => one.rank - other.rank || other.r - one.r);
  // First each has its narrow place, then whoever is cut there may reach out to where nobody else is.
  for (const each of asked) each.found = placedTitle(seen, each, solid, Math.max(2.4 * each.r, 70), crowded);
  for (const each of asked) {
    if (each.found?.whole) continue;
    if (crowded) each.self = each.own;
    const around = crowded ? (each.chosen ? [] : circles) : solid; // the open session's is written over its neighbours
    each.found = placedTitle(seen, each, around, Math.max(5 * each.r, MOST_WIDE), crowded) ?? each.found;
  }
  for (const each of asked) if (each.found) putTitle(seen.context, each);
}

function isInSight({ width, height }, x, y, r) {
  return x + r > 0 && x - r < width && y + r > 0 && y - r < height;
}

/** How a title fits into `most` pixels: {font, lead, lines, whole, box, step}, taken; null where it does not. */
function placedTitle(seen, each, solid, most, crowded) {
  const { circle, chosen, y, r, found } = each;
  const size = r > LARGE ? 13 : 11;
  const font = `${CALM.has(circle.mark) && !chosen ? 500 : 600} ${size}px ${FONT}`;
  const lead = widthOf(seen.context, font, `${GLYPHS[circle.mark]} `);
  const base = Math.max(crowded && r < TWO_LINES ? y - r + 3 : y - r - 8, Math.min(y, size + 4));
  const step = size + 3;
  const { lines, middle } = linesOf(seen, each, solid, { font, lead, most, base, step });
  if (!lines.length) return null;
  const wide = lead + Math.max(...lines.map((line) => widthOf(seen.context, font, line)));
  const box = [middle - wide / 2, base - lines.length * step + 2, wide, lines.length * step + 2];
  if (!chosen && !seen.taken.isFree(box, found?.box)) return null;
  seen.taken.add(box);
  return { font, lead, lines, whole: lines[0] === circle.title, box, step };
}

/** The title in one line, or in two where it is narrow and there is height: {lines, middle}. */
function linesOf(seen, { circle: { title }, r, self }, solid, { font, lead, most, base, step }) {
  const one = lineOver(self, r, solid, base - step, base + 4, seen.width, most);
  const whole = fitted(seen.context, font, title, one.most - lead);
  const single = { lines: whole ? [whole] : [], middle: one.middle };
  if (whole === title || r < TWO_LINES || base < 2 * step) return single;
  const two = lineOver(self, r, solid, base - 2 * step, base + 4, seen.width, most);
  const lines = inTwo(seen.context, font, title, two.most - lead);
  return lines.join("").length > whole.length ? { lines, middle: two.middle } : single;
}

/** The widest line over a circle's middle, which moves to the side where the other one is taken. */
function lineOver(self, r, solid, top, bottom, width, wanted) {
  const { x } = self;
  const [left, right] = roomAbove(self, solid, top, bottom, width);
  const most = Math.min(wanted, right - left - 2 * EDGE, Math.max(2 * r, 2 * Math.min(x - left, right - x) - 2 * EDGE));
  return { most, middle: Math.min(Math.max(x, left + EDGE + most / 2), right - EDGE - most / 2) };
}

function putTitle(context, { circle: { mark }, chosen, found: { font, lead, lines, box, step } }) {
  const [left, top] = box;
  const words = mark === "failed" ? colours.failed : CALM.has(mark) && !chosen ? colours.quiet : colours.text;
  write(context, font, `${GLYPHS[mark]} `, left, top + step - 2, colours[mark]);
  lines.forEach((line, index) => write(context, font, line, left + lead, top + step - 2 + index * step, words));
}
