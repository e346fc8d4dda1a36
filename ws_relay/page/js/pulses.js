// Motion over the graph: a ring where a tool begins, a dot that goes where a message goes. Elements that the browser
// moves by itself: nothing is drawn anew for them.

import { arcBetween, pointOn } from "./shapes.js";
import { h } from "./dom.js";
import { colours } from "./theme.js";

const LASTS_MS = 1100;
const MOST = 16; // at once
const DOT = 8; // pixels
const STOPS = 8; // of a dot on its arc
const SLOW_MS = 45;
const SLOW_FRAMES = 3;
const MUTED_MS = 10_000;
const YIELD_MS = 300;

export class Pulses {
  /** `camera()` tells where things are; `find(key)` gives a node. */
  constructor(host, camera, find) {
    Object.assign(this, { camera, find, running: new Map(), slow: 0, mutedUntil: 0 });
    this.layer = h("div", { "aria-hidden": "true" });
    Object.assign(this.layer.style, { position: "absolute", inset: 0, overflow: "hidden", pointerEvents: "none" });
    host.append(this.layer);
  }

  /** A pulse at a node, or along the way between two; one that runs already goes on. */
  add(from, to = null) {
    const key = to ? `${from}>${to}` : from;
    const full = this.running.size >= MOST || this.running.has(key);
    if (full || document.hidden || performance.now() < this.mutedUntil) return;
    const [start, end, camera] = [this.find(from), to && this.find(to), this.camera()];
    if (!start || !camera || (to && !end)) return;
    const motion = end ? travel(this.layer, camera, start, end) : ripple(this.layer, camera, start);
    this.running.set(key, motion);
    motion.onfinish = motion.oncancel = () => {
      motion.effect.target.remove();
      this.running.delete(key);
    };
    this.#watch();
  }

  /** End all of them, and begin none for a moment: what they stand on moves. */
  yield() {
    this.mutedUntil = Math.max(this.mutedUntil, performance.now() + YIELD_MS);
    this.#clear();
  }

  #clear() {
    for (const motion of this.running.values()) motion.cancel();
  }

  /** Where frames take long, do without for a while: answering comes before moving. */
  #watch(last = null) {
    if (last === null && this.watching) return;
    this.watching = this.running.size > 0;
    if (!this.watching) return;
    requestAnimationFrame((now) => {
      if (last !== null) this.slow = now - last > SLOW_MS ? this.slow + 1 : 0;
      if (this.slow >= SLOW_FRAMES) {
        this.mutedUntil = now + MUTED_MS;
        this.slow = 0;
        this.#clear();
      }
      this.#watch(now);
    });
  }
}

function ripple(layer, { at, scale }, node) {
  const [x, y] = at(node.x, node.y);
  const r = node.r * scale * 1.2 + 4;
  const ring = spot(layer, 2 * r);
  Object.assign(ring.style, { border: `2.5px solid ${colours.running}` });
  const here = `translate(${x - r}px, ${y - r}px)`;
  const frames = [
    { transform: `${here} scale(1)`, opacity: 0.95 },
    { transform: `${here} scale(${1 + Math.max(10, 0.9 * r) / r})`, opacity: 0 },
  ];
  return ring.animate(frames, { duration: LASTS_MS, easing: "ease-out" });
}

function travel(layer, camera, from, to) {
  const arc = arcBetween(camera, from, to);
  const dot = spot(layer, DOT);
  dot.style.background = colours.message;
  const frames = Array.from({ length: STOPS + 1 }, (_, stop) => {
    const [x, y] = pointOn(arc, stop / STOPS);
    return { transform: `translate(${x - DOT / 2}px, ${y - DOT / 2}px)`, opacity: stop < STOPS ? 1 : 0.2 };
  });
  return dot.animate(frames, { duration: LASTS_MS, easing: "ease-in-out" });
}

function spot(layer, size) {
  const element = document.createElement("i");
  Object.assign(element.style, {
    position: "absolute",
    left: 0,
    top: 0,
    width: `${size}px`,
    height: `${size}px`,
    boxSizing: "border-box",
    borderRadius: "50%",
  });
  layer.append(element);
  return element;
}
