// What lies over the nodes: circles of the sessions with their titles, marks, names, tools, pulses, the choice.

import { h } from "./dom.js";
import { paintMark, traceNode } from "./marks.js";
import { GLYPHS } from "./words.js";
import { colours } from "./theme.js";

const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const PULSE_MS = 900;
const MOST_PULSES = 40;
const SLOW_MS = 45;
const SLOW_FRAMES = 4;
const MUTED_MS = 10_000;
const MOST_NAMES = 400; // with more nodes in sight nobody reads any
const NAME_FROM = 0.4; // scale of the picture from which names are written; they fade in until NAME_FULL
const NAME_FULL = 0.43;

export class Overlay {
  /** `renderer` tells where things are; `scene()` gives nodes, circles and what is chosen. */
  constructor(host, scene) {
    this.host = host;
    this.scene = scene;
    this.canvas = h("canvas", { class: "over" });
    this.pulses = [];
    this.slow = 0;
    this.mutedUntil = 0;
    host.append(this.canvas);
  }

  resize() {
    this.canvas.width = Math.round(this.host.clientWidth * devicePixelRatio);
    this.canvas.height = Math.round(this.host.clientHeight * devicePixelRatio);
  }

  /** Draw with the next frame of the screen, and go on while pulses run. */
  draw() {
    this.pending ??= requestAnimationFrame((now) => {
      this.pending = null;
      this.#paint(now);
      this.#watch(now);
      if (this.pulses.length) this.draw();
    });
  }

  /** A pulse at a node, or along the way between two. */
  pulse(from, to = null) {
    if (this.pulses.length >= MOST_PULSES || document.hidden || performance.now() < this.mutedUntil) return;
    this.pulses.push({ from, to, begun: performance.now() });
    this.draw();
  }

  /** Where frames take long, do without pulses for a while: answering comes before moving. */
  #watch(now) {
    this.slow = this.pulses.length && now - this.last > SLOW_MS ? this.slow + 1 : 0;
    this.last = now;
    if (this.slow < SLOW_FRAMES) return;
    this.pulses = [];
    this.mutedUntil = now + MUTED_MS;
  }

  #paint(now) {
    const { renderer, nodes, circles, chosen, hovered } = this.scene();
    if (!renderer) return;
    const context = this.canvas.getContext("2d");
    const [width, height] = [this.host.clientWidth, this.host.clientHeight];
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, width, height);
    const seen = { context, scale: renderer.scale, width, height, at: (x, y) => renderer.toScreen(x, y), taken: [] };
    for (const circle of circles) paintCircle(seen, circle, circle.id === chosen.session);
    this.#paintPulses(seen, nodes, now);
    const shown = nodes.map((node) => placed(seen, node)).filter(Boolean);
    for (const each of shown) paintNode(seen, each, each.node.key === chosen.key, each.node === hovered);
    for (const circle of circles) paintTitle(seen, circle, circle.id === chosen.session);
    if (seen.scale < NAME_FROM || shown.length > MOST_NAMES) return;
    for (const { x, y, r } of shown) seen.taken.push([x - r, y - r, 2 * r, 2 * r]);
    for (const each of shown) paintName(seen, each);
  }

  #paintPulses(seen, nodes, now) {
    this.pulses = this.pulses.filter(({ begun }) => now - begun < PULSE_MS);
    const byKey = this.pulses.length ? new Map(nodes.map((node) => [node.key, node])) : null;
    for (const { from, to, begun } of this.pulses) {
      const share = Math.max(0, (now - begun) / PULSE_MS);
      const [start, end] = [byKey.get(from), byKey.get(to)];
      if (start && end) paintTravel(seen, start, end, share);
      else if (start && !to) paintRipple(seen, start, share);
    }
  }
}

function placed({ at, scale, width, height }, node) {
  const [x, y] = at(node.x, node.y);
  const r = node.r * scale;
  return x < -80 || y < -40 || x > width + 80 || y > height + 40 ? null : { node, x, y, r };
}

function paintCircle({ context, scale, at }, circle, chosen) {
  const [x, y] = at(circle.x, circle.y);
  context.beginPath();
  context.arc(x, y, circle.r * scale, 0, 2 * Math.PI);
  context.fillStyle = colours[circle.mark];
  context.globalAlpha = chosen ? 0.1 : 0.045;
  context.fill();
  context.globalAlpha = chosen ? 0.9 : 0.35;
  context.strokeStyle = chosen ? colours.focus : colours[circle.mark];
  context.lineWidth = chosen ? 1.6 : 1;
  context.stroke();
  context.globalAlpha = 1;
}

