// One language for statuses: each has a word, a mark and a colour (the custom property --MARK); pure.

const SESSION = { created: "waiting", starting: "starting", running: "running", completed: "done", failed: "failed" };
const AGENT = { working: "running", waiting: "waiting", done: "done", failed: "failed" };
export const GLYPHS = { waiting: "○", starting: "◐", running: "●", done: "✓", failed: "✕", unknown: "?" };

/** The mark of a session's status: waiting, starting, running, done, failed or unknown. */
export function sessionMark(status) {
  return SESSION[status] ?? "unknown";
}

/** The mark of an agent's status. */
export function agentMark(status) {
  return AGENT[status] ?? "unknown";
}

/** How a session stands, such as "running" or "failed: exit 7". */
export function sessionState(row) {
  return row.state || describeEnd(row);
}

/** The same from the facts alone, as hive_session/ondisk/verdict.py says it. */
export function describeEnd({ status, reason, exit_code: exitCode, signal }) {
  if (status !== "failed") return SESSION[status] ?? String(status);
  if (reason === "exit" && exitCode) return `failed: exit ${exitCode}`;
  if (reason === "signal" && signal) return `failed: signal ${signal}`;
  return `failed: ${(reason || "unknown").replaceAll("_", " ")}`;
}

/** What an agent does, in a word or two: its tool, or what it does between tools, or how it ended. */
export function activity(agent) {
  if (agent.status !== "working") return agent.status;
  return agent.tool || (agent.role === "queen" ? "planning" : "thinking");
}

/** True while a session starts or runs. */
export function isLive(status) {
  return status === "starting" || status === "running";
}

/** True once a session has completed or failed. */
export function isOver(status) {
  return status === "completed" || status === "failed";
}

/** True once an agent is done or failed. */
export function agentOver(status) {
  return status === "done" || status === "failed";
}
