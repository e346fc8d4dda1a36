// Text on a canvas: measured once, cut where there is no room, with a rim so that lines beneath do not cross it.

import { colours } from "./theme.js";

export const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const MOST_KNOWN = 5000;
const LEAST = 9; // letters; less than that says nothing
const widths = new Map();

/** Width of `text` in pixels, in a CSS font. */
export function widthOf(context, font, text) {
  const key = `${font}|${text}`;
  let width = widths.get(key);
  if (width === undefined) {
    if (widths.size >= MOST_KNOWN) widths.clear();
    context.font = font;
    width = context.measureText(text).width;
    widths.set(key, width);
  }
  return width;
}

/** As much of `text` as fits, cut at its end; "" where not even a few letters do. */
export function fitted(context, font, text, most) {
  if (widthOf(context, font, text) <= most) return text;
  let [low, high] = [0, text.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (widthOf(context, font, cutAt(text, middle)) <= most) low = middle;
    else high = middle - 1;
  }
  return low < LEAST ? "" : cutAt(text, low);
}

/** The same in two lines, broken between words; the second one may be cut. */
export function inTwo(context, font, text, most) {
  const words = text.split(/\s+/);
  let first = "";
  while (words.length && widthOf(context, font, `${first} ${words[0]}`.trim()) <= most)
    first = `${first} ${words.shift()}`.trim();
  return first ? [first, fitted(context, font, words.join(" "), most)].filter(Boolean) : [];
}

function cutAt(text, length) {
  return `${text.slice(0, length).trimEnd()}…`;
}

/** Write at (x, y), the left end of the base line. */
export function write(context, font, text, x, y, colour) {
  context.font = font;
  context.lineJoin = "round";
  context.lineWidth = 3.5;
  context.strokeStyle = colours.ground;
  context.strokeText(text, x, y);
  context.fillStyle = colour;
  context.fillText(text, x, y);
}
