// The recordings of the sessions that are looked at: read over HTTP from the first byte, continued by what comes live.

import { getEvents } from "./api.js";
import { Recording } from "./recording.js";

const AT_ONCE = 3; // sessions that are read at the same time
const MOST_BYTES = 64 << 20; // of one session; what is longer than that is shown up to there

export class Archive {
  /** `onChange(session id)` is called when a recording grew; `read(session id, byte offset)` gives the next piece. */
  constructor(onChange, read = getEvents) {
    this.onChange = onChange;
    this.read = read;
    this.recordings = new Map();
    this.reading = new Set();
    this.waiting = new Set();
    this.again = new Set(); // more was told of these while they were read
  }

  /** The recording of a session, as far as it is known; it is read from now on. */
  want(id) {
    if (!this.recordings.has(id)) {
      this.recordings.set(id, new Recording());
      this.#read(id);
    }
    return this.recordings.get(id);
  }

  get(id) {
    return this.recordings.get(id) ?? null;
  }

  /** True until all that there is of a wanted session has been read. */
  isReading(id) {
    return this.reading.has(id) || this.waiting.has(id);
  }

  /** Take in what came live: {session_id, from, to, events}. */
  take({ session_id: id, from, to, events }) {
    const recording = this.recordings.get(id);
    if (!recording) return;
    if (this.isReading(id)) this.again.add(id);
    else if (recording.add(from, to, events) === "hole") this.#read(id);
  }

  /** Bytes were dropped on the way, or the connection was: read on from what is known. */
  catchUp(id) {
    if (!this.recordings.has(id)) return;
    if (this.isReading(id)) this.again.add(id);
    else this.#read(id);
  }

  /** It is gone, or another one from its first byte on: what is still being read of it is read for nobody. */
  forget(id) {
    for (const known of [this.recordings, this.waiting, this.again]) known.delete(id);
  }

  #read(id) {
    this.waiting.add(id);
    this.#next();
  }

  #next() {
    for (const id of this.waiting) {
      if (this.reading.size >= AT_ONCE) return;
      if (this.reading.has(id)) continue; // the one before it, which was forgotten
      this.waiting.delete(id);
      this.reading.add(id);
      this.#readAll(id).finally(() => this.#ended(id));
    }
  }

  #ended(id) {
    this.reading.delete(id);
    if (this.again.delete(id)) this.#read(id);
    this.onChange(id);
    this.#next();
  }

  async #readAll(id) {
    const recording = this.recordings.get(id);
    try {
      while (recording.to < MOST_BYTES) {
        const { from, to, end, events } = await this.read(id, recording.to);
        if (this.recordings.get(id) !== recording) return;
        recording.add(from, to, events);
        this.onChange(id);
        if (to >= end || to <= from) return;
      }
    } catch (problem) {
      recording.problem = problem.message; // shown where the events would be; the next reconnection tries again
    }
  }
}
