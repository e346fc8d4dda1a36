// What the graph shows, from what is known: nodes, links and the circles of the sessions; pure.

import { shortId } from "./format.js";
import { layoutSession, packSessions } from "./layout.js";
import { bareId } from "./store.js";
import { agentMark, sessionMark } from "./words.js";

const RADIUS = { queen: 15, worker: 9, subagent: 7 };
const CROWD = 300; // agents; so many are shown small, and
const CROWDED = 1.35; // take more of the room between them
const STRONG_LINKS = 200;
const LEAST_ALPHA = 0.18;
const [SAME, WORDS, LOOKS] = [0, 1, 2]; // how much of a node is other than before

/** Radius of an agent: by role, and up to two thirds more by tokens. */
export function nodeRadius(role, tokens) {
  const share = Math.min(1, Math.log10(1 + (tokens ?? 0) / 1000) / 3);
  return (RADIUS[role] ?? RADIUS.worker) * (1 + 0.66 * share);
}

/** How strong so many links are drawn: faint in a crowd, where they would hide the agents. */
export function linkAlpha(links) {
  return Math.min(1, Math.max(LEAST_ALPHA, STRONG_LINKS / links.length));
}

/**
 * The picture of the sessions that are shown, brought up to date with as little work as what changed allows.
 *
 * `nodes`: {key, session, agent, x, y, goes, r, role, mark, of, name, tool, out}; `goes` is where a node
 * belongs, `x` and `y` where it stands, which is whoever draws it to change; `of` the session's mark; `out` leads
 * away from the queen. `links`: {from, to, kind} by index of node, kind parent or message. `circles`: {id, x, y, r,
 * mark, title}.
 */
export class Scene {
  constructor() {
    this.nodes = [];
    this.links = [];
    this.circles = [];
    this.middles = new Map();
    this.parts = new Map();
  }

  /**
   * Show these sessions, in their order, on a screen of this aspect. `moved`: other nodes, places or links than before;
   * `changed`: other colours or sizes; `told`: other words.
   */
  update(sessions, aspect = 1.4) {
    const parts = sessions.map((session) => this.#part(session));
    const moved = this.#pack(parts, aspect) || parts.some(({ fresh }) => fresh) || parts.length !== this.parts.size;
    this.parts = new Map(parts.map((part) => [part.id, part]));
    if (moved) this.#assemble(parts);
    const crowded = this.nodes.length > CROWD ? CROWDED : 1;
    const anew = crowded !== this.crowded;
    this.crowded = crowded;
    let most = anew ? LOOKS : SAME;
    for (const [index, { row, agents }] of sessions.entries()) {
      const circle = { mark: sessionMark(row.status), title: row.task || shortId(row.session_id) };
      most = Math.max(most, entitle(this.circles[index], circle));
      for (const node of parts[index].nodes)
        most = Math.max(most, look(node, agents.get(node.agent), circle.mark, crowded, anew));
    }
    return { moved, changed: most === LOOKS, told: most > SAME };
  }

  /** What of a session decides where its agents stand; the part of before while that is the same. */
  #part({ row, agents, links }) {
    const id = row.session_id;
    const known = this.parts.get(id);
    const shape = [...shapeOf(agents, links)];
    if (known && shape.length === known.shape.length && shape.every((each, at) => each === known.shape[at])) {
      known.fresh = false;
      return known;
    }
    const listed = [...agents.values()].map(({ agent, parent_id: parent, role }) => ({
      agent,
      parent: bareId(parent),
      role,
    }));
    const alone = [{ agent: "", parent: null, role: "queen" }];
    const { places, radius } = layoutSession(listed.length ? listed : alone);
    const before = new Map(known?.nodes.map((node) => [node.agent, node]));
    const nodes = (listed.length ? listed : alone).map(({ agent, role }) =>
      Object.assign(before.get(agent) ?? { key: `${id}/${agent}`, session: id, agent: agent || null }, {
        role,
        out: places.get(agent),
      }),
    );
    return { id, shape, radius, nodes, pairs: pairsOf(listed, links), fresh: true };
  }

  /** Give each session its room; true when one lies elsewhere than before. */
  #pack(parts, aspect) {
    const key = `${aspect.toFixed(2)} ${parts.map(({ id, radius }) => `${id} ${radius.toFixed(1)}`)}`;
    if (key === this.packed) return false;
    this.packed = key;
    this.middles = packSessions(parts, this.middles, aspect);
    return true;
  }

  #assemble(parts) {
    const wasEmpty = !this.nodes.length;
    this.nodes = [];
    this.links = [];
    this.circles = parts.map(({ id, radius }) => ({ id, ...this.middles.get(id), r: radius }));
    for (const { id, nodes, pairs } of parts) {
      const middle = this.middles.get(id);
      const first = this.nodes.length;
      for (const node of nodes) {
        node.goes = { x: middle.x + node.out.x, y: middle.y + node.out.y };
        const from = wasEmpty ? node.goes : middle; // who comes later comes out of the middle
        node.x ??= from.x;
        node.y ??= from.y;
        this.nodes.push(node);
      }
      for (const { from, to, kind } of pairs) this.links.push({ from: first + from, to: first + to, kind });
    }
  }
}

/** Ids, parents, roles and links, in order: the same values, the same picture. */
function* shapeOf(agents, links) {
  for (const { agent, parent_id: parent, role } of agents.values()) {
    yield agent;
    yield parent;
    yield role;
  }
  yield* links.keys();
}

/** Who is called by whom, and who speaks with whom, by index; one link for the words of both. */
function pairsOf(listed, links) {
  const index = new Map(listed.map(({ agent }, at) => [agent, at]));
  const pairs = [];
  listed.forEach(({ agent, parent }, to) => {
    if (index.has(parent) && parent !== agent) pairs.push({ from: index.get(parent), to, kind: "parent" });
  });
  const spoken = new Set();
  for (const link of links.keys()) {
    const [from, to] = link.split(">").map((agent) => index.get(agent));
    if (from === undefined || to === undefined || from === to || spoken.has(`${from} ${to}`)) continue;
    spoken.add(`${from} ${to}`).add(`${to} ${from}`);
    pairs.push({ from, to, kind: "message" });
  }
  return pairs;
}

function entitle(circle, { mark, title }) {
  if (circle.mark === mark && circle.title === title) return SAME;
  Object.assign(circle, { mark, title });
  return WORDS;
}

/** Let a node look like its agent (none: of a session whose agents are not known); what is other than before. */
function look(node, agent, of, crowded, anew) {
  if (node.is === agent && node.of === of && node.mark && !anew) return SAME;
  const mark = agent ? agentMark(agent.status) : of;
  const r = crowded * nodeRadius(node.role, agent?.tokens);
  const name = agent ? (agent.role === "queen" ? "queen" : agent.name || agent.type || agent.role) : "";
  const tool = agent?.status === "working" ? (agent.tool ?? null) : null;
  const looks = mark !== node.mark || Math.abs(r - (node.r ?? 0)) >= 0.5;
  const words = looks || name !== node.name || tool !== node.tool || of !== node.of;
  Object.assign(node, { is: agent, of, mark, name, tool });
  if (looks || anew) node.r = r;
  return looks || anew ? LOOKS : words ? WORDS : SAME;
}
