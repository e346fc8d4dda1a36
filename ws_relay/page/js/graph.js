// Nodes and links on the GPU, drawn by cosmos.gl; only when something changed. The overlay draws what has words.

import { viewOf } from "./camera.js";
import { linkAlpha } from "./scene.js";
import { channels, colours } from "./theme.js";

const SOURCE = "vendor/cosmos-graph-3.3.0.min.js";
const SPACE = 4096; // what every GPU can do; places may lie outside of it
const MIDDLE = SPACE / 2;
const CIRCLE = 0;
const DIAMOND = 3;
const UNMASKED_RENDERER = 0x9246;
const LINK_WIDTH = 1.1;

/** What the GPU can do: `usable`: cosmos.gl can draw on it; `software`: it is only imitated, and each pixel counts. */
export function probeGpu() {
  const gl = document.createElement("canvas").getContext("webgl2");
  const usable = Boolean(gl?.getExtension("EXT_color_buffer_float") && gl.getExtension("EXT_float_blend"));
  const name = gl?.getExtension("WEBGL_debug_renderer_info") ? gl.getParameter(UNMASKED_RENDERER) : "";
  gl?.getExtension("WEBGL_lose_context")?.loseContext();
  return { usable, software: /swiftshader|llvmpipe|software/i.test(name) };
}

/** Load the library, make the renderer. Rejects when either fails; whoever calls falls back to canvas.js. */
export async function makeGpuRenderer(host, size, onCamera, software) {
  await loadScript(SOURCE);
  const renderer = new GpuRenderer(host, size, onCamera, software);
  await renderer.graph.ready;
  renderer.tame();
  return renderer;
}

function loadScript(source) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = source;
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${source} cannot be loaded`));
    document.head.append(script);
  });
}

class GpuRenderer {
  constructor(host, { width, height }, onCamera, software) {
    Object.assign(this, { width, height });
    this.graph = new globalThis.Cosmos.Graph(host, {
      backgroundColor: colours.ground,
      spaceSize: SPACE,
      enableSimulation: false,
      rescalePositions: false,
      transitionDuration: 0,
      fitViewOnInit: false,
      initialZoomLevel: 1,
      scalePointsOnZoom: true,
      scaleLinksOnZoom: false,
      pointOpacity: 1,
      linkOpacity: 1,
      renderHoveredPointRing: false,
      linkVisibilityMinTransparency: 1,
      curvedLinks: false,
      pixelRatio: software ? devicePixelRatio : Math.max(2, devicePixelRatio),
      linkDefaultArrows: false,
      enableDrag: false,
      hoveredPointCursor: "default",
      onZoom: () => {
        this.draw();
        onCamera();
      },
    });
  }

  /**
   * The library draws sixty times a second whether anything changed or not, and asks the GPU what is under the mouse.
   */
  tame() {
    this.graph.stopFrames();
    this.graph.startFrames = () => this.draw();
    this.graph.findHoveredItem = () => {};
    this.graph.canvas.style.cursor = "default";
  }

  /** Draw with the next frame of the screen. */
  draw() {
    this.pending ??= requestAnimationFrame((now) => {
      this.pending = null;
      this.graph.renderFrame(now);
    });
  }

  /** Everything anew: nodes {x, y, r, role, mark}, links {from, to}. */
  setScene(nodes, links) {
    this.nodes = nodes;
    const ends = new Float32Array(links.length * 2);
    links.forEach(({ from, to }, index) => ends.set([from, to], index * 2));
    const tints = new Float32Array(links.length * 4);
    const tint = channels(colours.link, linkAlpha(links));
    for (let at = 0; at < tints.length; at += 4) tints.set(tint, at);
    this.#place();
    this.#fill();
    this.graph.setPointShapes(Float32Array.from(nodes, ({ role }) => (role === "subagent" ? DIAMOND : CIRCLE)));
    this.graph.setLinks(ends);
    this.graph.setLinkColors(tints);
    this.graph.setLinkWidths(new Float32Array(links.length).fill(LINK_WIDTH));
    this.graph.render(undefined, 0);
  }

  /** The same nodes in other colours and sizes. */
  setLooks() {
    this.#fill();
    this.graph.render(undefined, 0);
  }

  #fill() {
    const { nodes } = this;
    const tints = {};
    const fills = new Float32Array(nodes.length * 4);
    nodes.forEach(({ mark }, index) => fills.set((tints[mark] ??= channels(colours[mark])), index * 4));
    this.graph.setPointColors(fills);
    this.graph.setPointSizes(Float32Array.from(nodes, ({ r }) => 2 * r));
  }

  #place() {
    const places = new Float32Array(this.nodes.length * 2);
    this.nodes.forEach(({ x, y }, index) => places.set([MIDDLE + x, MIDDLE - y], index * 2));
    this.graph.setPointPositions(places, true);
  }

  /** The same nodes, elsewhere. */
  move() {
    this.#place();
    this.graph.render(undefined, 0);
  }

  recolour() {
    this.graph.setConfigPartial({ backgroundColor: colours.ground });
  }

  get view() {
    const [left, top] = this.graph.spaceToScreenPosition([MIDDLE, MIDDLE]);
    const [right] = this.graph.spaceToScreenPosition([MIDDLE + SPACE, MIDDLE]);
    return viewOf({ scale: (right - left) / SPACE, left, top });
  }

  toSpace(left, top) {
    const [x, y] = this.graph.screenToSpacePosition([left, top]);
    return [x - MIDDLE, MIDDLE - y];
  }

  /** Show the box around these points; at most so large that one unit is `most` pixels. */
  show({ left, top, right, bottom }, most, duration) {
    const scale = Math.min(most, this.width / (right - left), this.height / (bottom - top));
    const middle = new Float32Array([MIDDLE + (left + right) / 2, MIDDLE - (top + bottom) / 2]);
    this.graph.setZoomTransformByPointPositions(middle, duration, scale, 0, false);
  }

  zoomBy(factor, duration) {
    this.graph.setZoomLevel(this.graph.getZoomLevel() * factor, duration);
  }

  resize(width, height) {
    Object.assign(this, { width, height });
    this.draw();
  }
}
