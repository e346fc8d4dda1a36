// The small box beside the pointer: who that is, what it does, since when.

import { activity, sessionState } from "./words.js";
import { agentMs, agentName } from "./agents.js";
import { cut, duration } from "./format.js";
import { h } from "./dom.js";

const [WIDTH, HEIGHT, OFF] = [310, 80, 14]; // pixels that it may need, and its distance from the pointer
const drawn = { of: "" };

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
  if (key !== drawn.of) {
    drawn.of = key;
    box.replaceChildren(h("div", {}, h("b", {}, name), ` ${words}`), task && h("div", { class: "quiet" }, task));
  }
  const { clientWidth, clientHeight } = box.parentElement;
  box.style.left = `${Math.min(x + OFF, Math.max(0, clientWidth - WIDTH))}px`;
  box.style.top = `${Math.min(y + OFF, clientHeight - HEIGHT)}px`;
}
