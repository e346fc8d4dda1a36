// What lies over the nodes: circles of the sessions, ways of messages, marks, the choice, and the words.

import { arcBetween, Boxes } from "./shapes.js";
import { h } from "./dom.js";
import { paintNames, paintTitles } from "./labels.js";
import { paintMark, traceNode } from "./marks.js";
import { colours } from "./theme.js";

const MOST_NAMES = 400; // with more nodes in sight nobody reads any
const MOST_ARCS = 400; // with more ways of messages in sight, those of what was asked for are enough
const QUEEN_RIM = 1.28; // radius of the queen's ring, in hers
const BEYOND = 80; // pixels around the screen where a node still has something in sight

export class Overlay {
  /** `scene()` gives {camera, nodes, links, circles, chosen: {session, key}, hovered}. */
  constructor(host, scene) {
    this.scene = scene;
    this.canvas = h("canvas", { class: "over" });
    this.size = { width: 0, height: 0 };
    host.append(this.canvas);
  }

  resize(width, height) {
    this.size = { width, height };
    this.canvas.width = Math.round(width * devicePixelRatio);
    this.canvas.height = Math.round(height * devicePixelRatio);
  }

  /** Draw with the next frame of the screen. */
  draw() {
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.#paint();
    });
  }

  #paint() {
    const { camera, nodes, links, circles, chosen, hovered } = this.scene();
    if (!camera) return;
    const context = this.canvas.getContext("2d");
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, this.size.width, this.size.height);
    const seen = { context, ...camera, ...this.size, taken: new Boxes() };
    const asked = (node) => node.key === chosen.key || node === hovered;
    const hulls = circles.map((circle) => onScreen(seen, circle, circle.id === chosen.session));
    for (const hull of hulls) paintHull(seen, hull);
    paintArcs(seen, nodes, links, asked);
    const byId = new Map(hulls.map((hull) => [hull.circle.id, hull]));
    const shown = nodes.map((node) => placed(seen, node, byId)).filter(Boolean);
    const crowded = shown.length > MOST_NAMES;
    for (const each of shown) paintNode(seen, each, crowded);
    for (const each of shown) if (asked(each.node)) paintChoice(seen, each, each.node.key === chosen.key);
    paintTitles(seen, hulls);
    if (!crowded) for (const each of shown) seen.taken.add(boxOf(each));
    paintNames(seen, crowded ? shown.filter(({ node }) => asked(node)) : shown, asked);
  }
}

function onScreen({ at, scale }, circle, chosen) {
  const [x, y] = at(circle.x, circle.y);
  return { x, y, r: circle.r * scale, circle, chosen };
}

function placed({ at, scale, width, height }, node, hulls) {
  const [x, y] = at(node.x, node.y);
  if (x < -BEYOND || y < -BEYOND || x > width + BEYOND || y > height + BEYOND) return null;
  return { node, x, y, r: node.r * scale, hull: hulls.get(node.session) };
}

function boxOf({ node, x, y, r }) {
  const reach = node.role === "queen" ? QUEEN_RIM * r : r;
  return [x - reach, y - reach, 2 * reach, 2 * reach];
}

/** A session's ground: tinted while it runs or when it failed, quiet when it is done; the open one has a bright rim. */
function paintHull({ context }, { x, y, r, circle, chosen }) {
  const calm = circle.mark === "done" || circle.mark === "waiting" || circle.mark === "unknown";
  context.beginPath();
  context.arc(x, y, r, 0, 2 * Math.PI);
  context.fillStyle = calm ? colours.quiet : colours[circle.mark];
  context.globalAlpha = calm ? 0.035 : 0.07;
  context.fill();
  context.strokeStyle = chosen ? colours.text : calm ? colours.quiet : colours[circle.mark];
  context.lineWidth = chosen ? 2 : 1;
  context.globalAlpha = chosen ? 0.95 : calm ? 0.28 : 0.5;
  if (circle.mark === "waiting") context.setLineDash([4, 4]);
  context.stroke();
  context.setLineDash([]);
  context.globalAlpha = 1;
}

/** Messages bow aside and are dashed, parentage is straight; the ways of what was asked for are bright. */
function paintArcs(seen, nodes, links, asked) {
  const { context } = seen;
  const spoken = links.filter(({ kind }) => kind === "message");
  context.setLineDash([5, 4]);
  context.lineWidth = 1.6;
  context.strokeStyle = colours.message;
  context.beginPath();
  if (spoken.length <= MOST_ARCS) for (const { from, to } of spoken) traceArc(seen, nodes[from], nodes[to]);
  context.stroke();
  context.lineWidth = 2.2;
  context.beginPath();
  for (const { from, to } of spoken)
    if (asked(nodes[from]) || asked(nodes[to])) traceArc(seen, nodes[from], nodes[to]);
  context.stroke();
  context.setLineDash([]);
}

function traceArc(seen, from, to) {
  const { start, bend, end } = arcBetween(seen, from, to);
  seen.context.moveTo(...start);
  seen.context.quadraticCurveTo(...bend, ...end);
}

function paintNode({ context }, { node, x, y, r }, crowded) {
  paintMark(context, node, x, y, r, colours.ground);
  if (node.mark === "running" && r > 3 && !crowded) halo(context, node, x, y, r);
  if (node.role === "queen" && r > 4)
    ring(context, "queen", x, y, QUEEN_RIM * r + 1, colours[node.of], Math.max(1.2, 0.11 * r));
}

/** What is chosen has a ring in the colour of words, which no status has; what is under the mouse a fainter one. */
function paintChoice({ context }, { node, x, y, r }, chosen) {
  const reach = r + Math.max(6, (node.role === "queen" ? 0.55 : 0.5) * r);
  if (chosen) ring(context, node.role, x, y, reach, colours.ground, 6);
  ring(context, node.role, x, y, reach, chosen ? colours.text : colours.quiet, chosen ? 2.5 : 1.5);
}

/** What works shines a little. */
function halo(context, node, x, y, r) {
  context.globalAlpha = 0.25;
  const width = node.role === "queen" ? 0.2 * r : 0.42 * r;
  ring(context, node.role, x, y, r + width / 2, colours.running, width);
  context.globalAlpha = 1;
}

function ring(context, role, x, y, r, colour, width) {
  traceNode(context, role, x, y, r);
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke();
}
