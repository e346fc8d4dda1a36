// The rows of a table: only those in sight are drawn, so a thousand cost no more than forty. They are one stop for the
// Tab key: the arrows walk them, Enter or Space opens one.
//
// The browser's own search in the page does not find what is not drawn; the page's own does. Whoever is told of the
// table by a screen reader hears how many rows there are, and which one this is.

import { h, keepChildren, setAttribute } from "./dom.js";

const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: -Infinity, End: Infinity };
const FIRST = 40; // rows that are drawn before it is known how many are in sight
const BEYOND = "400px"; // around what is in sight
const HEADS = 2; // the number of the first row: the one above it is the table's head

export class Rows {
  /**
   * Rows of `table` in `body`, within `scroller`: for each item `make(item)` gives one with an onclick of its own,
   * `update(row, item)` says what it shows.
   */
  constructor(table, scroller, { keyOf, make, update }) {
    Object.assign(this, { table, keyOf, make, update });
    this.body = h("tbody");
    table.append(this.body);
    this.clear();
    this.observer = new IntersectionObserver((gaps) => this.#look(gaps), {
      root: scroller,
      rootMargin: `${BEYOND} 0px`,
    });
    let height = 0;
    new ResizeObserver(([{ contentRect }]) => {
      this.#stay(scroller.getBoundingClientRect().top, height);
      height = contentRect.height;
    }).observe(scroller);
    this.body.addEventListener("keydown", (event) => this.#walk(event));
    this.body.addEventListener("focusin", ({ target }) => this.#stopAt(target.closest("tr").dataset.key));
  }

  clear() {
    Object.assign(this, { items: [], places: new Map(), range: [0, FIRST], stop: null, chosen: null });
    Object.assign(this, { seen: null, gaps: "" });
    this.body.replaceChildren();
  }

  /** Show these; the row with the key `chosen` is brought into sight, once and as soon as there is one. */
  show(items, chosen) {
    Object.assign(this, { items, chosen });
    this.places = new Map(items.map((item, at) => [this.keyOf(item), at]));
    if (!this.places.has(this.stop)) this.stop = items.length ? this.keyOf(items[0]) : null;
    setAttribute(this.table, "aria-rowcount", items.length + HEADS - 1);
    this.#draw();
    if (chosen === this.seen) return;
    if (chosen && !this.places.has(chosen)) return;
    this.#rowOf(chosen)?.scrollIntoView({ block: "nearest" });
    this.seen = chosen;
  }

  #draw() {
    const asked = [this.stop, this.chosen].map((key) => this.places.get(key)).filter((at) => at !== undefined);
    const parts = partsOf(this.items.length, this.range, asked);
    const keyAt = (at) => (at < 0 ? "" : this.keyOf(this.items[at]));
    keepChildren(this.body, parts, {
      keyOf: ({ at, rows }) => (rows ? `\n${keyAt(at - 1)}` : keyAt(at)), // no id begins with the end of a line
      make: ({ at, rows }) => (rows ? makeGap() : this.make(this.items[at])),
      update: (row, part) => this.#update(row, part),
    });
    const gaps = parts.filter(({ rows }) => rows);
    const key = gaps.map(({ at, rows }) => `${at} ${rows} ${keyAt(at - 1)}`).join();
    if (key === this.gaps) return;
    this.gaps = key;
    this.observer.disconnect(); // and anew, which tells of each whether it is in sight now
    for (const gap of this.body.querySelectorAll(".gap")) this.observer.observe(gap);
  }

  #update(row, { at, rows }) {
    if (rows) {
      Object.assign(row, { at, rows });
      row.style.height = `calc(${rows} * var(--row))`;
      return;
    }
    setAttribute(row, "aria-rowindex", at + HEADS);
    row.tabIndex = row.dataset.key === this.stop ? 0 : -1;
    this.update(row, this.items[at]);
  }

  /** A gap came into sight: what the room of each row there is says which rows are. */
  #look(gaps) {
    const seen = gaps.findLast(({ isIntersecting, target }) => isIntersecting && target.isConnected);
    if (!seen) return;
    const { boundingClientRect: gap, rootBounds: sight, target } = seen;
    const rowAt = (y) => target.at + ((y - gap.top) / gap.height) * target.rows;
    this.range = [Math.floor(rowAt(sight.top)), Math.ceil(rowAt(sight.bottom))];
    this.#draw();
  }

  /** The scroller has another height than before: if the chosen row was in sight, it still is. */
  #stay(top, height) {
    const row = this.#rowOf(this.chosen);
    const bottom = row?.getBoundingClientRect().bottom;
    if (bottom > top && bottom <= top + height + 1) row.scrollIntoView({ block: "nearest" });
  }

  #rowOf(key) {
    return [...this.body.children].find((row) => row.dataset.key === key);
  }

  #stopAt(key) {
    const before = this.#rowOf(this.stop);
    if (before) before.tabIndex = -1;
    this.stop = key;
    this.#rowOf(key).tabIndex = 0;
  }

  #walk(event) {
    const row = event.target.closest("tr");
    const opens = event.key === "Enter" || event.key === " ";
    if (!row || event.ctrlKey || event.metaKey || event.altKey || !(opens || event.key in STEPS)) return;
    event.preventDefault();
    event.stopPropagation(); // Enter and Space mean something else to the page
    if (opens) row.click();
    else this.#go(this.places.get(row.dataset.key) + STEPS[event.key]);
  }

  #go(at) {
    const key = this.keyOf(this.items[Math.min(this.items.length - 1, Math.max(0, at))]);
    this.stop = key;
    this.#draw();
    const row = this.#rowOf(key);
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  }
}

function makeGap() {
  return h("tr", { class: "gap", "aria-hidden": "true" }, h("td"));
}

/**
 * What to draw of `count` rows, in order: the rows {at} of `range` (from, to) and those `asked` for, and for the rows
 * between them a gap {at, rows}. Pure.
 */
export function partsOf(count, [from, to], asked) {
  const drawn = new Set(asked);
  for (let at = Math.max(0, from); at < Math.min(count, to); at += 1) drawn.add(at);
  const parts = [];
  let next = 0;
  for (const at of [...drawn].sort((one, other) => one - other)) {
    if (at > next) parts.push({ at: next, rows: at - next });
    parts.push({ at });
    next = at + 1;
  }
  if (next < count) parts.push({ at: next, rows: count - next });
  return parts;
}
