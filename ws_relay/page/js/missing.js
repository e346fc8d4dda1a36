// A link to a session that there is not (yet), or that had not begun at the moment that is shown: said in a line under
// the bar, where every layout has it.

import { getSession, Refused } from "./api.js";
import { clock, cut } from "./format.js";
import { h, setText } from "./dom.js";

export class Missing {
  /** `onAll()`: the person would rather see all sessions. */
  constructor(host, onAll) {
    this.host = host;
    this.words = h("span");
    host.replaceChildren(this.words, h("button", { type: "button", onclick: onAll }, "Show all sessions"));
    this.id = null;
  }

  /** `id`: the session that is wanted and cannot be shown; null when all is well. */
  show(id, moment) {
    if (id !== this.id) Object.assign(this, { id, asked: false, exists: null });
    this.moment = moment;
    if (id && !this.asked && document.body.dataset.link === "live") this.#ask(id);
    const says = id && missingWords(cut(id, 36), this.exists, moment);
    this.host.hidden = !says;
    if (says) setText(this.words, says);
  }

  async #ask(id) {
    this.asked = true;
    let exists = true;
    try {
      await getSession(encodeURIComponent(id));
    } catch (problem) {
      if (!(problem instanceof Refused && problem.status === 404)) return;
      exists = false;
    }
    if (id !== this.id) return;
    this.exists = exists;
    this.show(id, this.moment);
  }
}

/** The sentence for a session that cannot be shown; "" while it is not known whether there is one. Pure. */
export function missingWords(id, exists, moment) {
  if (exists === false) return `There is no session ${id}. If it is created, it is shown here at once.`;
  return exists && moment != null ? `Session ${id} had not begun at ${clock(moment)}.` : "";
}
