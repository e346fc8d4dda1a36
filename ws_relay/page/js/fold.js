// Events of telemetry.jsonl folded into the state of one hive, as hive_session/ondisk/fold.py does, for what the page
// shows; pure. States are plain objects, so that structuredClone keeps them.
//
// - Figures of an agent are cumulative: the largest counts, a repeated event changes nothing.
// - `at` is a position in claude.jsonl: an event from before the newest position seen was seen already.
// - A new attempt starts with no agents; what the attempts before it used stays in the totals.

import { agentOver, describeEnd, isOver } from "./words.js";

const QUEEN = "queen";
const REQUIRED = {
  session: { status: "string", attempt: "number" },
  resources: { cpu_ms: "number", rss_bytes: "number", processes: "number" },
  claude_started: { agent: "string" },
  agent_spawned: { agent: "string", role: "string", kind: "string", task: "string" },
  agent_status: { agent: "string", status: "string" },
  usage: { agent: "string", tokens: "number" },
  agent_ended: { agent: "string", status: "string" },
  message: { from: "string", to: "string", text: "string" },
  api_retry: { agent: "string", error: "string" },
  result: { agent: "string", is_error: "boolean", subtype: "string" },
};

/** The state of a session that nothing is known of. */
export function emptyHive() {
  return {
    status: "created",
    attempt: 1,
    reason: null,
    exitCode: null,
    signal: null,
    program: null,
    startedMs: null,
    endedMs: null,
    agents: {},
    links: {},
    messages: 0,
    retries: 0,
    result: null,
    resources: null,
    cpuPercent: null,
    conversation: null,
    lastMs: 0,
    lastAt: 0,
    pastTokens: 0,
    pastCost: null,
    agentTokens: 0,
    agentCost: null,
    baseTokens: 0,
    baseCost: 0,
  };
}

/** True for an event that has what its type requires; of an unknown type, ts and type. */
export function isEvent(event) {
  if (typeof event !== "object" || event === null || !Number.isSafeInteger(event.ts) || event.ts < 0) return false;
  if (typeof event.type !== "string" || !event.type) return false;
  return Object.entries(REQUIRED[event.type] ?? {}).every(([name, type]) => typeof event[name] === type);
}

/** Take in one event; `hive` is changed. What is no event is passed over. */
export function applyEvent(hive, event) {
  if (!isEvent(event)) return;
  if (event.at != null) {
    if (event.at < hive.lastAt) return;
    hive.lastAt = event.at;
  }
  hive.lastMs = Math.max(hive.lastMs, event.ts);
  HANDLERS[event.type]?.(hive, event);
}

/** Tokens of all attempts: what the last result says and agents used since, else the agents' sum. */
export function hiveTokens(hive) {
  const told = hive.result?.tokens;
  return hive.pastTokens + (told == null ? hive.agentTokens : told + hive.agentTokens - hive.baseTokens);
}

/** Cost of all attempts in US dollars, reckoned like the tokens; null when nobody has said. */
export function hiveCost(hive) {
  const told = hive.result?.cost_usd;
  const now = told == null ? hive.agentCost : told + (hive.agentCost ?? 0) - hive.baseCost;
  return plus(hive.pastCost, now);
}

/**
 * The hive as the relay would tell it: {row, agents, links}; `base` is the session's row now, for what does not
 * change.
 */
export function hiveView(hive, base) {
  const agents = new Map();
  for (const agent of Object.values(hive.agents)) agents.set(agent.agent, agentView(agent, base.session_id));
  const active = [...agents.values()].filter((agent) => !agentOver(agent.status)).length;
  const row = {
    ...base,
    status: hive.status,
    reason: hive.reason,
    exit_code: hive.exitCode,
    signal: hive.signal,
    attempt: hive.attempt,
    started: isoTime(hive.startedMs),
    ended: isoTime(hive.endedMs),
    agents: agents.size,
    active_agents: active,
    tokens: hiveTokens(hive),
    cost_usd: hiveCost(hive),
    cpu_percent: hive.cpuPercent,
    memory_mb: hive.resources ? hive.resources.rss_bytes / 1_048_576 : null,
    messages: hive.messages,
    api_retries: hive.retries,
    result: hive.result,
    detail: null,
    headline: null,
  };
  row.state = describeEnd(row);
  return { row, agents, links: new Map(Object.entries(hive.links)) };
}

function agentView(agent, sessionId) {
  const { startedMs, endedMs, parent, ...rest } = agent;
  const id = `${sessionId}/${agent.agent}`;
  return {
    ...rest,
    agent_id: id,
    session_id: sessionId,
    parent_id: parent == null ? null : `${sessionId}/${parent}`,
    name: agent.role === QUEEN ? QUEEN : agent.kind || "worker",
    started: isoTime(startedMs),
    ended: isoTime(endedMs),
  };
}

function isoTime(ms) {
  return ms == null ? null : new Date(ms).toISOString();
}

// -- the session -------------------------------------------------------------------------------------------

function onSession(hive, event) {
  if (event.attempt < hive.attempt) return;
  if (event.attempt > hive.attempt) beginAttempt(hive, event);
  hive.status = event.status;
  hive.reason = event.reason ?? null;
  hive.exitCode = event.exit_code ?? null;
  hive.signal = event.signal ?? null;
  hive.program = event.agent ?? hive.program;
  if (event.status === "starting") hive.startedMs = event.ts;
  hive.startedMs ??= event.status === "running" ? event.ts : null;
  hive.endedMs = isOver(event.status) ? event.ts : null;
  if (!isOver(event.status)) return;
  for (const agent of Object.values(hive.agents)) {
    if (agentOver(agent.status)) continue;
    setStatus(hive, agent, agent.agent === QUEEN && event.status === "completed" ? "done" : "failed", null, event.ts);
  }
}

