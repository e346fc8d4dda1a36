// What was read of one session's telemetry, in order, and the hive at any moment of it; pure.

import { applyEvent, emptyHive, isEvent } from "./fold.js";
import { isTold, nameIn, timelineMark } from "./story.js";

const STRIDE = 2000; // events between two kept states: a jump back folds no more than these

/** The events of one session from its first byte on; `to` is the byte offset up to which they are known. */
export class Recording {
  constructor() {
    this.to = 0;
    this.events = [];
    this.moments = []; // of each event, the largest ts up to it: a clock set back does not turn the order
    this.told = []; // indices of the events that are told as sentences
    this.marks = []; // of the time line: {at, mark}
    this.names = new Map([["queen", "queen"]]); // of agents, by id
    this.kept = [{ index: 0, hive: emptyHive() }];
    this.head = { index: 0, hive: emptyHive() };
  }

  /** Add the events of the bytes [from, to): "added", "known" already, or "hole" when bytes before them are missing. */
  add(from, to, events) {
    if (to <= this.to && this.to > 0) return "known";
    if (from !== this.to) return "hole";
    for (const event of events) {
      if (!isEvent(event)) continue;
      this.#note(event, Math.max(event.ts, this.moments.at(-1) ?? 0));
    }
    this.to = to;
    return "added";
  }

  #note(event, at) {
    const mark = timelineMark(event);
    const name = nameIn(event);
    if (isTold(event)) this.told.push(this.events.length);
    if (mark) this.marks.push({ at, mark });
    if (name) this.names.set(event.agent, name);
    this.events.push(event);
    this.moments.push(at);
  }

  /** Unix milliseconds of the first and of the last event; null while there is none. */
  get span() {
    return this.moments.length ? [this.moments[0], this.moments.at(-1)] : null;
  }

  /** How many events had happened at `ms`. */
  countAt(ms) {
    let [low, high] = [0, this.moments.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.moments[middle] <= ms) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The hive as it was at `ms`. It is this recording's own: read it, do not keep it. */
  hiveAt(ms) {
    const wanted = this.countAt(ms);
    if (this.head.index > wanted) this.#rewind(wanted);
    while (this.head.index < wanted) {
      applyEvent(this.head.hive, this.events[this.head.index]);
      this.head.index += 1;
      if (this.head.index % STRIDE === 0 && this.head.index > this.kept.at(-1).index) this.kept.push(copy(this.head));
    }
    return this.head.hive;
  }

  #rewind(wanted) {
    let best = this.kept[0];
    for (const each of this.kept) if (each.index <= wanted) best = each;
    this.head = copy(best);
  }
}

function copy({ index, hive }) {
  return { index, hive: structuredClone(hive) };
}
