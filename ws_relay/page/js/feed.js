// The events of a session as sentences, the newest first.

import { clock } from "./format.js";
import { h, keepChildren } from "./dom.js";
import { isEcho, tell } from "./story.js";

const MOST = 200;

export class Feed {
  constructor() {
    this.list = h("ol", { class: "feed" });
    this.note = h("p", { class: "note" });
    this.element = h("div", {}, this.list, this.note);
  }

  clear() {
    this.list.replaceChildren();
  }

  /** Show what had happened at `moment` (null: up to now). */
  show(recording, reading, moment) {
    const total = recording ? (moment == null ? recording.events.length : recording.countAt(moment)) : 0;
    const told = recording ? lastTold(recording, total) : [];
    keepChildren(this.list, told, {
      keyOf: (index) => index,
      make: (index) => line(recording.events[index], (id) => recording.names.get(id) ?? id),
    });
    this.note.hidden = told.length > 0 && !reading && !recording?.problem;
    this.note.textContent = recording?.problem
      ? `The events cannot be read: ${recording.problem}`
      : reading
        ? "Reading the events…"
        : "No events yet.";
  }
}

/** The last of the first `total` events that are told, the newest first, as their indices. */
function lastTold({ told, events }, total) {
  const last = [];
  for (let at = told.findLastIndex((index) => index < total); at >= 0 && last.length < MOST; at -= 1)
    if (!isEcho(events, told[at])) last.push(told[at]);
  return last;
}

function line(event, nameOf) {
  const { who, text, mark } = tell(event, nameOf);
  const at = new Date(event.ts);
  return h(
    "li",
    { "data-mark": mark },
    h("time", { datetime: at.toISOString(), title: at.toISOString() }, clock(event.ts)),
    h("div", {}, h("b", {}, who), " ", text),
  );
}
