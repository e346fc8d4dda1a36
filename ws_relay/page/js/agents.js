// Tables of agents: the one in a session's panel, and the table view with all that the graph shows.

import { activity, agentMark, agentOver, sessionMark, sessionState } from "./words.js";
import { count, cut, duration, instant, money, plural, shortId } from "./format.js";
import { h, setAttribute, setText } from "./dom.js";
import { markIcon, setMark } from "./marks.js";
import { Rows } from "./rows.js";
import { bareId } from "./store.js";
import { runMs } from "./sessions.js";

const MANY = 40; // rows

/** How long an agent has worked, or worked, in milliseconds. */
export function agentMs(agent, row, now) {
  if (instant(agent.ended) != null && agent.duration_ms != null) return agent.duration_ms;
  const until = instant(agent.ended) ?? instant(row.ended) ?? now;
  const begun = instant(agent.started);
  return begun == null ? agent.duration_ms : until - begun;
}

/** What people call an agent. */
export function agentName(agent) {
  return agent.role === "queen" ? "queen" : agent.name || agent.type || agent.role;
}

function cells(...classes) {
  return classes.map((name) => h("td", { class: name || null }));
}

function row(className, cells, onOpen) {
  return h("tr", { class: className, onclick: onOpen }, ...cells);
}

/** A table without rows: its columns, and which of them hold figures. */
function grid(columns, properties, ...before) {
  const heads = columns.map((text) => h("th", { scope: "col", class: NUMBERS.has(text) ? "number" : null }, text));
  return h("table", { role: "grid", ...properties }, ...before, h("thead", {}, h("tr", {}, ...heads)));
}

function markedCell(cell, mark, text) {
  if (!cell.firstChild) cell.append(markIcon(mark), document.createTextNode(""));
  setMark(cell.firstChild, mark);
  if (cell.lastChild.data !== text) cell.lastChild.data = text;
}

/** The agents of one session, in the order of their appearance. */
export class AgentTable {
  /** `scroller`: the element that this is put into, and in which it scrolls. */
  constructor(scroller, onChoose) {
    this.table = grid(["Agent", "Does", "Tokens", "Cost", "Time"], { "aria-label": "Agents of the session" });
    this.none = h("p", { class: "note" }, "No agents yet.");
    this.element = h("div", {}, this.table, this.none);
    this.rows = new Rows(this.table, scroller, {
      keyOf: (agent) => agent.agent,
      make: (agent) => row(null, cells("wide", "wide", "number", "number", "number"), () => onChoose(agent.agent)),
      update: (line, agent) => this.#update(line, agent),
    });
  }

  clear() {
    this.rows.clear();
  }

  show({ row: session, agents }, chosen, now) {
    Object.assign(this, { session, chosen, now });
    const listed = [...agents.values()];
    this.table.hidden = !listed.length;
    this.none.hidden = listed.length > 0;
    setAttribute(this.table, "data-costs", listed.some(({ cost_usd: cost }) => cost != null) ? "" : null);
    setAttribute(this.table, "data-many", listed.length > MANY ? "" : null);
    this.rows.show(listed, chosen);
  }

  #update(line, agent) {
    const [name, does, tokens, cost, time] = line.children;
    setAttribute(line, "aria-selected", agent.agent === this.chosen ? "true" : null);
    markedCell(name, agentMark(agent.status), agentName(agent));
    setAttribute(name, "title", agent.task || null);
    setText(does, activity(agent));
    setText(tokens, count(agent.tokens));
    setText(cost, money(agent.cost_usd));
    setText(time, duration(agentMs(agent, this.session, this.now)));
  }
}

const COLUMNS = [
  "Name",
  "State",
  "Does",
  "Tokens",
  "Cost",
  "Time",
  "Role",
  "Called by",
  "Tools",
  "Speaks with",
  "Task",
];
const NUMBERS = new Set(["Tokens", "Tools", "Cost", "Time"]);

/** All that the graph shows, as a table: sessions, and beneath each its agents. */
export class WholeTable {
  constructor(host, onChoose) {
    const table = grid(COLUMNS, {}, h("caption", { class: "sr" }, "Sessions and their agents"));
    host.append(table);
    this.onChoose = onChoose;
    this.rows = new Rows(table, host, {
      keyOf: ({ session, agent }) => `${session.row.session_id}/${agent?.agent ?? ""}`,
      make: (line) => this.#make(line),
      update: (element, line) => this.#update(element, line),
    });
  }

  show(sessions, chosen, now) {
    Object.assign(this, { chosen, now, spoken: new Map() });
    const lines = sessions.flatMap((session) => [
      { session, agent: null },
      ...[...session.agents.values()].map((agent) => ({ session, agent })),
    ]);
    this.rows.show(lines, chosen.session && `${chosen.session}/${chosen.agent ?? ""}`);
  }

  #make({ session, agent }) {
    const parts = cells("wide", "", "", "number", "number", "number", "", "", "number", "wide", "wide");
    const choose = () => this.onChoose(session.row.session_id, agent?.agent ?? null);
    return row(agent ? null : "of-session", parts, choose);
  }

  #update(element, { session, agent }) {
    const { chosen, now, spoken } = this;
    const open = session.row.session_id === chosen.session && (agent?.agent ?? null) === chosen.agent;
    setAttribute(element, "aria-selected", open ? "true" : null);
    if (!agent) return updateSession(element, session, now);
    if (!spoken.has(session)) spoken.set(session, partners(session));
    updateAgent(element, session, agent, spoken.get(session), now);
  }
}

function updateSession(line, { row, agents }, now) {
  const cell = line.children;
  markedCell(cell[0], sessionMark(row.status), cut(row.task, 60) || shortId(row.session_id));
  fill(cell, [
    sessionState(row),
    "",
    count(row.tokens),
    money(row.cost_usd),
    duration(runMs(row, now)),
    "session",
    "",
    "",
    "",
    row.task,
  ]);
  setAttribute(line, "aria-label", `session ${row.task}, ${sessionState(row)}, ${plural(agents.size, "agent")}`);
  setAttribute(cell[0], "title", row.task || null);
}

function updateAgent(line, session, agent, spoken, now) {
  const cell = line.children;
  const parent = parentOf(session, agent);
  markedCell(cell[0], agentMark(agent.status), agentName(agent));
  setAttribute(cell[0], "title", agent.task || null);
  fill(cell, [
    agent.status,
    agent.status === "working" ? activity(agent) : "",
    count(agent.tokens),
    money(agent.cost_usd),
    duration(agentMs(agent, session.row, now)),
    agent.role,
    parent ? agentName(parent) : "",
    count(agent.tool_uses),
    (spoken.get(agent.agent) ?? []).join(", "),
    agent.task ?? "",
  ]);
}

function fill(cell, texts) {
  texts.forEach((text, index) => setText(cell[index + 1], text));
}

/** Who called an agent; undefined where nobody did, or nobody knows. */
export function parentOf({ agents }, agent) {
  return agents.get(bareId(agent.parent_id));
}

/** Of each agent, whom it spoke with and how often. */
export function partners({ agents, links }) {
  const found = new Map();
  for (const [link, messages] of links) {
    const [from, to] = link.split(">");
    const [one, other] = [agents.get(from), agents.get(to)];
    if (!one || !other) continue;
    if (!found.has(from)) found.set(from, []);
    found.get(from).push(messages > 1 ? `${agentName(other)} (${messages})` : agentName(other));
  }
  return found;
}
