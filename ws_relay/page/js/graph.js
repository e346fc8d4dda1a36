// Nodes and links on the GPU, drawn by cosmos.gl; only when something changed. The overlay draws what has words.

import { channels, colours, linkAlpha } from "./theme.js";

const SOURCE = "vendor/cosmos-graph-3.3.0.min.js";
const SPACE = 4096; // what every GPU can do; places may lie outside of it
const MIDDLE = SPACE / 2;
const CIRCLE = 0;
const DIAMOND = 3;
const UNMASKED_RENDERER = 0x9246;
const SOLID = 0;
const DASHED = 1;

/** What the GPU can do: `usable`: cosmos.gl can draw on it; `software`: it is only imitated, and each pixel counts. */
export function probeGpu() {
  const gl = document.createElement("canvas").getContext("webgl2");
  const usable = Boolean(gl?.getExtension("EXT_color_buffer_float") && gl.getExtension("EXT_float_blend"));
  const name = gl?.getExtension("WEBGL_debug_renderer_info") ? gl.getParameter(UNMASKED_RENDERER) : "";
  gl?.getExtension("WEBGL_lose_context")?.loseContext();
  return { usable, software: /swiftshader|llvmpipe|software/i.test(name) };
}

/** Load the library, make the renderer. Rejects when either fails; whoever calls falls back to canvas.js. */
export async function makeGpuRenderer(host, onCamera, software) {
  await loadScript(SOURCE);
  const renderer = new GpuRenderer(host, onCamera, software);
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
  constructor(host, onCamera, software) {
    this.host = host;
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
      linkDashLength: 5,
      linkDashGap: 4,
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

  /** Everything anew: nodes {x, y, r, role, mark}, links {from, to, kind}. */
  setScene(nodes, links) {
    this.#setNodes(nodes);
    const ends = new Float32Array(links.length * 2);
    const tints = new Float32Array(links.length * 4);
    const alpha = linkAlpha(links);
    const tint = { parent: channels(colours.link, alpha), message: channels(colours.message, alpha) };
    links.forEach(({ from, to, kind }, index) => {
      ends.set([from, to], index * 2);
      tints.set(tint[kind], index * 4);
    });
    this.graph.setLinks(ends);
    this.graph.setLinkColors(tints);
    this.graph.setLinkWidths(Float32Array.from(links, ({ kind }) => (kind === "parent" ? 1.1 : 1.2)));
    this.graph.setLinkStyles(Float32Array.from(links, ({ kind }) => (kind === "parent" ? SOLID : DASHED)));
    this.graph.render(undefined, 0);
  }

  #setNodes(nodes) {
    const fills = new Float32Array(nodes.length * 4);
    nodes.forEach(({ mark }, index) => fills.set(channels(colours[mark]), index * 4));
    this.#place(nodes);
    this.graph.setPointColors(fills);
    this.graph.setPointSizes(Float32Array.from(nodes, ({ r }) => 2 * r));
    this.graph.setPointShapes(Float32Array.from(nodes, ({ role }) => (role === "subagent" ? DIAMOND : CIRCLE)));
  }

  #place(nodes) {
    const places = new Float32Array(nodes.length * 2);
    nodes.forEach(({ x, y }, index) => places.set([MIDDLE + x, MIDDLE - y], index * 2));
    this.graph.setPointPositions(places, true);
  }

  /** The same nodes, elsewhere. */
  move(nodes) {
    this.#place(nodes);
    this.graph.render(undefined, 0);
  }

  recolour() {
    this.graph.setConfigPartial({ backgroundColor: colours.ground });
  }

  get scale() {
    return this.graph.getZoomLevel();
  }

  toScreen(x, y) {
    return this.graph.spaceToScreenPosition([MIDDLE + x, MIDDLE - y]);
  }

  toSpace(left, top) {
    const [x, y] = this.graph.screenToSpacePosition([left, top]);
    return [x - MIDDLE, MIDDLE - y];
  }

  /** Show the box around these points; at most so large that one unit is `most` pixels. */
  show({ left, top, right, bottom }, most, duration) {
    const { clientWidth: width, clientHeight: height } = this.host;
    const scale = Math.min(most, width / (right - left), height / (bottom - top));
    const middle = new Float32Array([MIDDLE + (left + right) / 2, MIDDLE - (top + bottom) / 2]);
    this.graph.setZoomTransformByPointPositions(middle, duration, scale, 0, false);
  }

  zoomBy(factor, duration) {
    this.graph.setZoomLevel(this.scale * factor, duration);
  }

  resize() {
    this.draw();
  }
}
