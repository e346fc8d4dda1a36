// The way of messages between two agents: an arc beside the straight line of parentage; pure.

const BOW = 0.2; // of the distance, to the side
const CLEAR = 5; // pixels from a node's rim

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
