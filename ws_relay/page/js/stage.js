// The graph: picks a renderer, moves nodes to where they belong, knows what is under the pointer.

import { CanvasRenderer } from "./canvas.js";
import { makeGpuRenderer, probeGpu } from "./graph.js";
import { Overlay } from "./overlay.js";
import { buildScene } from "./scene.js";

const MOVE_MS = 450;
const FLY_MS = 500;
const CLICK_PX = 5;
const REACH_PX = 6; // beyond a node's rim
const LARGEST = 1.9; // pixels a unit when a few agents fill the screen
const AFTER_FIRST_MS = 250;
const MOST_SCALE = 8;
const EDGE = 46;

const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Stage {
  /** `actions`: choose(session, agent), hover(node, x, y), fallback(). */
  constructor(host, actions) {
    Object.assign(this, { host, actions, renderer: null });
    this.scene = { nodes: [], links: [], circles: [], middles: new Map() };
    this.nodes = [];
    this.chosen = { session: null, key: null };
    this.touched = false; // the person moved the camera: it stays where they put it
    this.overlay = new Overlay(host, () => ({
      renderer: this.renderer,
      nodes: this.nodes,
      circles: this.scene.circles,
      chosen: this.chosen,
      hovered: this.hovered,
    }));
    this.#listen();
  }

  /** Draw on the 2-D canvas at once, and on the GPU as soon as it is ready; `plain` asks for the canvas alone. */
  start(plain) {
    this.#use(new CanvasRenderer(this.host, () => this.overlay.draw()), "starting");
    new ResizeObserver(() => this.#resized()).observe(this.host);
    if (plain) this.host.dataset.renderer = "canvas";
    else this.first = () => this.#takeGpu(); // called when the first agents have been drawn: they come before it
  }

  async #takeGpu() {
    try {
      const { usable, software } = probeGpu();
      if (!usable) throw new Error("no WebGL2 with float blending");
      this.#use(await makeGpuRenderer(this.host, () => this.overlay.draw(), software), "gpu");
    } catch (problem) {
      this.host.dataset.renderer = "canvas";
      this.actions.fallback(problem);
    }
  }

  #use(renderer, name) {
    const before = this.renderer;
    const { clientWidth: width, clientHeight: height } = this.host;
    const [left, top] = before?.toSpace(0, 0) ?? [0, 0];
    const [right, bottom] = before?.toSpace(width, height) ?? [0, 0];
    this.renderer = renderer;
    this.host.dataset.renderer = name;
    this.host.append(this.overlay.canvas);
    this.overlay.resize();
    if (this.nodes.length) this.#hand();
    if (!this.touched) this.fit(0);
    else if (right > left) renderer.show({ left, top, right, bottom }, MOST_SCALE, 0);
    before?.end();
    this.overlay.draw();
  }

  /** Show these sessions. */
  show(sessions) {
    const before = this.scene;
    this.scene = buildScene(sessions, before.middles, this.host.clientWidth / Math.max(1, this.host.clientHeight));
    const shape = signature(this.scene);
    const looks = JSON.stringify(this.scene.nodes.map(({ mark, r }) => [mark, Math.round(r)]));
    const known = new Map(this.nodes.map((node) => [node.key, node]));
    const moved = shape !== this.shape;
    this.nodes = this.scene.nodes.map((node) => startFrom(node, known, before.middles));
    if (moved) this.#travel();
    if (moved || looks !== this.looks) this.#hand();
    Object.assign(this, { shape, looks });
    if (moved && !this.touched) this.fit(known.size ? FLY_MS : 0);
    this.overlay.draw();
    if (!this.nodes.length || !this.first) return;
    setTimeout(this.first, AFTER_FIRST_MS);
    this.first = null;
  }

  choose(session, agent) {
    this.chosen = { session, key: session && agent ? `${session}/${agent}` : null };
    this.overlay.draw();
  }

  pulse({ session, agent, from, to }) {
    if (calm.matches || !this.renderer) return;
    this.overlay.pulse(`${session}/${agent ?? from}`, to && `${session}/${to}`);
  }

  recolour() {
    if (!this.renderer) return;
    this.renderer.recolour();
    this.#hand();
    this.overlay.draw();
  }

  /** Show everything. */
  fit(duration = FLY_MS) {
    this.touched = false;
    this.#showBox(boxOf(this.scene.circles), duration);
  }

  /** Fly to a session. */
  flyTo(session) {
    const circle = this.scene.circles.find(({ id }) => id === session);
    if (circle) this.touched = true;
    if (circle) this.#showBox(boxOf([circle]), FLY_MS);
  }

  zoomBy(factor) {
    this.touched = true;
    this.renderer?.zoomBy(factor, calm.matches ? 0 : 150);
  }

  #showBox(box, duration) {
    if (!box || !this.renderer || !this.host.clientWidth) return;
    const { clientWidth: width, clientHeight: height } = this.host;
    const scale = Math.min((width - 2 * EDGE) / (box.right - box.left), (height - 2 * EDGE) / (box.bottom - box.top));
    const pad = EDGE / Math.max(scale, 0.01);
    const wide = { left: box.left - pad, right: box.right + pad, top: box.top - pad, bottom: box.bottom + pad };
    this.renderer.show(wide, LARGEST, calm.matches ? 0 : duration);
  }

  /** Let nodes go to their places in the course of MOVE_MS; the newest journey replaces any other. */
  #travel() {
    cancelAnimationFrame(this.journey);
    const begun = performance.now();
    for (const node of this.nodes) node.leaves = { x: node.x, y: node.y };
    const step = (now) => {
      const share = calm.matches || document.hidden ? 1 : Math.min(1, Math.max(0, now - begun) / MOVE_MS);
      const eased = 1 - (1 - share) ** 3;
      for (const node of this.nodes) {
        const from = node.leaves ?? node.goes;
        node.x = from.x + (node.goes.x - from.x) * eased;
        node.y = from.y + (node.goes.y - from.y) * eased;
      }
      this.renderer?.move(this.nodes);
      this.overlay.draw();
      if (share < 1) this.journey = requestAnimationFrame(step);
    };
    if (this.nodes.some(({ x, y, goes }) => Math.hypot(x - goes.x, y - goes.y) > 0.5))
      this.journey = requestAnimationFrame(step);
  }

  #hand() {
    this.renderer?.setScene(this.nodes, this.scene.links);
  }

  #resized() {
    this.overlay.resize();
    this.renderer.resize();
    if (!this.touched) this.fit(0);
    this.overlay.draw();
  }

  #nodeAt(x, y) {
    if (!this.renderer) return null;
    let best = null;
    const { scale } = this.renderer;
    for (const node of this.nodes) {
      const [left, top] = this.renderer.toScreen(node.x, node.y);
      const away = Math.hypot(left - x, top - y) - node.r * scale;
      if (away < REACH_PX && (!best || away < best.away)) best = { node, away };
    }
    return best?.node ?? null;
  }

  #sessionAt(x, y) {
    if (!this.renderer) return null;
    const [left, top] = this.renderer.toSpace(x, y);
    return this.scene.circles.find((circle) => Math.hypot(circle.x - left, circle.y - top) <= circle.r)?.id ?? null;
  }

  #listen() {
    const { host } = this;
    const inside = (event) => {
      const { left, top } = host.getBoundingClientRect();
      return [event.clientX - left, event.clientY - top];
    };
    let pressed = null;
    host.addEventListener(
      "pointerdown",
      (event) => {
        pressed = inside(event);
      },
      true,
    );
    host.addEventListener(
      "pointermove",
      (event) => {
        const [x, y] = inside(event);
        if (pressed && event.buttons && Math.hypot(x - pressed[0], y - pressed[1]) > CLICK_PX) this.touched = true;
        this.#hover(event.buttons ? null : this.#nodeAt(x, y), x, y);
      },
      true,
    );
    host.addEventListener("pointerleave", () => this.#hover(null));
    host.addEventListener(
      "wheel",
      () => {
        this.touched = true;
      },
      { passive: true, capture: true },
    );
    host.addEventListener("click", (event) => {
      const [x, y] = inside(event);
      if (pressed && Math.hypot(x - pressed[0], y - pressed[1]) > CLICK_PX) return;
      const node = this.#nodeAt(x, y);
      this.actions.choose(node?.session ?? this.#sessionAt(x, y), node?.agent ?? null);
    });
    host.addEventListener(
      "dblclick",
      (event) => {
        event.stopPropagation();
        const session = this.#sessionAt(...inside(event));
        if (session) this.flyTo(session);
        else this.fit();
      },
      true,
    );
  }

  #hover(node, x, y) {
    if (node === this.hovered && !node) return;
    const changed = node !== this.hovered;
    this.hovered = node;
    this.host.style.cursor = node ? "pointer" : "";
    this.actions.hover(node, x, y);
    if (changed) this.overlay.draw();
  }
}

/** A node where it stands now, bound for its place; a new one comes out of the middle of its session. */
function startFrom(node, known, middles) {
  const goes = { x: node.x, y: node.y };
  const from = known.get(node.key) ?? (known.size ? middles.get(node.session) : null) ?? goes;
  return { ...node, x: from.x, y: from.y, goes };
}

function signature({ nodes, links }) {
  return JSON.stringify([
    nodes.map(({ key, x, y }) => [key, Math.round(x), Math.round(y)]),
    links.map(({ from, to, kind }) => [from, to, kind]),
  ]);
}

function boxOf(circles) {
  if (!circles.length) return null;
  return {
    left: Math.min(...circles.map(({ x, r }) => x - r)),
    right: Math.max(...circles.map(({ x, r }) => x + r)),
    top: Math.min(...circles.map(({ y, r }) => y - r)) - 14,
    bottom: Math.max(...circles.map(({ y, r }) => y + r)),
  };
}
