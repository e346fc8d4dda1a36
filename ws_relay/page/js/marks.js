// The marks of statuses, the same in lists (SVG) and in the graph (canvas).

import { svg, setAttribute } from "./dom.js";

const PATHS = {
  waiting: () => [svg("circle", { cx: 6, cy: 6, r: 4.25, fill: "none", stroke: "currentColor", "stroke-width": 1.5 })],
  starting: () => [...PATHS.waiting(), svg("path", { d: "M6 1.75a4.25 4.25 0 0 0 0 8.5z", fill: "currentColor" })],
  running: () => [svg("circle", { cx: 6, cy: 6, r: 4.6, fill: "currentColor" })],
  done: () => [stroke("M2 6.4 4.8 9.2 10 3.2")],
  failed: () => [stroke("M2.6 2.6 9.4 9.4M9.4 2.6 2.6 9.4")],
  unknown: () => [stroke("M3.4 6h5.2")],
};

function stroke(d) {
  return svg("path", {
    d,
    fill: "none",
    stroke: "currentColor",
    "stroke-width": 2,
    "stroke-linecap": "round",
    "stroke-linejoin": "round",
  });
}

/** A small picture of a mark; breathing where the thing it stands for is alive. */
export function markIcon(mark, breathes = false) {
  const icon = document.createElement("span");
  icon.className = "mark";
  icon.setAttribute("aria-hidden", "true");
  setMark(icon, mark, breathes);
  return icon;
}

/** Let an icon show another mark. */
export function setMark(icon, mark, breathes = false) {
  icon.classList.toggle("breathes", breathes && mark === "running");
  if (icon.dataset.mark === mark) return;
  setAttribute(icon, "data-mark", mark);
  icon.replaceChildren(svg("svg", { viewBox: "0 0 12 12" }, ...(PATHS[mark] ?? PATHS.unknown)()));
}

/** Trace the outline of a node by role: queens and workers are round, sub-agents are diamonds. */
export function traceNode(context, role, x, y, r) {
  context.beginPath();
  if (role !== "subagent") {
    context.arc(x, y, r, 0, 2 * Math.PI);
    return;
  }
  context.moveTo(x, y - r);
  context.lineTo(x + r, y);
  context.lineTo(x, y + r);
  context.lineTo(x - r, y);
  context.closePath();
}

/** Draw what tells a node's status without its colour, on a node already filled with that colour. */
export function paintMark(context, { role, mark }, x, y, r, ground) {
  if (mark === "waiting" || mark === "starting") hollow(context, role, mark, x, y, r, ground);
  else if (r >= (role === "subagent" ? 7 : 4.5) && (mark === "done" || mark === "failed"))
    sign(context, mark, x, y, r * (role === "subagent" ? 0.3 : 0.42), ground);
}

function hollow(context, role, mark, x, y, r, ground) {
  context.save();
  if (mark === "starting") {
    context.beginPath();
    context.rect(x, y - r, r, 2 * r);
    context.clip();
  }
  traceNode(context, role, x, y, Math.max(0, r - Math.max(1, Math.min(3, r * 0.22)) * (role === "subagent" ? 1.4 : 1)));
  context.fillStyle = ground;
  context.fill();
  context.restore();
}

function sign(context, mark, x, y, s, ground) {
  context.beginPath();
  if (mark === "done") {
    context.moveTo(x - s, y + s * 0.1);
    context.lineTo(x - s * 0.25, y + s * 0.8);
    context.lineTo(x + s, y - s * 0.7);
  } else {
    context.moveTo(x - s * 0.75, y - s * 0.75);
    context.lineTo(x + s * 0.75, y + s * 0.75);
    context.moveTo(x + s * 0.75, y - s * 0.75);
    context.lineTo(x - s * 0.75, y + s * 0.75);
  }
  context.strokeStyle = ground;
  context.lineWidth = Math.max(1.4, s * 0.42);
  context.lineCap = context.lineJoin = "round";
  context.stroke();
}
