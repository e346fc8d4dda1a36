// Events told as short sentences, and which of them are marks on the time line; pure.

import { bytes, count, cut, money } from "./format.js";
import { agentOver, describeEnd } from "./words.js";

const ECHO_CHARACTERS = 60;
const QUIET = new Set(["usage", "resources", "tap_started", "tap_ended", "log_rotated"]);

const ECHO_EVENTS = 4; // so many events apart one thing is told twice

/** True for events that say that something happened, not only how much was used. */
export function isTold(event) {
  if (event.type === "agent_status") return !agentOver(event.status); // its agent_ended says it, and more
  return !QUIET.has(event.type);
}

/**
 * True for an event that says again what one beside it says: the end of who gave the result, and an answer that is also
 * the last word of who gave it.
 */
export function isEcho(events, index) {
  const event = events[index];
  const near = (from, wanted, who) =>
    events.slice(Math.max(0, from), from + ECHO_EVENTS).find(({ type, agent }) => type === wanted && agent === who);
  if (event.type === "agent_ended") return Boolean(near(index - ECHO_EVENTS, "result", event.agent));
  const ended = event.type === "message" && near(index + 1, "agent_ended", event.from);
  return Boolean(ended?.summary) && event.text.startsWith(ended.summary.slice(0, ECHO_CHARACTERS));
}

/** What an event says: {who, text, mark}; `nameOf(agent id)` gives the name people know. */
export function tell(event, nameOf) {
  const teller = TELLERS[event.type];
  return teller ? teller(event, nameOf) : { who: "", text: cut(event.type, 60), mark: null };
}

/** The mark that an event leaves on the time line: running, done, failed…; null for none. */
export function timelineMark(event) {
  if (event.type === "session")
    return { created: "waiting", starting: "starting", completed: "done" }[event.status] ?? event.status;
  if (event.type === "agent_ended") return event.status;
  if (event.type === "agent_spawned") return "running";
  if (event.type === "result" && event.is_error) return "failed";
  return event.type === "api_retry" ? "starting" : null;
}

/** The name that an event gives its agent; null for most. */
export function nameIn(event) {
  return event.type === "agent_spawned" && event.role !== "queen" ? event.kind || event.role : null;
}

const TELLERS = {
  session: (event) => ({ who: "session", text: describeEnd(event), mark: timelineMark(event) }),
  claude_started: (event, nameOf) => ({
    who: nameOf(event.agent),
    text: `started${event.model ? ` on ${event.model}` : ""}`,
    mark: "running",
  }),
  agent_spawned: (event, nameOf) => ({
    who: nameOf(event.agent),
    text: `joined${event.task ? `: ${cut(event.task, 120)}` : ""}`,
    mark: "running",
  }),
  agent_status: (event, nameOf) => ({
    who: nameOf(event.agent),
    text: event.tool
      ? `uses ${event.tool}`
      : event.status === "working"
        ? "thinks"
        : event.status === "waiting"
          ? "waits for others"
          : event.status,
    mark: null,
  }),
  agent_ended: (event, nameOf) => ({
    who: nameOf(event.agent),
    text: `${event.status}${event.summary ? `: ${cut(event.summary, 160)}` : ""}`,
    mark: event.status,
  }),
  message: (event, nameOf) => ({
    who: `${nameOf(event.from)} → ${nameOf(event.to)}`,
    text: cut(event.text, 160),
    mark: null,
  }),
  api_retry: (event, nameOf) => ({
    who: nameOf(event.agent),
    text: `the model's server refused (${cut(event.error_status ?? event.error, 40)}); tries again`,
    mark: "starting",
  }),
  result: (event) => ({
    who: "result",
    text: [
      event.is_error ? "error" : "answer",
      event.tokens == null ? "" : `${count(event.tokens)} tok`,
      event.cost_usd == null ? "" : money(event.cost_usd),
      cut(event.text, 160),
    ]
      .filter(Boolean)
      .join(" · "),
    mark: event.is_error ? "failed" : "done",
  }),
  usage: (event, nameOf) => ({ who: nameOf(event.agent), text: `${count(event.tokens)} tok so far`, mark: null }),
  resources: (event) => ({
    who: "session",
    text: `${bytes(event.rss_bytes)}, ${event.processes} processes`,
    mark: null,
  }),
};