function beginAttempt(hive, event) {
  keepTotals(hive);
  Object.assign(hive, {
    attempt: event.attempt,
    agents: {},
    links: {},
    resources: null,
    cpuPercent: null,
    lastAt: event.at ?? 0,
    startedMs: null,
  });
}

/** Let what was used up to now stay in the totals, and count anew. */
function keepTotals(hive) {
  const [tokens, cost] = [hiveTokens(hive), hiveCost(hive)];
  Object.assign(hive, {
    pastTokens: tokens,
    pastCost: cost,
    agentTokens: 0,
    agentCost: null,
    baseTokens: 0,
    baseCost: 0,
    result: null,
  });
}

function onResources(hive, event) {
  const before = hive.resources;
  if (before && event.ts > before.ts) {
    hive.cpuPercent = Math.max(0, (100 * (event.cpu_ms - before.cpu_ms)) / (event.ts - before.ts));
  }
  hive.resources = { ts: event.ts, cpu_ms: event.cpu_ms, rss_bytes: event.rss_bytes, processes: event.processes };
}

function onResult(hive, event) {
  const { is_error, subtype, text, tokens, cost_usd, duration_ms, turns } = event;
  hive.result = { is_error, subtype, text: text ?? "", tokens, cost_usd, duration_ms, turns };
  hive.baseTokens = hive.agentTokens;
  hive.baseCost = hive.agentCost ?? 0;
}

// -- agents ------------------------------------------------------------------------------------------------

/** The agent of that id; one that nobody has introduced yet gets a place all the same. */
function agentOf(hive, name, ts) {
  if (Object.hasOwn(hive.agents, name)) return hive.agents[name];
  const agent = {
    agent: name,
    parent: name === QUEEN ? null : QUEEN,
    role: name === QUEEN ? "queen" : "worker",
    kind: "",
    task: "",
    startedMs: ts,
    endedMs: null,
    duration_ms: null,
    status: "working",
    tool: null,
    tokens: 0,
    tool_uses: 0,
    cost_usd: null,
    model: null,
    summary: null,
  };
  hive.agents[name] = agent;
  if (isOver(hive.status)) setStatus(hive, agent, "failed", null, ts);
  return agent;
}

function onSpawned(hive, event) {
  const agent = agentOf(hive, event.agent, event.ts);
  agent.parent = event.parent ?? null;
  Object.assign(agent, { role: event.role, kind: event.kind, task: event.task });
}

function onClaudeStarted(hive, event) {
  const agent = agentOf(hive, event.agent, event.ts);
  if (event.conversation && event.conversation !== hive.conversation) {
    hive.conversation = event.conversation;
    if (agentOver(agent.status)) {
      keepTotals(hive);
      Object.assign(agent, { tokens: 0, tool_uses: 0, cost_usd: null });
    }
  }
  agent.model = event.model ?? agent.model;
}

function onStatus(hive, event) {
  setStatus(hive, agentOf(hive, event.agent, event.ts), event.status, event.tool ?? null, event.ts);
}

function setStatus(hive, agent, status, tool, ts) {
  if (agentOver(status)) {
    Object.assign(agent, { status, tool: null });
    if (agent.endedMs == null) {
      agent.endedMs = ts;
      agent.duration_ms ??= Math.max(0, ts - agent.startedMs);
    }
  } else if (!isOver(hive.status)) {
    Object.assign(agent, { status, tool });
    if (agent.endedMs != null) agent.endedMs = agent.duration_ms = null; // it was resumed
  }
}

function onUsage(hive, event) {
  const agent = agentOf(hive, event.agent, event.ts);
  if (event.tokens > agent.tokens) {
    hive.agentTokens += event.tokens - agent.tokens;
    agent.tokens = event.tokens;
  }
  agent.tool_uses = Math.max(agent.tool_uses, event.tool_uses ?? 0);
  agent.duration_ms = event.duration_ms ?? agent.duration_ms;
  if (event.cost_usd != null && event.cost_usd > (agent.cost_usd ?? -1)) {
    hive.agentCost = (hive.agentCost ?? 0) + event.cost_usd - (agent.cost_usd ?? 0);
    agent.cost_usd = event.cost_usd;
  }
  agent.model = event.model ?? agent.model;
}

function onEnded(hive, event) {
  onUsage(hive, event);
  const agent = hive.agents[event.agent];
  agent.summary = event.summary ?? agent.summary;
  setStatus(hive, agent, event.status, null, event.ts);
}

function onMessage(hive, event) {
  hive.messages += 1;
  const link = `${event.from}>${event.to}`;
  hive.links[link] = (hive.links[link] ?? 0) + 1;
}

function plus(one, other) {
  return one == null ? other : other == null ? one : one + other;
}

const HANDLERS = {
  session: onSession,
  resources: onResources,
  claude_started: onClaudeStarted,
  agent_spawned: onSpawned,
  agent_status: onStatus,
  usage: onUsage,
  agent_ended: onEnded,
  message: onMessage,
  api_retry: (hive) => {
    hive.retries += 1;
  },
  result: onResult,
};
