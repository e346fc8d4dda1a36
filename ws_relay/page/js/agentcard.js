// All that is known of one agent: the card above the tabs of a session's panel.

import { activity, agentMark } from "./words.js";
import { agentMs, agentName, parentOf, partners } from "./agents.js";
import { clock, count, duration, instant, money, NONE, plural } from "./format.js";
import { h } from "./dom.js";
import { markIcon } from "./marks.js";

export class AgentCard {
  /** `onClose()`: the person is done with this agent. */
  constructor(onClose) {
    this.onClose = onClose;
    this.element = h("section", { class: "agent-card", "aria-label": "The agent" });
  }

  /** Show the agent `chosen` of a session; where there is none, nothing. */
  show(session, chosen, now) {
    const agent = session.agents.get(chosen);
    this.element.hidden = !agent;
    if (!agent) return;
    const facts = factsOf(session, agent, now);
    const key = JSON.stringify([agent.agent, agent.status, facts]);
    if (this.of === key) return;
    const focused = this.element.contains(document.activeElement);
    this.of = key;
    this.element.replaceChildren(
      h(
        "h3",
        {},
        markIcon(agentMark(agent.status)),
        agentName(agent),
        h("button", { type: "button", class: "close", "aria-label": "Close the agent", onclick: this.onClose }, "✕"),
      ),
      h("dl", {}, ...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    );
    if (focused) this.element.querySelector("button").focus();
  }
}

function factsOf(session, agent, now) {
  const begun = instant(agent.started);
  const parent = parentOf(session, agent);
  const used = [count(agent.tokens), money(agent.cost_usd), plural(agent.tool_uses ?? 0, "tool use")];
  const time = [duration(agentMs(agent, session.row, now)), begun == null ? "" : `from ${clock(begun)}`];
  return [
    ["Does", activity(agent)],
    ["Task", agent.task],
    ["Said last", session.row.result?.text?.startsWith(agent.summary) ? "" : agent.summary], // it stands above
    ["Role", agent.role],
    ["Called by", parent && agentName(parent)],
    ["Speaks with", (partners(session).get(agent.agent) ?? []).join(", ")],
    ["Model", agent.model],
    ["Tokens", listed(used)],
    ["Time", listed(time)],
  ].filter(([, value]) => value);
}

/** Those of the words that are known, with commas between. */
function listed(words) {
  return words.filter((word) => word && word !== NONE).join(", ");
}
