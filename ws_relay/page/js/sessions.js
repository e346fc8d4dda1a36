// The list of sessions: those that run first, then the last ended; searched and filtered.

import { count, cut, date, duration, instant, money, shortId } from "./format.js";
import { h, keepChildren, setAttribute, setText } from "./dom.js";
import { markIcon, setMark } from "./marks.js";
import { isLive, sessionMark, sessionState } from "./words.js";

const MOST = 200;
const ACCEPTS = {
  all: () => true,
  live: ({ status }) => isLive(status),
  waiting: ({ status }) => status === "created",
  failed: ({ status }) => status === "failed",
  done: ({ status }) => status === "completed",
};

// What stands beside the state, the most telling first: those that have no room are not shown at all, none is cut.
const FACTS = [
  ({ agents }) => (agents ? `${agents} ag` : ""),
  ({ tokens }) => (tokens ? `${count(tokens)} tok` : ""),
  ({ cost_usd: cost }) => (cost ? money(cost) : ""),
];

/** The rows to list, in order: what runs, what waits, what ended, each the newest first. */
export function selectSessions(sessions, { filter, search }) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const accepts = ACCEPTS[filter] ?? ACCEPTS.all;
  return [...sessions.values()]
    .filter(({ row, agents }) => accepts(row) && words.every((word) => says(row, agents).includes(word)))
    .sort((one, other) => rank(one.row) - rank(other.row) || newest(other.row) - newest(one.row));
}

function says(row, agents) {
  const labels = Object.entries(row.labels ?? {}).map(([key, value]) => `${key}=${value}`);
  const names = [...agents.values()].map(({ name, tool }) => `${name} ${tool ?? ""}`);
  return [row.task, row.session_id, sessionState(row), row.agent, ...labels, ...names].join(" ").toLowerCase();
}

function rank({ status }) {
  return isLive(status) ? 0 : status === "created" ? 1 : 2;
}

function newest(row) {
  return instant(isLive(row.status) ? row.started : row.ended) ?? instant(row.created) ?? 0;
}

/** How long a session has run, or ran. */
export function runMs(row, now) {
  const begun = instant(row.started);
  return begun == null ? null : (instant(row.ended) ?? (isLive(row.status) ? now : NaN)) - begun;
}

export class SessionList {
  constructor(list, more, onChoose) {
    Object.assign(this, { list, more, onChoose });
  }

  /** Show these sessions; `chosen` is the id of the open one, `now` the moment that is shown. */
  show(sessions, chosen, now) {
    keepChildren(this.list, sessions.slice(0, MOST), {
      keyOf: ({ row }) => row.session_id,
      make: ({ row }) => this.#make(row.session_id),
      update: (item, { row }) => update(item.firstChild, row, chosen, now),
    });
    this.more.hidden = sessions.length > 0 && sessions.length <= MOST;
    setText(this.more, sessions.length ? `and ${sessions.length - MOST} more: search to find them` : "None here.");
  }

  #make(id) {
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", onclick: () => this.onChoose(id) },
        markIcon("unknown"),
        h("span", { class: "task cut" }),
        h("span", { class: "age" }),
        h("span", { class: "line" }, h("span", { class: "how" }), ...FACTS.map(() => h("span"))),
      ),
    );
  }
}

function update(button, row, chosen, now) {
  const [icon, task, age, line] = button.children;
  const mark = sessionMark(row.status);
  setMark(icon, mark, true);
  setAttribute(button, "data-mark", mark);
  setAttribute(button, "aria-current", row.session_id === chosen ? "true" : null);
  setText(task, cut(row.task, 120) || shortId(row.session_id));
  const ran = runMs(row, now);
  setText(age, ran == null || Number.isNaN(ran) ? "" : duration(ran));
  setText(line.firstChild, sessionState(row));
  FACTS.forEach((fact, index) => setText(line.children[index + 1], fact(row)));
  setAttribute(button, "title", row.ended ? `${row.task}\nended ${date(instant(row.ended))}` : row.task || null);
}
