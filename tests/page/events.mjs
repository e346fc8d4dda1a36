// Events as they stand in telemetry.jsonl, for the tests of the page.

export const ID = "550e8400-e29b-41d4-a716-446655440000";

export function session(ts, status, more = {}) {
  return { ts, type: "session", status, attempt: 1, agent: "rehearsal", ...more };
}

export function spawned(ts, agent, parent, role, kind = "coder") {
  return { ts, type: "agent_spawned", agent, parent, role, kind, task: `task of ${agent}` };
}

export function working(ts, agent, tool = null) {
  return { ts, type: "agent_status", agent, status: "working", tool };
}

export function usage(ts, agent, tokens, more = {}) {
  return { ts, type: "usage", agent, tokens, ...more };
}

/** A hive of a queen and a worker, which ends well. */
export const SMALL_HIVE = [
  session(1000, "created"),
  session(1100, "starting"),
  session(1200, "running"),
  spawned(1300, "queen", null, "queen", "claude"),
  spawned(1500, "w1", "queen", "worker"),
  working(1600, "w1", "Bash"),
  { ts: 1700, type: "message", from: "queen", to: "w1", text: "go" },
  usage(1800, "w1", 500, { cost_usd: 0.01, tool_uses: 1 }),
  { ts: 1900, type: "agent_ended", agent: "w1", status: "done", tokens: 700, summary: "Done." },
  {
    ts: 2000,
    type: "result",
    agent: "queen",
    is_error: false,
    subtype: "success",
    tokens: 1000,
    cost_usd: 0.05,
    text: "All done.",
  },
  session(2100, "completed", { reason: "exit", exit_code: 0 }),
];

export function folded(emptyHive, applyEvent, events) {
  const hive = emptyHive();
  for (const event of events) applyEvent(hive, event);
  return hive;
}
