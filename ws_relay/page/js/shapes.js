// Shapes on the screen: which rectangles are taken, so that no two labels lie over each other, and the way of messages
// between two agents, an arc beside the straight line of parentage; pure.

const CELL = 64; // pixels; larger than most labels are high, smaller than most are wide
const BOW = 0.2; // of the distance, to the side
const CLEAR = 5; // pixels from a node's rim

/** Rectangles [left, top, width, height], found again by the cells of a grid that they touch. */
export class Boxes {
  constructor() {
    this.cells = new Map();
  }

  add(box) {
    for (const cell of cellsOf(box)) {
      const known = this.cells.get(cell);
      if (known) known.push(box);
      else this.cells.set(cell, [box]);
    }
  }

  /** True where no rectangle lies yet but `own`. */
  isFree(box, own = null) {
    const blocks = (other) => other !== own && meet(box, other);
    for (const cell of cellsOf(box)) if (this.cells.get(cell)?.some(blocks)) return false;
    return true;
  }
}

function* cellsOf([left, top, width, height]) {
  for (let row = Math.floor(top / CELL); row <= Math.floor((top + height) / CELL); row += 1) {
    for (let column = Math.floor(left / CELL); column <= Math.floor((left + width) / CELL); column += 1)
      yield row * 4096 + column;
  }
}

function meet([left, top, width, height], [x, y, wide, high]) {
  return x < left + width && left < x + wide && y < top + height && top < y + high;
}

/**
 * How far a line of text may reach to both sides of a circle's middle between `top` and `bottom`, before it meets
 * another circle or the edges 0 and `width`: [left, right]. Circles: {x, y, r} on the screen.
 */
export function roomAbove(circle, circles, top, bottom, width) {
  let [left, right] = [0, width];
  for (const other of circles) {
    if (other === circle) continue;
    const away = Math.max(top - other.y, other.y - bottom, 0);
    if (away >= other.r) continue;
    const reach = Math.sqrt(other.r * other.r - away * away);
    if (other.x >= circle.x) right = Math.min(right, other.x - reach);
    else left = Math.max(left, other.x + reach);
  }
  return [left, right];
}

/** {start, bend, end} on the screen, from rim to rim; between the same two always the same arc, whoever speaks. */
export function arcBetween({ at, scale }, from, to) {
  const [x, y] = at(from.x, from.y);
  const [left, top] = at(to.x, to.y);
  const length = Math.hypot(left - x, top - y) || 1;
  const side = from.key < to.key ? BOW : -BOW;
  const bend = [(x + left) / 2 - side * (top - y), (y + top) / 2 + side * (left - x)];
  return {
    start: towards([x, y], bend, Math.min(length / 3, from.r * scale + CLEAR)),
    bend,
    end: towards([left, top], bend, Math.min(length / 3, to.r * scale + CLEAR)),
  };
}

/** A point of an arc: its start at 0, its end at 1. */
export function pointOn({ start, bend, end }, share) {
  const rest = 1 - share;
  return [0, 1].map((axis) => rest * rest * start[axis] + 2 * rest * share * bend[axis] + share * share * end[axis]);
}

function towards([x, y], [left, top], pixels) {
  const length = Math.hypot(left - x, top - y) || 1;
  return [x + ((left - x) / length) * pixels, y + ((top - y) / length) * pixels];
}
