// Nodes and links on a 2-D canvas, for browsers that cannot do it on the GPU; same methods as graph.js.

import { between, cameraFor, makeCamera, panBy, toPlane, viewOf, zoomAt } from "./camera.js";
import { h } from "./dom.js";
import { traceNode } from "./marks.js";
import { linkAlpha } from "./scene.js";
import { colours } from "./theme.js";

export class CanvasRenderer {
  constructor(host, { width, height }, onCamera) {
    this.host = host;
    this.onCamera = onCamera;
    this.camera = makeCamera();
    this.nodes = [];
    this.links = [];
    this.canvas = h("canvas");
    this.ended = new AbortController();
    host.prepend(this.canvas);
    this.#listen();
    this.resize(width, height);
  }

  /** Leave the host to another renderer. */
  end() {
    this.ended.abort();
    cancelAnimationFrame(this.pending);
    cancelAnimationFrame(this.flight);
    this.canvas.remove();
  }

  draw() {
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.#paint();
    });
  }

  setScene(nodes, links) {
    this.nodes = nodes;
    this.links = links;
    this.draw();
  }

  setLooks() {
    this.draw();
  }

  move() {
    this.draw();
  }

  recolour() {
    this.draw();
  }

  get view() {
    return viewOf(this.camera);
  }

  toSpace(left, top) {
    return toPlane(this.camera, left, top);
  }

  show(box, most, duration) {
    this.#fly(cameraFor(box, this.width, this.height, most), duration);
  }

  zoomBy(factor, duration) {
    this.#fly(zoomAt(this.camera, factor, this.width / 2, this.height / 2), duration);
  }

  resize(width, height) {
    Object.assign(this, { width, height });
    this.canvas.width = Math.round(width * devicePixelRatio);
    this.canvas.height = Math.round(height * devicePixelRatio);
    this.draw();
  }

  #set(camera) {
    this.camera = camera;
    this.draw();
    this.onCamera();
  }

  #fly(target, duration) {
    cancelAnimationFrame(this.flight);
    const from = this.camera;
    const begun = performance.now();
    const step = (now) => {
      const share = duration > 0 ? Math.min(1, Math.max(0, now - begun) / duration) : 1;
      this.#set(between(from, target, share * (2 - share)));
      if (share < 1) this.flight = requestAnimationFrame(step);
    };
    step(begun);
  }

  #paint() {
    const context = this.canvas.getContext("2d");
    const { at, scale } = this.view;
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.fillStyle = colours.ground;
    context.fillRect(0, 0, this.width, this.height);
    this.#paintLinks(context, at);
    for (const { x, y, r, role, mark } of this.nodes) {
      const [left, top] = at(x, y);
      if (left + r * scale < 0 || top + r * scale < 0 || left - r * scale > this.width || top - r * scale > this.height)
        continue;
      traceNode(context, role, left, top, r * scale);
      context.fillStyle = colours[mark];
      context.fill();
    }
  }

  #paintLinks(context, at) {
    context.beginPath();
    for (const { from, to } of this.links) {
      context.moveTo(...at(this.nodes[from].x, this.nodes[from].y));
      context.lineTo(...at(this.nodes[to].x, this.nodes[to].y));
    }
    context.lineWidth = 1.1;
    context.strokeStyle = colours.link;
    context.globalAlpha = linkAlpha(this.links);
    context.stroke();
    context.globalAlpha = 1;
  }

  #listen() {
    const fingers = new Map();
    const {
      host,
      ended: { signal },
    } = this;
    host.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const { left, top } = host.getBoundingClientRect();
        this.#set(zoomAt(this.camera, 2 ** (-event.deltaY / 500), event.clientX - left, event.clientY - top));
      },
      { passive: false, signal },
    );
    host.addEventListener("pointerdown", (event) => fingers.set(event.pointerId, event), { signal });
    for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
      host.addEventListener(name, (event) => fingers.delete(event.pointerId), { signal });
    }
    host.addEventListener(
      "pointermove",
      (event) => {
        const before = fingers.get(event.pointerId);
        if (!before) return;
        const others = [...fingers.values()].filter((each) => each.pointerId !== event.pointerId);
        fingers.set(event.pointerId, event);
        if (others.length) this.#pinch(before, event, others[0]);
        else this.#set(panBy(this.camera, event.clientX - before.clientX, event.clientY - before.clientY));
      },
      { signal },
    );
  }

  #pinch(before, now, other) {
    const apart = (each) => Math.hypot(each.clientX - other.clientX, each.clientY - other.clientY) || 1;
    const { left, top } = this.host.getBoundingClientRect();
    this.#set(zoomAt(this.camera, apart(now) / apart(before), other.clientX - left, other.clientY - top));
  }
}
