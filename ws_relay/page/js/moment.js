// Sessions as they were at a moment, from their recordings; pure but for asking for what is not read yet.

import { hiveView } from "./fold.js";
import { instant } from "./format.js";
import { isLive } from "./words.js";

/**
 * The sessions at `moment` by id; `want(id)` gives a recording. Those that did not exist yet, or are still read, are
 * left out.
 */
export function sessionsAt(sessions, moment, want) {
  const then = new Map();
  for (const [id, session] of sessions) {
    const seen = sessionAt(session, moment, want);
    if (seen) then.set(id, seen);
  }
  return then;
}

function sessionAt(session, moment, want) {
  const { row } = session;
  const created = instant(row.created);
  if (created != null && created > moment + 1000) return null;
  const ended = instant(row.ended);
  if (ended != null && !isLive(row.status) && ended <= moment) return session;
  const recording = want(row.session_id);
  if (!recording.countAt(moment)) return null;
  return { ...hiveView(recording.hiveAt(moment), row), full: true };
}

/**
 * Unix milliseconds of the first and last moment of these sessions: [from, to]; live ones last until now. `beginOf(id)`
 * knows it better than the row, which is rounded to seconds; null where it does not.
 */
export function spanOf(sessions, now, beginOf = () => null) {
  let [from, to] = [Infinity, -Infinity];
  for (const { row } of sessions) {
    const begun = beginOf(row.session_id) ?? instant(row.created) ?? instant(row.started);
    if (begun == null) continue;
    from = Math.min(from, begun);
    to = Math.max(to, instant(row.ended) ?? (isLive(row.status) || row.status === "created" ? now : begun));
  }
  return from === Infinity ? null : [from, Math.max(to, from + 1000)];
}

/** Where the next step leads: the first moment after (or the last before) `moment`; null when there is none. */
export function stepFrom(moments, moment, direction) {
  if (direction > 0) return moments.find((each) => each > moment) ?? null;
  return moments.findLast((each) => each < moment) ?? null;
}
