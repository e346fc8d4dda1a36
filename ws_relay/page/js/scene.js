// What the graph shows, from what is known: nodes, links and the circles of the sessions; pure.

import { cut, shortId } from "./format.js";
import { layoutSession, packSessions } from "./layout.js";
import { activity, agentMark, sessionMark } from "./words.js";

const RADIUS = { queen: 15, worker: 9, subagent: 7 };
const CROWD = 300; // agents; so many are shown small, and
const CROWDED = 1.35; // take more of the room between them
const TITLE_CHARACTERS = 34;

/** Radius of an agent: by role, and up to two thirds more by tokens. */
export function nodeRadius(role, tokens) {
  const share = Math.min(1, Math.log10(1 + (tokens ?? 0) / 1000) / 3);
  return (RADIUS[role] ?? RADIUS.worker) * (1 + 0.66 * share);
}

/**
 * Nodes, links and circles of the given sessions, in their order. `before` is where the sessions lay, by id.
 * Nodes: {key, session, agent, x, y, r, role, mark, name, doing, tool, out}; `out` leads away from the queen; links:
 * {from, to, kind} by index of node.
 */
export function buildScene(sessions, before = new Map(), aspect = 1.4) {
  const laid = sessions.map((session) => layOut(session));
  const middles = packSessions(
    laid.map(({ id, radius }) => ({ id, radius })),
    before,
    aspect,
  );
  const scene = { nodes: [], links: [], circles: [], middles };
  for (const each of laid) addSession(scene, each, middles.get(each.id));
  if (scene.nodes.length > CROWD) for (const node of scene.nodes) node.r *= CROWDED;
  return scene;
}

function layOut({ row, agents, links }) {
  const listed = [...agents.values()].map((agent) => ({
    agent: agent.agent,
    parent: bare(agent.parent_id),
    role: agent.role,
  }));
  const { places, radius } = layoutSession(listed.length ? listed : [{ agent: "", parent: null, role: "queen" }]);
  return { id: row.session_id, row, agents, messages: links, places, radius };
}

function addSession(scene, { id, row, agents, messages, places, radius }, middle) {
  const mark = sessionMark(row.status);
  scene.circles.push({
    id,
    ...middle,
    r: radius,
    mark,
    title: cut(row.task || shortId(id), TITLE_CHARACTERS),
    state: row.state,
  });
  if (!agents.size) {
    scene.nodes.push({
      key: `${id}/`,
      session: id,
      agent: null,
      ...middle,
      r: RADIUS.queen,
      role: "queen",
      mark,
      name: "",
      doing: "",
      tool: null,
    });
    return;
  }
  const index = new Map();
  for (const agent of agents.values()) {
    const { x, y } = places.get(agent.agent);
    index.set(agent.agent, scene.nodes.length);
    scene.nodes.push({
      key: `${id}/${agent.agent}`,
      session: id,
      agent: agent.agent,
      x: middle.x + x,
      y: middle.y + y,
      r: nodeRadius(agent.role, agent.tokens),
      role: agent.role,
      mark: agentMark(agent.status),
      name: agent.role === "queen" ? "queen" : agent.name || agent.type || agent.role,
      doing: activity(agent),
      tool: agent.status === "working" ? agent.tool : null,
      out: { x, y },
    });
  }
  addLinks(scene, agents, messages, index);
}

function addLinks(scene, agents, messages, index) {
  const joined = new Set();
  for (const agent of agents.values()) {
    const parent = bare(agent.parent_id);
    if (!index.has(parent) || parent === agent.agent) continue;
    joined.add(`${parent}>${agent.agent}`).add(`${agent.agent}>${parent}`);
    scene.links.push({ from: index.get(parent), to: index.get(agent.agent), kind: "parent" });
  }
  for (const link of messages.keys()) {
    const [from, to] = link.split(">");
    if (joined.has(link) || !index.has(from) || !index.has(to) || from === to) continue;
    joined.add(link).add(`${to}>${from}`);
    scene.links.push({ from: index.get(from), to: index.get(to), kind: "message" });
  }
}

function bare(id) {
  return id == null ? null : id.slice(id.indexOf("/") + 1);
}