function paintTitle(seen, circle, chosen) {
  const { context, scale, at, width } = seen;
  const [x, y] = at(circle.x, circle.y);
  const r = circle.r * scale;
  if (!chosen && r < 26) return;
  const size = chosen || r > 60 ? 13 : 11;
  context.font = `600 ${size}px ${FONT}`;
  const glyph = `${GLYPHS[circle.mark]} `;
  const text = fitted(context, circle.title, Math.max(120, 2.1 * r));
  const [lead, wide] = [context.measureText(glyph).width, context.measureText(glyph + text).width];
  const left = Math.min(Math.max(x - wide / 2, 6), Math.max(6, width - wide - 6));
  const base = Math.max(y - r - 8, Math.min(y, 16));
  if (base < 0 || x + r < 0 || x - r > width) return;
  const box = [left, base - size, wide, size + 4];
  if (!chosen && covered(seen.taken, box)) return;
  seen.taken.push(box);
  context.textAlign = "left";
  write(context, glyph, left, base, colours[circle.mark]);
  write(context, text, left + lead, base, circle.mark === "failed" ? colours.failed : colours.text);
}

function paintNode({ context }, { node, x, y, r }, chosen, hovered) {
  paintMark(context, node, x, y, r, colours.ground);
  if (node.role === "queen" && r > 4) {
    ring(context, "queen", x, y, r + Math.max(2.5, r * 0.24), colours[node.mark], Math.max(1, r * 0.1));
  }
  if (chosen || hovered)
    ring(context, node.role, x, y, r + Math.max(5, r * 0.48), colours[chosen ? "focus" : "quiet"], 2);
}

function ring(context, role, x, y, r, colour, width) {
  traceNode(context, role, x, y, r);
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke();
}

/**
 * Name beside the node, with the tool while one is used: where there is room, first on the side away from the queen.
 */
function paintName(seen, { node, x, y, r }) {
  if (!node.name || (node.role === "subagent" && seen.scale < 0.9)) return;
  const { context, scale } = seen;
  const size = scale > 1.4 ? 13 : 11;
  context.font = `${node.role === "queen" ? 600 : 400} ${size}px ${FONT}`;
  const text = node.tool ? `${node.name} · ${node.tool}` : node.name;
  const width = context.measureText(text).width;
  const rim = r + (node.role === "queen" ? r * 0.3 : 0) + 4;
  const box = sides(node)
    .map((side) => boxBeside(side, x, y, rim, width, size))
    .find((each) => !covered(seen.taken, each));
  if (!box) return;
  seen.taken.push(box);
  context.globalAlpha = Math.min(1, Math.max(0.3, (scale - NAME_FROM) / (NAME_FULL - NAME_FROM)));
  context.textAlign = "left";
  write(context, text, box[0], box[1] + size - 1, node.tool ? colours.text : colours.quiet);
  context.globalAlpha = 1;
}

function sides({ role, out }) {
  if (role === "queen") return ["below", "above"];
  const across = out.x < 0 ? "left" : "right";
  const along = out.y < 0 ? "above" : "below";
  return Math.abs(out.x) > 1.6 * Math.abs(out.y)
    ? [along, across, along === "above" ? "below" : "above"]
    : [along, across];
}

function boxBeside(side, x, y, rim, width, size) {
  const height = size + 2;
  if (side === "left") return [x - rim - width, y - height / 2, width, height];
  if (side === "right") return [x + rim, y - height / 2, width, height];
  return [x - width / 2, side === "above" ? y - rim - height : y + rim, width, height];
}

function paintRipple({ context, scale, at }, node, share) {
  const [x, y] = at(node.x, node.y);
  context.globalAlpha = 0.7 * (1 - share);
  ring(context, "worker", x, y, node.r * scale * (1.2 + 1.1 * share), colours[node.mark], 2);
  context.globalAlpha = 1;
}

function paintTravel({ context, at }, from, to, share) {
  const [left, top] = at(from.x, from.y);
  const [right, bottom] = at(to.x, to.y);
  context.beginPath();
  context.arc(left + (right - left) * share, top + (bottom - top) * share, 3.2, 0, 2 * Math.PI);
  context.fillStyle = colours.message;
  context.globalAlpha = Math.min(1, 4 * (1 - share));
  context.fill();
  context.globalAlpha = 1;
}

/** Text with a rim of the ground's colour, so that lines beneath do not cross it. */
function write(context, text, x, y, colour) {
  context.lineJoin = "round";
  context.lineWidth = 3.5;
  context.strokeStyle = colours.ground;
  context.strokeText(text, x, y);
  context.fillStyle = colour;
  context.fillText(text, x, y);
}

function fitted(context, text, width) {
  let shown = text;
  while (shown.length > 4 && context.measureText(shown).width > width) shown = `${shown.slice(0, -2).trimEnd()}…`;
  return shown;
}

function covered(taken, [x, y, width, height]) {
  return taken.some(
    ([left, top, wide, high]) => x < left + wide && left < x + width && y < top + high && top < y + height,
  );
}
