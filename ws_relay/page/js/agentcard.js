// What is known of one agent: the card above the tabs of a session's panel has all, the small box beside the pointer who
// that is and what it does.

import { activity, agentMark, sessionState } from "./words.js";
import { agentMs, agentName, parentOf, partners } from "./agents.js";
import { clock, count, cut, duration, instant, money, NONE, plural } from "./format.js";
import { h } from "./dom.js";
import { markIcon } from "./marks.js";

const [WIDTH, HEIGHT, OFF] = [310, 80, 14]; // pixels that it may need, and its distance from the pointer
const hovering = { of: "" };

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

/** Show `box` for an agent of a session (null: for the session itself), at (x, y) of the stage; no session: hide it. */
export function showHover(box, session, agentId, x, y, now) {
  box.hidden = !session;
  if (!session) return;
  const agent = session.agents.get(agentId);
  const name = agent ? agentName(agent) : cut(session.row.task, 60);
  const spent = agent ? duration(agentMs(agent, session.row, now)) : "";
  const words = [agent ? activity(agent) : sessionState(session.row), spent].filter(Boolean).join(", ");
  const task = agent?.task ? cut(agent.task, 140) : "";
  const key = JSON.stringify([name, words, task]);
  if (key !== hovering.of) {
    hovering.of = key;
    box.replaceChildren(h("div", {}, h("b", {}, name), ` ${words}`), task && h("div", { class: "quiet" }, task));
  }
  const { clientWidth, clientHeight } = box.parentElement;
  box.style.left = `${Math.min(x + OFF, Math.max(0, clientWidth - WIDTH))}px`;
  box.style.top = `${Math.min(y + OFF, clientHeight - HEIGHT)}px`;
}
