// The graph: picks a renderer, moves nodes to where they belong, knows what is under the pointer.

import { CanvasRenderer } from "./canvas.js";
import { Overlay } from "./overlay.js";
import { Pulses } from "./pulses.js";
import { Scene } from "./scene.js";

const MOVE_MS = 450;
const FLY_MS = 500;
const CLICK_PX = 5;
const REACH_PX = 6; // beyond a node's rim
const LARGEST = 1.9; // pixels a unit when a few agents fill the screen
const AFTER_FIRST_MS = 250;
const IDLE_WITHIN_MS = 2000;
const MOST_SCALE = 8;
const SMALL = 60; // pixels of radius
const EDGE = 46;
const LEGEND = 90; // at the bottom of a picture that is
const NARROW = 560; // pixels wide at most, such as a phone's

const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Stage {
  /** `actions`: choose(session, agent), hover({session, agent} or null, x, y), fallback(). */
  constructor(host, actions) {
    Object.assign(this, { host, actions, renderer: null });
    this.size = { width: host.clientWidth, height: host.clientHeight };
    this.scene = new Scene();
    this.links = []; // of parentage: the others are the overlay's
    this.chosen = { session: null, key: null };
    this.touched = false; // the person moved the camera: it stays where they put it
    const camera = () => this.renderer?.view;
    this.overlay = new Overlay(host, () => ({
      camera: camera(),
      nodes: this.scene.nodes,
      links: this.scene.links,
      circles: this.scene.circles,
      chosen: this.chosen,
      hovered: this.hovered,
    }));
    this.pulses = new Pulses(host, camera, (key) => this.byKey.get(key));
    this.byKey = new Map();
    this.#listen();
  }

  /**
   * Draw on the 2-D canvas at once, and on the GPU as soon as it is ready. `wanted`: "canvas" for the canvas alone,
   * "gpu" for the GPU even where it is only imitated.
   */
  start(wanted) {
    this.#use(new CanvasRenderer(this.host, this.size, () => this.#looked()), "starting");
    new ResizeObserver(([{ contentRect }]) => this.#resized(contentRect)).observe(this.host);
    if (wanted === "canvas") this.host.dataset.renderer = "canvas";
    else this.first = () => this.#takeGpu(wanted === "gpu"); // when the first agents have been drawn, which come before it
  }

  async #takeGpu(anyhow) {
    try {
      const { makeGpuRenderer, probeGpu } = await import("./graph.js");
      const { usable, software } = probeGpu();
      if (!usable) throw new Error("no WebGL2 with float blending");
      // Imitated on the CPU, each frame takes the browser 80 to 180 ms, and a movement waits for several; the canvas
      // answers within one or two frames of the screen.
      if (software && !anyhow) throw new Error("the GPU is only imitated");
      this.#use(await makeGpuRenderer(this.host, this.size, () => this.#looked(), software), "gpu");
    } catch (problem) {
      this.host.dataset.renderer = "canvas";
      this.actions.fallback(problem);
    }
  }

  #use(renderer, name) {
    const before = this.renderer;
    const { width, height } = this.size;
    const [left, top] = before?.toSpace(0, 0) ?? [0, 0];
    const [right, bottom] = before?.toSpace(width, height) ?? [0, 0];
    this.renderer = renderer;
    this.host.dataset.renderer = name;
    this.host.append(this.overlay.canvas, this.pulses.layer);
    this.overlay.resize(width, height);
    if (this.scene.nodes.length) this.#hand();
    if (!this.touched) this.fit(0);
    else if (right > left) renderer.show({ left, top, right, bottom }, MOST_SCALE, 0);
    before?.end();
    this.overlay.draw();
  }

  /** Show these sessions. */
  show(sessions) {
    const had = this.scene.nodes.length > 0;
    const { moved, changed, told } = this.scene.update(sessions, this.size.width / Math.max(1, this.size.height));
    if (moved) {
      this.links = this.scene.links.filter(({ kind }) => kind === "parent");
      this.byKey = new Map(this.scene.nodes.map((node) => [node.key, node]));
      this.#hand();
      this.#travel();
      if (!this.touched) this.fit(had ? FLY_MS : 0);
    } else if (changed) this.renderer?.setLooks();
    if (moved || changed || told) this.overlay.draw();
    if (!this.scene.nodes.length || !this.first) return;
    whenIdle(this.first);
    this.first = null;
  }

  choose(session, agent) {
    const key = session && agent ? `${session}/${agent}` : null;
    if (this.chosen.session === session && this.chosen.key === key) return;
    this.chosen = { session, key };
    this.overlay.draw();
  }

  pulse({ session, agent, from, to }) {
    if (calm.matches || !this.renderer) return;
    this.pulses.add(`${session}/${agent ?? from}`, to && `${session}/${to}`);
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
    const { width, height } = this.size;
    if (!box || !this.renderer || !width) return;
    const low = width <= NARROW ? LEGEND : EDGE;
    const scale = Math.min((width - 2 * EDGE) / (box.right - box.left), (height - EDGE - low) / (box.bottom - box.top));
    const pad = (pixels) => pixels / Math.max(scale, 0.01);
    const [left, right] = [box.left - pad(EDGE), box.right + pad(EDGE)];
    const wide = { left, right, top: box.top - pad(EDGE), bottom: box.bottom + pad(low) };
    this.renderer.show(wide, LARGEST, calm.matches ? 0 : duration);
  }

  /** Let nodes go to their places in the course of MOVE_MS; the newest journey replaces any other. */
  #travel() {
    cancelAnimationFrame(this.journey);
    const { nodes } = this.scene;
    const travellers = nodes.filter(({ x, y, goes }) => Math.hypot(x - goes.x, y - goes.y) > 0.5);
    const starts = travellers.map(({ x, y }) => ({ x, y }));
    const begun = performance.now();
    const step = (now) => {
      const share = calm.matches || document.hidden ? 1 : Math.min(1, Math.max(0, now - begun) / MOVE_MS);
      const eased = 1 - (1 - share) ** 3;
      travellers.forEach((node, index) => {
        node.x = starts[index].x + (node.goes.x - starts[index].x) * eased;
        node.y = starts[index].y + (node.goes.y - starts[index].y) * eased;
      });
      this.renderer?.move();
      this.overlay.draw();
      if (share < 1) this.journey = requestAnimationFrame(step);
    };
    if (travellers.length) this.journey = requestAnimationFrame(step);
  }

  /** The camera moved. */
  #looked() {
    this.pulses.yield();
    this.overlay.draw();
  }

  #hand() {
    this.renderer?.setScene(this.scene.nodes, this.links);
  }

  #resized({ width, height }) {
    if (width === this.size.width && height === this.size.height) return;
    this.size = { width, height };
    this.overlay.resize(width, height);
    this.renderer.resize(width, height);
    if (!this.touched) this.fit(0);
    this.overlay.draw();
  }

  #nodeAt(left, top) {
    if (!this.renderer) return null;
    const [x, y] = this.renderer.toSpace(left, top);
    let [best, least] = [null, REACH_PX / this.renderer.view.scale];
    for (const node of this.scene.nodes) {
      const away = Math.hypot(node.x - x, node.y - y) - node.r;
      if (away < least) [best, least] = [node, away];
    }
    return best;
  }

  #circleAt(left, top) {
    if (!this.renderer) return undefined;
    const [x, y] = this.renderer.toSpace(left, top);
    return this.scene.circles.find((circle) => Math.hypot(circle.x - x, circle.y - y) <= circle.r);
  }

  /** Where there is no room for whole titles, the box beside the pointer says of which session a circle is. */
  #smallSessionAt(left, top) {
    const circle = this.#circleAt(left, top);
    return circle && circle.r * this.renderer.view.scale < SMALL ? { session: circle.id, agent: null } : null;
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
        this.#hover(event.buttons ? null : (this.#nodeAt(x, y) ?? this.#smallSessionAt(x, y)), x, y);
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
      this.actions.choose(node?.session ?? this.#circleAt(x, y)?.id ?? null, node?.agent ?? null);
    });
    host.addEventListener(
      "dblclick",
      (event) => {
        event.stopPropagation();
        const session = this.#circleAt(...inside(event))?.id;
        if (session) this.flyTo(session);
        else this.fit();
      },
      true,
    );
  }

  #hover(node, x, y) {
    if (node === this.hovered && !node) return;
    const changed = node?.session !== this.hovered?.session || node?.agent !== this.hovered?.agent;
    this.hovered = node;
    this.host.style.cursor = node ? "pointer" : "";
    this.actions.hover(node, x, y);
    if (changed) this.overlay.draw();
  }
}

/** Call back when nothing else is to do, a little after what was drawn just now. */
function whenIdle(then) {
  const idle = globalThis.requestIdleCallback ?? setTimeout;
  setTimeout(() => idle(then, { timeout: IDLE_WITHIN_MS }), AFTER_FIRST_MS);
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
