// Where agents stand and where sessions lie: the same agents give the same picture; pure. Units are those of the
// graph's space.

const STEP = 76; // from the queen to her first ring
const ROOM = 56; // along a ring, for each worker
const RING_MOST = 18; // workers on one ring; more fill a disc like a sunflower's seeds
const SEED = 34; // of the sunflower
const GOLDEN = Math.PI * (3 - Math.sqrt(5));
const CHILD_STEP = 30;
const MARGIN = 46; // from the outermost agent to the rim: room for its name
const GAP = 44; // between two sessions: room for a title
const GRAIN = 20; // radii are rounded up to this, so that a session may grow without moving its neighbours
const WASTE = 1.2; // a picture so much larger than it needs to be is laid out anew
const LEAST_RADIUS = 64;

/**
 * Places of one session's agents around (0, 0): {places: Map id -> {x, y}, radius}. `agents`: {agent, parent, role},
 * in order.
 */
export function layoutSession(agents) {
  const children = childrenOf(agents);
  const places = new Map();
  const [root, ...rest] = children.get(null) ?? [];
  if (root !== undefined) places.set(root, { x: 0, y: 0 });
  const first = [...(children.get(root) ?? []), ...rest];
  const wide = first.some((id) => children.get(id)?.length) ? 1.35 : 1;
  first.forEach((id, index) => places.set(id, firstPlace(index, first.length, wide)));
  for (const id of first)
    placeChildren(id, children, places, Math.atan2(places.get(id).y, places.get(id).x), CHILD_STEP);
  let radius = 0;
  for (const { x, y } of places.values()) radius = Math.max(radius, Math.hypot(x, y));
  return { places, radius: Math.max(LEAST_RADIUS, radius + MARGIN) };
}

function childrenOf(agents) {
  const known = new Set(agents.map(({ agent }) => agent));
  const queen = agents.find(({ role }) => role === "queen")?.agent ?? agents[0]?.agent;
  const children = new Map([[null, queen === undefined ? [] : [queen]]]);
  for (const { agent, parent } of agents) {
    if (agent === queen) continue;
    const above = known.has(parent) && parent !== agent ? parent : queen;
    if (!children.has(above)) children.set(above, []);
    children.get(above).push(agent);
  }
  return children;
}

function firstPlace(index, total, wide) {
  if (total > RING_MOST) {
    const distance = SEED * wide * Math.sqrt(index + 5);
    return { x: distance * Math.cos(index * GOLDEN), y: distance * Math.sin(index * GOLDEN) };
  }
  const distance = Math.max(STEP, (total * ROOM * wide) / (2 * Math.PI));
  const angle = -Math.PI / 2 + (index * 2 * Math.PI) / total;
  return { x: distance * Math.cos(angle), y: distance * Math.sin(angle) };
}

/** Fan the children of an agent out, away from the middle. A circle of parents ends, for each place is given once. */
function placeChildren(id, children, places, outward, step) {
  const below = (children.get(id) ?? []).filter((child) => !places.has(child));
  const { x, y } = places.get(id);
  const spread = Math.min(Math.PI * 1.4, 0.75 * below.length);
  const distance = Math.max(step, (below.length * 16) / (spread || 1));
  below.forEach((child, index) => {
    const angle = outward + (below.length > 1 ? spread * (index / (below.length - 1) - 0.5) : 0);
    places.set(child, { x: x + distance * Math.cos(angle), y: y + distance * Math.sin(angle) });
    placeChildren(child, children, places, angle, Math.max(18, step * 0.85));
  });
}

/**
 * Middles of the sessions' circles, none over another: Map id -> {x, y}. `circles`: {id, radius}, in order; `aspect`
 * is the
 * width of the screen by its height. Those with a place in `before` keep it while that fits and wastes little, so that
 * nothing jumps.
 */
export function packSessions(circles, before = new Map(), aspect = 1.4) {
  const round = circles.map(({ id, radius }) => ({ id, radius: Math.ceil(radius / GRAIN) * GRAIN + GAP / 2 }));
  const kept = [];
  const others = [];
  for (const circle of round) {
    const at = { ...circle, ...before.get(circle.id) };
    if (before.has(circle.id) && fits(at, kept)) kept.push(at);
    else others.push(circle);
  }
  const stable = packAround(kept, others, aspect);
  if (!kept.length) return middlesOf(stable);
  const fresh = packAround([], round, aspect);
  return middlesOf(needed(stable, aspect) > WASTE * needed(fresh, aspect) ? fresh : stable);
}

function packAround(kept, others, aspect) {
  const placed = [...kept];
  const wide = Math.min(2, Math.max(0.5, aspect));
  for (const circle of others) placed.push({ ...circle, ...freePlace(circle, placed, wide) });
  return placed;
}

function middlesOf(placed) {
  return new Map(placed.map(({ id, x, y }) => [id, { x, y }]));
}

/** Height of a screen of this aspect that shows all of it. */
function needed(placed, aspect) {
  const reach = (name, sign) => Math.max(...placed.map((circle) => sign * circle[name] + circle.radius));
  return Math.max((reach("x", 1) + reach("x", -1)) / aspect, reach("y", 1) + reach("y", -1));
}

function fits(circle, placed) {
  return placed.every(
    (other) => Math.hypot(circle.x - other.x, circle.y - other.y) >= circle.radius + other.radius - 0.01,
  );
}

/** The place nearest to the middle of all where a circle fits: beside another one, at one of a few angles. */
function freePlace(circle, placed, wide) {
  if (!placed.length) return { x: 0, y: 0 };
  const middle = (name) => placed.reduce((sum, each) => sum + each[name], 0) / placed.length;
  const [left, top] = [middle("x"), middle("y")];
  let best = null;
  for (const other of placed) {
    for (let turn = 0; turn < 24; turn += 1) {
      const angle = (turn * Math.PI) / 12;
      const reach = circle.radius + other.radius;
      const at = { x: other.x + reach * Math.cos(angle), y: other.y + reach * Math.sin(angle), radius: circle.radius };
      const away = Math.hypot((at.x - left) / wide, at.y - top);
      if ((best === null || away < best.away - 0.01) && fits(at, placed)) best = { ...at, away };
    }
  }
  return { x: best.x, y: best.y };
}
