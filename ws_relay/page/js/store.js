// The live state, made of the relay's messages alone; pure: no socket, no clock, no DOM.
//
// A session is {row, agents, links, cursor, full}: `row` as the relay lists it, `agents` by their id within the
// session,
// `links` "from>to" -> messages, `cursor` the byte offset up to which its events were seen, `full` once its agents are
// known.

const RATE_WINDOW_MS = 60_000;

/** A store that knows nothing. */
export function createStore() {
  return { sessions: new Map(), rates: new Map(), begins: {} };
}

/**
 * What a message changed: sessions by id, pulses to draw, transitions to announce, events and gaps for the recordings,
 * files that begin anew.
 */
function nothing() {
  return { sessions: new Set(), pulses: [], transitions: [], events: [], gaps: [], restarted: [] };
}

/** Take in one message of the relay at `now` (Unix milliseconds); what it changed. Unknown types change nothing. */
export function applyMessage(store, message, now) {
  const changes = nothing();
  HANDLERS[message?.type]?.(store, message, changes, now);
  return changes;
}

/** Take in the whole list of sessions; those that are no longer in it go. */
export function applyRows(store, rows) {
  const changes = nothing();
  const listed = new Set(rows.map((row) => row.session_id));
  for (const id of store.sessions.keys()) if (!listed.has(id)) remove(store, id, changes);
  for (const row of rows) setRow(store, row, changes);
  return changes;
}

/** Take in all there is to say of one session: its row and its agents. */
export function applyDetail(store, row, agents) {
  const changes = nothing();
  const session = setRow(store, row, changes);
  if (agents) setAgents(session, agents, true);
  return changes;
}

/** The byte offsets to go on from: of what still runs, and of `also`. */
export function resumeCursors(store, also = []) {
  const wanted = new Set(also);
  const cursors = {};
  for (const [id, { cursor, row }] of store.sessions) {
    if (cursor != null && (wanted.has(id) || row.status === "running" || row.status === "starting"))
      cursors[id] = cursor;
  }
  return cursors;
}

/** Tokens a minute of all sessions together, over the last minute before `now`. */
export function tokenRate(store, now) {
  let used = 0;
  for (const [id, samples] of store.rates) {
    while (samples.length && samples[0].at < now - RATE_WINDOW_MS) samples.shift();
    if (!samples.length) store.rates.delete(id);
    for (const { tokens } of samples) used += tokens;
  }
  return used;
}

/** An agent's id within its session, of its id outside. */
export function bareId(id) {
  return id == null ? null : id.slice(id.indexOf("/") + 1);
}

// -- messages ----------------------------------------------------------------------------------------------

/**
 * Where the events of each session begin now. A cursor behind ours: another file has taken the place of the one we
 * know.
 */
function onSubscribed(store, message, changes) {
  store.begins = message.cursors ?? {};
  for (const [id, cursor] of Object.entries(store.begins)) {
    const session = store.sessions.get(id);
    if (!session) continue;
    if (session.cursor != null && cursor < session.cursor) changes.restarted.push(id);
    session.cursor = cursor;
  }
}

function onUpdate(store, message, changes, now) {
  const { session_id: id } = message;
  const row = message.session ?? { session_id: id };
  const session = setRow(store, { ...row, session_id: id }, changes, now);
  setAgents(session, message.agents ?? [], message.snapshot === true, changes);
  if (message.snapshot && session.cursor == null) session.cursor = message.cursor ?? null;
  for (const change of message.topology_changes ?? []) {
    if (change.type === "connection_added") addLink(session, bareId(change.from), bareId(change.to), 0);
  }
}

function onTopology(store, message, changes) {
  const session = store.sessions.get(message.session_id);
  if (!session) return;
  for (const change of message.changes ?? []) {
    if (change.action !== "connection_established" || change.connection_type !== "message") continue;
    addLink(session, bareId(change.from), bareId(change.to), 0);
  }
  changes.sessions.add(message.session_id);
}

function onEvents(store, message, changes) {
  const session = store.sessions.get(message.session_id);
  if (session?.cursor != null && message.to <= session.cursor) return;
  if (session) {
    session.cursor = message.to;
    for (const event of message.events) noteEvent(session, event, changes);
    changes.sessions.add(message.session_id);
  }
  changes.events.push(message);
}

function noteEvent(session, event, changes) {
  const id = session.row.session_id;
  if (event.type === "message") {
    addLink(session, event.from, event.to, 1);
    changes.pulses.push({ session: id, from: event.from, to: event.to });
  } else if (event.type === "agent_status" && event.tool) {
    changes.pulses.push({ session: id, agent: event.agent });
  }
}

function onGap(store, message, changes) {
  changes.gaps.push(message);
  const session = store.sessions.get(message.session_id);
  if (session && (session.cursor == null || message.to > session.cursor)) session.cursor = message.to;
}

function onRemoved(store, message, changes) {
  remove(store, message.session_id, changes);
}

// -- changes -----------------------------------------------------------------------------------------------

function setRow(store, row, changes, now = null) {
  const id = row.session_id;
  let session = store.sessions.get(id);
  if (!session) {
    session = {
      row: { session_id: id, status: "created", task: "" },
      agents: new Map(),
      links: new Map(),
      cursor: store.begins[id] ?? null,
      full: false,
    };
    store.sessions.set(id, session);
  }
  const before = session.row;
  if (session.seen && row.status && row.status !== before.status) changes.transitions.push({ id, status: row.status });
  if (row.attempt > 1 && row.attempt > (before.attempt ?? row.attempt)) {
    session.agents = new Map();
    session.links = new Map();
  }
  if (now != null && session.seen) noteTokens(store, id, (row.tokens ?? 0) - (before.tokens ?? 0), now);
  session.row = { ...before, ...row };
  session.seen = true;
  changes.sessions.add(id);
  return session;
}

function noteTokens(store, id, tokens, now) {
  if (tokens <= 0) return;
  if (!store.rates.has(id)) store.rates.set(id, []);
  store.rates.get(id).push({ at: now, tokens });
}

function setAgents(session, agents, whole) {
  if (whole) {
    session.agents = new Map();
    session.full = true;
  }
  for (const agent of agents) {
    const bare = agent.agent ?? bareId(agent.agent_id ?? agent.id);
    session.agents.set(bare, { ...session.agents.get(bare), ...agent, agent: bare });
  }
}

function addLink(session, from, to, messages) {
  if (!from || !to) return;
  const link = `${from}>${to}`;
  session.links.set(link, (session.links.get(link) ?? 0) + messages);
}

function remove(store, id, changes) {
  store.sessions.delete(id);
  store.rates.delete(id);
  changes.sessions.add(id);
}

const HANDLERS = {
  subscribed: onSubscribed,
  telemetry_update: onUpdate,
  topology_change: onTopology,
  events: onEvents,
  gap: onGap,
  session_removed: onRemoved,
};
