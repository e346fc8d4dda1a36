// The time line: marks of what happened, a thumb at the moment that is shown, play and pause, and the way back to live.

import { clock, date, duration } from "./format.js";
import { colours } from "./theme.js";
import { h, setAttribute, setText } from "./dom.js";

const SPEEDS = [1, 2, 4, 8, 16, 32];
const HEIGHTS = { running: 7, waiting: 7, starting: 10, done: 13, failed: 20 };
const ORDER = ["waiting", "running", "starting", "done", "failed"]; // the later ones are drawn over the others

export class TimeLine {
  /** `actions`: go(moment or null), play(), step(-1 or 1), speed(number). */
  constructor(host, actions) {
    this.host = host;
    this.actions = actions;
    this.speed = SPEEDS[0];
    this.size = { width: 0, height: 0 };
    const button = (label, text, onclick, more = {}) =>
      h("button", { type: "button", "aria-label": label, onclick, ...more }, text);
    this.play = button("Play", "▶", () => actions.play());
    this.speedButton = button("Speed", "1x", () => this.#faster());
    this.time = h("span", { class: "time" });
    this.live = h("button", { type: "button", class: "live-button", onclick: () => actions.go(null) }, "live");
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.thumb = h("div", { class: "thumb" });
    this.track = h(
      "div",
      { class: "track", role: "slider", tabindex: 0, "aria-label": "Moment", "aria-valuemin": 0, "aria-valuemax": 100 },
      this.canvas,
      this.thumb,
    );
    const steps = [
      button("One event back", "‹", () => actions.step(-1), { class: "step" }),
      button("One event on", "›", () => actions.step(1), { class: "step" }),
    ];
    host.append(
      h(
        "div",
        { class: "timeline-row" },
        steps[0],
        this.play,
        steps[1],
        this.speedButton,
        this.track,
        h("span", {}, this.time, " ", this.live),
      ),
    );
    this.#listen();
    new ResizeObserver(([{ contentRect }]) => {
      this.size = contentRect;
      this.#paint();
    }).observe(this.track);
  }

  /** Show: {span: [from, to] or null, moment: null for live, marks: [{at, mark}], playing, atEnd}. */
  show({ span, moment, marks, playing, running }) {
    Object.assign(this, { span, moment, marks });
    setText(this.play, playing ? "❚❚" : "▶");
    setAttribute(this.play, "aria-label", playing ? "Pause" : "Play");
    setAttribute(this.live, "aria-pressed", String(moment == null));
    setText(this.live, running || moment == null ? "live" : "now");
    setAttribute(this.track, "data-moment", moment);
    this.#place(moment);
    this.#paint();
  }

  #place(moment) {
    this.host.hidden = !this.span;
    if (!this.span) {
      setText(this.time, "");
      return;
    }
    const [from, to] = this.span;
    const at = moment ?? to;
    const share = Math.min(1, Math.max(0, (at - from) / (to - from)));
    this.thumb.style.left = `${share * 100}%`;
    setText(this.time, at > Date.now() - 86_400_000 ? clock(at) : date(at));
    setAttribute(this.track, "aria-valuenow", Math.round(share * 100));
    setAttribute(
      this.track,
      "aria-valuetext",
      moment == null ? "live" : `${clock(at)}, ${duration(at - from)} after the start`,
    );
  }

  /** A tenth of the whole, on (1) or back (-1). */
  #leap(direction) {
    if (!this.span) return;
    const [from, to] = this.span;
    const at = (this.moment ?? to) + (direction * (to - from)) / 10;
    this.actions.go(at >= to ? null : Math.max(from, at));
  }

  #faster() {
    this.speed = SPEEDS[(SPEEDS.indexOf(this.speed) + 1) % SPEEDS.length];
    setText(this.speedButton, `${this.speed}x`);
    setAttribute(this.speedButton, "aria-label", `Speed ${this.speed} times`);
    this.actions.speed(this.speed);
  }

  #paint() {
    const { width, height } = this.size; // asking the track would have all of the page laid out at once
    if (!width || !this.span) return;
    const key = `${width} ${this.span} ${this.marks.length} ${colours.ground}`;
    if (key === this.painted) return;
    this.painted = key;
    this.canvas.width = Math.round(width * devicePixelRatio);
    this.canvas.height = Math.round(height * devicePixelRatio);
    const context = this.canvas.getContext("2d");
    context.scale(devicePixelRatio, devicePixelRatio);
    context.fillStyle = colours["line-strong"];
    context.fillRect(0, height / 2 - 1, width, 2);
    this.#paintMarks(context, width, height);
  }

  /** One mark a pixel and kind is enough. */
  #paintMarks(context, width, height) {
    const [from, to] = this.span;
    const columns = new Map(ORDER.map((mark) => [mark, new Set()]));
    for (const { at, mark } of this.marks) columns.get(mark)?.add(Math.round(((at - from) / (to - from)) * width));
    for (const [mark, places] of columns) {
      const tall = HEIGHTS[mark];
      context.fillStyle = colours[mark];
      for (const x of places) context.fillRect(x - 1, (height - tall) / 2, 2, tall);
      if (mark === "failed") for (const x of places) context.fillRect(x - 2.5, (height - tall) / 2, 5, 3);
    }
  }

  #listen() {
    const { track } = this;
    const go = (event) => {
      if (!this.span) return;
      const { left, width } = track.getBoundingClientRect();
      const share = Math.min(1, Math.max(0, (event.clientX - left) / width));
      const [from, to] = this.span;
      this.actions.go(share > 0.995 ? null : from + share * (to - from));
    };
    track.addEventListener("pointerdown", (event) => {
      track.setPointerCapture(event.pointerId);
      go(event);
    });
    track.addEventListener("pointermove", (event) => track.hasPointerCapture(event.pointerId) && go(event));
    track.addEventListener("keydown", (event) => {
      if (event.key === "Home" && this.span) this.actions.go(this.span[0]);
      if (event.key === "End") this.actions.go(null);
      if (event.key === "PageUp") this.#leap(-1);
      if (event.key === "PageDown") this.#leap(1);
    });
  }
}
