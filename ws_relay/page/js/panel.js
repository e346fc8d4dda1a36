// The right rail: one session with its agents, events and log; or, while none is open, all of them and what the marks
// mean.

import { AgentTable, agentMs, agentName } from "./agents.js";
import { Feed } from "./feed.js";
import { LogTail } from "./log.js";
import { Curves } from "./curves.js";
import { activity, agentMark, sessionMark, sessionState } from "./words.js";
import { ago, clock, count, date, duration, instant, money, plural, shortId } from "./format.js";
import { commandLine, h, setAttribute, setText } from "./dom.js";
import { markIcon, setMark } from "./marks.js";
import { overview } from "./overview.js";
import { runMs } from "./sessions.js";

const TABS = ["agents", "events", "log"];
const LAST_LINES = 5;

export class Panel {
  /** `actions`: chooseSession(id), chooseAgent(id or null), back(), changed(): draw again. */
  constructor(host, actions) {
    Object.assign(this, { host, actions, tab: "agents", id: undefined });
    this.table = new AgentTable((agent) => actions.chooseAgent(agent));
    this.feed = new Feed();
    this.log = new LogTail();
    this.lastLines = new LogTail(LAST_LINES);
    this.curves = new Curves();
  }

  /** Show a moment: {session, agent, sessions, recording, reading, moment, now}. */
  show(view) {
    const { session } = view;
    const id = session?.row.session_id ?? null;
    if (id !== this.id) this.#begin(id);
    if (session) this.#update(view);
    else overview(this.host, view.sessions, this.actions.chooseSession);
    this.log.follow(session && this.tab === "log" ? session.row : null);
    this.lastLines.follow(session?.row.status === "failed" ? session.row : null);
  }

  openTab(tab, asked = false) {
    this.tab = tab;
    for (const button of this.tabs?.children ?? [])
      setAttribute(button, "aria-selected", String(button.dataset.panel === tab));
    this.body?.replaceChildren({ agents: this.table, events: this.feed, log: this.log }[tab].element);
    if (asked) this.actions.changed();
  }

  #begin(id) {
    this.id = id;
    if (id === null) {
      this.host.replaceChildren();
      return;
    }
    this.table.body.replaceChildren();
    this.feed.clear();
    this.title = h("h2");
    this.state = h("span", { class: "state" }, markIcon("unknown"), h("span"));
    this.facts = h("span", { class: "quiet" });
    this.labels = h("div", { class: "labels" });
    this.failure = h("div", { class: "failure" });
    this.answer = h("p", { class: "answer" });
    this.card = h("div", { class: "agent-card" });
    this.tabs = h(
      "div",
      { class: "panel-tabs", role: "tablist" },
      ...TABS.map((tab) =>
        h(
          "button",
          { type: "button", role: "tab", "data-panel": tab, onclick: () => this.openTab(tab, true) },
          tab[0].toUpperCase() + tab.slice(1),
        ),
      ),
    );
    this.body = h("div", { class: "panel-body", role: "tabpanel", tabindex: 0 });
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
        h("div", { class: "panel-line quiet" }, idButton(id), (this.times = h("span"))),
        this.labels,
      ),
      this.failure,
      this.answer,
      this.curves.element,
      this.card,
      this.tabs,
      this.body,
    );
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
      `${count(row.tokens)} tok`,
      money(row.cost_usd),
      row.attempt > 1 ? `attempt ${row.attempt}` : null,
    ];
    setText(this.facts, facts.filter((fact) => fact && !fact.includes("–")).join("  ·  "));
    setText(this.times, [row.agent, started(row, now)].filter(Boolean).join(", "));
    setText(this.labels, "");
    this.labels.append(...Object.entries(row.labels ?? {}).map(([key, value]) => h("span", {}, `${key}=${value}`)));
    this.#showEnd(row, moment);
    this.curves.show(recording, instant(row.started) ?? instant(row.created), instant(row.ended) ?? now, row);
    this.#showAgent(session, agent, now);
    if (this.tab === "agents") this.table.show(session, agent, now);
    if (this.tab === "events") this.feed.show(recording, reading, moment);
  }

  #showEnd(row, moment) {
    const failed = row.status === "failed";
    this.failure.hidden = !failed;
    const text = row.result?.text || (failed ? null : row.detail);
    this.answer.hidden = failed || !text;
    if (!failed) setText(this.answer, text ?? "");
    const key = `${row.session_id} ${row.state} ${row.detail} ${row.result?.text}`;
    if (!failed || this.failure.dataset.of === key) return;
    this.failure.dataset.of = key;
    const why = row.detail || row.result?.text;
    const facts = [
      row.exit_code != null ? `exit code ${row.exit_code}` : null,
      row.signal ? `signal ${row.signal}` : null,
    ]
      .filter(Boolean)
      .join(", ");
    this.failure.replaceChildren(
      h("strong", {}, sessionState(row) + (facts && !sessionState(row).includes("exit") ? ` (${facts})` : "")),
      why ? h("p", {}, why) : "",
      this.lastLines.element,
      h("p", { class: "quiet" }, "To run it again in the same directory:"),
      commandLine(`hive-session resume ${row.session_id}`),
    );
  }

  #showAgent({ row, agents }, chosen, now) {
    const agent = agents.get(chosen);
    this.card.hidden = !agent;
    if (!agent) return;
    const begun = instant(agent.started);
    const facts = [
      ["Does", activity(agent)],
      ["Task", agent.task],
      ["Said last", agent.summary],
      ["Role", agent.role],
      ["Model", agent.model],
      [
        "Tokens",
        listed(count(agent.tokens), agent.cost_usd && money(agent.cost_usd), plural(agent.tool_uses ?? 0, "tool use")),
      ],
      ["Time", listed(duration(agentMs(agent, row, now)), begun == null ? null : `from ${clock(begun)}`)],
    ].filter(([, value]) => value);
    const key = JSON.stringify([agent.agent, agent.status, facts]);
    if (this.card.dataset.of === key) return;
    const focused = this.card.contains(document.activeElement);
    this.card.dataset.of = key;
    this.card.replaceChildren(
      h(
        "h3",
        {},
        markIcon(agentMark(agent.status)),
        agentName(agent),
        h(
          "button",
          {
            type: "button",
            class: "close",
            "aria-label": "Close the agent",
            onclick: () => this.actions.chooseAgent(null),
          },
          "✕",
        ),
      ),
      h("dl", {}, ...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    );
    if (focused) this.card.querySelector("button").focus();
  }
}

function started(row, now) {
  const begun = instant(row.started);
  if (begun == null) return row.created ? `created ${ago(instant(row.created), now)}` : "";
  return now - begun < 86_400_000 ? `started ${clock(begun)}` : `started ${date(begun)}`;
}

/** Shows 8 characters, copies all of them. */
function idButton(id) {
  const button = h(
    "button",
    { type: "button", class: "id mono", title: `Copy ${id}`, "aria-label": `Session ${id}, copy` },
    shortId(id),
  );
  button.onclick = async () => {
    await navigator.clipboard?.writeText(id);
    setText(button, "copied");
    setTimeout(() => setText(button, shortId(id)), 1200);
  };
  return button;
}

/** Those of the words that there are, with commas between. */
function listed(...words) {
  return words.filter(Boolean).join(", ");
}
