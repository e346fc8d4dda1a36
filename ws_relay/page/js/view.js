// Which sessions are listed, drawn and spanned by the time line, of all that are known; what the person chose decides.

import { instant } from "./format.js";
import { isLive } from "./words.js";
import { selectSessions } from "./sessions.js";
import { sessionsAt, spanOf } from "./moment.js";

const MOST_ENDED = 12; // ended sessions in the graph
const RECENT_MS = 3_600_000; // after its end a session stays in the graph for so long

/**
 * A look at the store and the archive through `ui` {session, moment, filter, search}; `link` tells how fresh they are.
 */
export class View {
  constructor({ store, archive, ui, link }) {
    Object.assign(this, { store, archive, ui, link });
  }

  /** The moment up to which things are known: now, or when the relay was last heard. */
  get knownUntil() {
    return this.link.state === "live" ? Date.now() : (this.link.lastMs ?? Date.now());
  }

  /** The moment that is shown, in Unix milliseconds. */
  get now() {
    return this.ui.moment ?? this.knownUntil;
  }

  /** Sessions as they were then: {all} by id, {listed} by the list's filter and search, {drawn} those in the graph. */
  shown() {
    const all = this.#sessions();
    const listed = selectSessions(all, this.ui);
    let ended = 0;
    const drawn = listed.filter(({ row, agents }) => {
      if (isLive(row.status) || row.status === "created" || row.session_id === this.ui.session) return true;
      ended += Number(agents.size > 0 && isRecent(row, this.now));
      return agents.size > 0 && isRecent(row, this.now) && ended <= MOST_ENDED;
    });
    return { all, listed, drawn: drawn.sort((one, other) => createdMs(one.row) - createdMs(other.row)) };
  }

  #sessions() {
    const { store, archive, ui } = this;
    if (ui.moment == null) return store.sessions;
    const near = [...store.sessions].filter(([id, { row }]) => id === ui.session || mayHaveRun(row, ui.moment));
    return sessionsAt(new Map(near), ui.moment, (id) => archive.want(id));
  }

  /** The sessions that the time line spans: the open one, else those of the last hour. */
  scope() {
    const open = this.store.sessions.get(this.ui.session);
    if (open) return [open];
    const near = [...this.store.sessions.values()].filter(({ row }) => isLive(row.status) || isRecent(row, Date.now()));
    return near.sort((one, other) => createdMs(other.row) - createdMs(one.row)).slice(0, 2 * MOST_ENDED);
  }

  /** First and last moment of the time line; null where there is none. */
  span() {
    return spanOf(this.scope(), this.knownUntil, (id) => this.archive.get(id)?.span?.[0] ?? null);
  }

  /** True while something runs that the time line spans. */
  runs() {
    return this.scope().some(({ row }) => isLive(row.status));
  }

  /** Marks on the time line: of recordings as far as they are read, else of the rows. */
  marks() {
    return this.scope().flatMap(({ row }) => {
      const recording = this.archive.get(row.session_id);
      return recording?.events.length ? recording.marks : rowMarks(row);
    });
  }

  /** Moments at which something happened, in order. */
  moments() {
    const told = this.scope().flatMap(({ row }) => {
      const recording = this.archive.get(row.session_id);
      return recording ? recording.told.map((index) => recording.moments[index]) : [];
    });
    return (told.length ? told : this.marks().map(({ at }) => at)).sort((one, other) => one - other);
  }
}

function createdMs(row) {
  return instant(row.created) ?? 0;
}

function isRecent(row, now) {
  return now - (instant(row.ended) ?? 0) < RECENT_MS;
}

function mayHaveRun(row, moment) {
  return createdMs(row) <= moment && (instant(row.ended) ?? Infinity) > moment - RECENT_MS;
}

function rowMarks(row) {
  const begun = { at: instant(row.started) ?? instant(row.created), mark: "running" };
  const ended = { at: instant(row.ended), mark: row.status === "failed" ? "failed" : "done" };
  return [begun, ended].filter(({ at }) => at != null);
}
