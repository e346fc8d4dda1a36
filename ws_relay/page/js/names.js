// The names of agents in the graph, each with the tool that it uses, where there is room for them.

import { colours } from "./theme.js";
import { FONT, widthOf, write } from "./text.js";

const FROM = 0.42; // pixels a unit of the picture from which names are written
const SUBAGENTS_FROM = 1.1;
const PILL = 5; // pixels around a tool's name

/**
 * Write the names of agents {node, x, y, r, hull} on the screen, each with the tool that it uses; `asked` tells whose
 * come first.
 */
export function paintNames(seen, shown, asked) {
  if (seen.scale < FROM) {
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
