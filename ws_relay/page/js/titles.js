// The titles of sessions over their circles: in one line, in two, or cut, as there is room.

import { roomAbove } from "./boxes.js";
import { colours } from "./theme.js";
import { fitted, FONT, inTwo, widthOf, write } from "./text.js";
import { GLYPHS } from "./words.js";

const SMALLEST = 17; // radius of a circle in pixels from which it gets a title unasked
const LARGE = 60; // from here on in larger letters
const TWO_LINES = 46; // from here on in two lines where one is short; smaller circles have it on their rim in a crowd
const MOST_WIDE = 300; // pixels of a line over a small circle
const CROWDED = 0.62; // pixels a unit: in a smaller picture titles are no wider than their circles
const RIM = 30; // of the picture: so far from a circle's rim there are no agents, and in a crowd titles may lie
const EDGE = 6;
const RANK = { failed: 1, starting: 2, running: 2 };
const CALM = new Set(["done", "waiting", "unknown"]);

/**
 * Write the titles of the circles {x, y, r, circle, chosen} on the screen; the open one's and those that failed come
 * first, then what runs, then the larger ones.
 */
export function paintTitles(seen, circles) {
  const crowded = seen.scale < CROWDED;
  const solid = crowded ? circles.map((each) => ({ ...each, r: each.r - RIM * seen.scale })) : circles;
  const asked = circles
    .map((each, index) => ({ ...each, self: solid[index], rank: each.chosen ? 0 : (RANK[each.circle.mark] ?? 3) }))
    .filter(({ x, y, r, chosen }) => (chosen || r >= SMALLEST) && isInSight(seen, x, y, r));
  asked.sort((one, other) => one.rank - other.rank || other.r - one.r);
  // First each has its narrow place, then whoever is cut there may reach out to where nobody else is.
  for (const each of asked) each.found = placed(seen, each, solid, Math.max(2.4 * each.r, 70), crowded);
  for (const each of asked) {
    if (each.found?.whole || (crowded && !each.chosen)) continue;
    const around = crowded ? [] : solid; // the open session's, which is written over its neighbours
    each.found = placed(seen, each, around, Math.max(5 * each.r, MOST_WIDE), crowded) ?? each.found;
  }
  for (const each of asked) if (each.found) put(seen.context, each);
}

function isInSight({ width, height }, x, y, r) {
  return x + r > 0 && x - r < width && y + r > 0 && y - r < height;
}

/** How a title fits into `most` pixels: {font, lead, lines, whole, box, step}, taken; null where it does not. */
function placed(seen, each, solid, most, crowded) {
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

function put(context, { circle: { mark }, chosen, found: { font, lead, lines, box, step } }) {
  const [left, top] = box;
  const words = mark === "failed" ? colours.failed : CALM.has(mark) && !chosen ? colours.quiet : colours.text;
  write(context, font, `${GLYPHS[mark]} `, left, top + step - 2, colours[mark]);
  lines.forEach((line, index) => write(context, font, line, left + lead, top + step - 2 + index * step, words));
}
