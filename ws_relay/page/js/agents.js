// Tables of agents: the one in a session's panel, and the table view with all that the graph shows.

import { activity, agentMark, agentOver, sessionMark, sessionState } from "./words.js";
import { count, cut, duration, instant, money, plural, shortId } from "./format.js";
import { h, keepChildren, setAttribute, setText } from "./dom.js";
import { markIcon, setMark } from "./marks.js";
import { Rows } from "./rows.js";
import { runMs } from "./sessions.js";

const MOST_ROWS = 2000;

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
  return h("tr", { class: className, tabindex: -1, onclick: onOpen }, ...cells);
}

/** Bring the chosen row into sight, once for each choice and as soon as it is there. */
class Chosen {
  constructor(body) {
    this.body = body;
    this.seen = null;
  }

  show(key) {
    if (key === this.seen) return;
    const chosen = key && [...this.body.children].find((each) => each.dataset.key === key);
    if (chosen) chosen.scrollIntoView({ block: "nearest" });
    if (chosen || !key) this.seen = key;
  }
}

function markedCell(cell, mark, text) {
  if (!cell.firstChild) cell.append(markIcon(mark), document.createTextNode(""));
  setMark(cell.firstChild, mark);
  if (cell.lastChild.data !== text) cell.lastChild.data = text;
}

/** The agents of one session, in the order of their appearance. */
export class AgentTable {
  constructor(onChoose) {
    this.body = h("tbody");
    this.rows = new Rows(this.body);
    this.chosen = new Chosen(this.body);
    this.table = h(
      "table",
      { role: "grid", "aria-label": "Agents of the session" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ...["Agent", "Does", "Tokens", "Cost", "Time"].map((text, index) =>
            h("th", { scope: "col", class: index > 1 ? "number" : null }, text),
          ),
        ),
      ),
      this.body,
    );
    this.none = h("p", { class: "note" }, "No agents yet.");
    this.element = h("div", {}, this.table, this.none);
    this.onChoose = onChoose;
  }

  clear() {
    this.body.replaceChildren();
    this.chosen.seen = null;
  }

  show({ row: session, agents }, chosen, now) {
    keepChildren(this.body, [...agents.values()], {
      keyOf: (agent) => agent.agent,
      make: (agent) =>
        row(null, cells("wide", "wide", "number", "number", "number"), () => this.onChoose(agent.agent)),
      update: (line, agent) => {
        const [name, does, tokens, cost, time] = line.children;
        setAttribute(line, "aria-selected", agent.agent === chosen ? "true" : null);
        markedCell(name, agentMark(agent.status), agentName(agent));
        setAttribute(name, "title", agent.task || null);
        setText(does, activity(agent));
        setText(tokens, count(agent.tokens));
        setText(cost, money(agent.cost_usd));
        setText(time, duration(agentMs(agent, session, now)));
      },
    });
    this.table.hidden = !agents.size;
    this.none.hidden = agents.size > 0;
    setAttribute(this.table, "data-costs", [...agents.values()].some(({ cost_usd: cost }) => cost != null) ? "" : null);
    this.rows.keep();
    this.chosen.show(chosen);
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
    this.body = h("tbody");
    this.rows = new Rows(this.body);
    this.chosen = new Chosen(this.body);
    this.onChoose = onChoose;
    this.drawn = new WeakMap(); // row -> what it shows; rows of agents that did not change are left alone
    host.append(
      h(
        "table",
        { role: "grid" },
        h("caption", { class: "sr" }, "Sessions and their agents"),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ...COLUMNS.map((text) => h("th", { scope: "col", class: NUMBERS.has(text) ? "number" : null }, text)),
          ),
        ),
        this.body,
      ),
    );
  }

  show(sessions, chosen, now) {
    const lines = [];
    for (const session of sessions) {
      lines.push({ session, agent: null });
      for (const agent of session.agents.values()) lines.push({ session, agent });
    }
    const spoken = new Map(sessions.map((session) => [session, partners(session)]));
    keepChildren(this.body, lines.slice(0, MOST_ROWS), {
      keyOf: ({ session, agent }) => `${session.row.session_id}/${agent?.agent ?? ""}`,
      make: (line) => this.#make(line),
      update: (element, { session, agent }) => {
        setAttribute(
          element,
          "aria-selected",
          session.row.session_id === chosen.session && (agent?.agent ?? null) === chosen.agent ? "true" : null,
        );
        const second = agent && agentOver(agent.status) ? 0 : Math.floor(now / 1000);
        const last = this.drawn.get(element);
        if (agent && last?.agent === agent && last.second === second) return;
        this.drawn.set(element, { agent, second });
        if (agent) updateAgent(element, session, agent, spoken.get(session), now);
        else updateSession(element, session, now);
      },
    });
    this.rows.keep();
    this.chosen.show(chosen.session && `${chosen.session}/${chosen.agent ?? ""}`);
  }

  #make({ session, agent }) {
    const parts = cells("wide", "", "", "number", "number", "number", "", "", "number", "wide", "wide");
    const choose = () => this.onChoose(session.row.session_id, agent?.agent ?? null);
    return row(agent ? null : "of-session", parts, choose);
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
  return agents.get(agent.parent_id?.slice(agent.parent_id.indexOf("/") + 1));
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
