// Three small curves of a session: cpu, memory, tokens.

import { bytes, count, NONE } from "./format.js";
import { h, setAttribute, setText, svg } from "./dom.js";
import { isLive } from "./words.js";
import { polyline, seriesOf } from "./series.js";

const [WIDTH, HEIGHT] = [100, 30];

export class Curves {
  constructor() {
    this.parts = [
      ["cpu", "cpu", percent],
      ["memory", "mem", bytes],
      ["tokens", "tok/min", count],
    ].map(([name, title, words]) => {
      const figure = h("b");
      const line = svg("polyline");
      const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, line);
      return {
        name,
        words,
        figure,
        line,
        picture,
        element: h("figure", {}, h("figcaption", {}, title, figure), picture),
      };
    });
    this.element = h("div", { class: "curves" }, ...this.parts.map(({ element }) => element));
  }

  /** Show the curves of [from, to]. */
  show(recording, from, to, row) {
    if (!recording?.events.length || from == null) {
      this.element.hidden = true;
      return;
    }
    this.element.hidden = false;
    // Once a second is enough while it runs; of what has ended, and of a moment, whenever more of it was read.
    const read = isLive(row.status) ? recording.events.length > 0 : recording.to;
    const key = `${row.session_id} ${read} ${Math.round((to - from) / 1000)}`;
    if (key === this.key) return;
    this.key = key;
    const series = seriesOf(recording.events.slice(0, recording.countAt(to)), from, to);
    for (const { name, words, figure, line, picture } of this.parts) {
      const values = series[name];
      const top = Math.max(...values.filter((value) => value != null), 0);
      const shown = isLive(row.status) ? values.at(-1) : top;
      setText(
        figure,
        shown == null || !Number.isFinite(shown) ? NONE : isLive(row.status) ? words(shown) : `peak ${words(shown)}`,
      );
      setAttribute(line, "points", polyline(values, WIDTH, HEIGHT));
      setAttribute(picture, "aria-label", `${name}, at most ${words(top)}`);
    }
  }
}

function percent(value) {
  return `${Math.round(value)} %`;
}
