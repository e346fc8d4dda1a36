// The right rail: one session with its agents, events and log; or, while none is open, all of them and what the marks
// mean.

import { AgentTable } from "./agents.js";
import { AgentCard } from "./agentcard.js";
import { Curves } from "./curves.js";
import { Failure } from "./failure.js";
import { Feed } from "./feed.js";
import { LogView } from "./log.js";
import { LongText } from "./longtext.js";
import { Missing } from "./missing.js";
import { Tabs } from "./tabs.js";
import { ago, clock, count, date, duration, instant, money, NONE, plural, shortId } from "./format.js";
import { copyButton, h, setAttribute, setText } from "./dom.js";
import { markIcon, setMark } from "./marks.js";
import { overview } from "./overview.js";
import { runMs } from "./sessions.js";
import { sessionMark, sessionState } from "./words.js";

const TABS = ["agents", "events", "log"];
const ANSWER_MOST = 280; // characters

export class Panel {
  /** `actions`: chooseSession(id), chooseAgent(id or null), back(), changed(): draw again. */
  constructor(host, actions) {
    Object.assign(this, { host, actions, tab: "agents", id: undefined });
    this.feed = new Feed();
    this.log = new LogView();
    this.curves = new Curves();
    this.failure = new Failure();
    this.answer = new LongText("answer", ANSWER_MOST);
    this.card = new AgentCard(() => actions.chooseAgent(null));
    this.tabs = new Tabs("What there is of the session", TABS, (tab) => this.openTab(tab, true));
    this.table = new AgentTable(this.tabs.body, (agent) => actions.chooseAgent(agent));
    this.missing = new Missing(document.getElementById("missing"), actions.back);
  }

  /** Show a moment: {session, wanted: its id, known or not, agent, sessions, recording, reading, moment, now}. */
  show(view) {
    const { session, recording, moment } = view;
    const id = session?.row.session_id ?? null;
    const nameOf = (agent) => recording?.names.get(agent) ?? "";
    if (id !== this.id) this.#begin(id);
    if (session) this.#update(view);
    else overview(this.host, view, this.actions.chooseSession);
    this.log.show(session && this.tab === "log" ? session.row : null, nameOf, moment);
    this.failure.show(session, nameOf);
    this.missing.show(session || view.reading ? null : view.wanted, moment);
  }

  openTab(tab, asked = false) {
    this.tab = tab;
    this.tabs.open(tab, { agents: this.table, events: this.feed, log: this.log }[tab].element);
    if (asked) this.actions.changed();
  }

  #begin(id) {
    this.id = id;
    if (id === null) {
      this.host.replaceChildren();
      return;
    }
    this.table.clear();
    this.feed.clear();
    this.title = h("h2");
    this.state = h("span", { class: "state" }, markIcon("unknown"), h("span"));
    this.facts = h("span", { class: "quiet" });
    this.labels = h("div", { class: "labels" });
    const copyId = { class: "id mono", title: `Copy ${id}`, "aria-label": `Session ${id}, copy` };
    this.host.replaceChildren(
      h(
        "div",
        { class: "panel-head" },
        h(
          "div",
          { class: "panel-top" },
          this.title,
          h(
            "button",
            { type: "button", class: "close", "aria-label": "Close the session", onclick: () => this.actions.back() },
            "✕",
          ),
        ),
        h("div", { class: "panel-line" }, this.state, this.facts),
        h("div", { class: "panel-line quiet" }, copyButton(id, shortId(id), copyId), (this.times = h("span"))),
        this.labels,
      ),
      this.failure.element,
      this.answer.element,
      this.curves.element,
      this.card.element,
      this.tabs.list,
      this.tabs.body,
    );
    this.host.scrollTop = 0;
    this.openTab(this.tab);
  }

  #update({ session, agent, recording, reading, moment, now }) {
    const { row } = session;
    const mark = sessionMark(row.status);
    setText(this.title, row.task || shortId(row.session_id));
    setAttribute(this.state, "data-mark", mark);
    setMark(this.state.firstChild, mark, true);
    setText(this.state.lastChild, sessionState(row));
    const ran = runMs(row, now);
    const facts = [
      Number.isFinite(ran) ? duration(ran) : null,
      plural(row.agents ?? 0, "agent"),
      row.tokens ? `${count(row.tokens)} tok` : null,
      money(row.cost_usd),
      row.attempt > 1 ? `attempt ${row.attempt}` : null,
    ];
    setText(this.facts, facts.filter((fact) => fact && !fact.includes(NONE)).join("  ·  "));
    setText(this.times, [row.agent, started(row, now)].filter(Boolean).join(", "));
    this.#showLabels(row.labels ?? {});
    this.answer.show(row.status === "failed" ? "" : row.result?.text || row.detail || "");
    this.curves.show(recording, instant(row.started) ?? instant(row.created), instant(row.ended) ?? now, row);
    this.card.show(session, agent, now);
    if (this.tab === "agents") this.table.show(session, agent, now);
    if (this.tab === "events") this.feed.show(recording, reading, moment);
  }

  #showLabels(labels) {
    const words = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
    this.labels.hidden = !words.length;
    if (words.length === this.labels.children.length) return; // they are given once, when a session is created
    this.labels.replaceChildren(...words.map((each) => h("span", {}, each)));
  }
}

function started(row, now) {
  const begun = instant(row.started);
  if (begun == null) return row.created ? `created ${ago(instant(row.created), now)}` : "";
  return now - begun < 86_400_000 ? `started ${clock(begun)}` : `started ${date(begun)}`;
}
