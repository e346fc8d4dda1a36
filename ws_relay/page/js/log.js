// The tail of a session's log, read again while it grows and is looked at: in people's words, or as it was written.

import { getLog } from "./api.js";
import { clock, excerpt } from "./format.js";
import { h, setAttribute, setText } from "./dom.js";
import { isLive } from "./words.js";
import { logWords } from "./logwords.js";

const EVERY_MS = 2000;
const LINES = 200;

/** The last lines, as a list. */
export class LogTail {
  /** `lines`: how many are read; `most`: how many sentences of them are shown, and `length` characters of each. */
  constructor({ lines = LINES, most = Infinity, length = Infinity } = {}) {
    Object.assign(this, { lines, most, length, raw: false, row: null, read: null, nameOf: () => "" });
    this.element = h("ol", { class: "log", "aria-label": "The last lines of the log" });
  }

  /** Follow the log of this session; null: none. What says the same as `besides` is left out. */
  follow(row, nameOf = this.nameOf, besides = "") {
    const same = row?.session_id === this.row?.session_id && row?.status === this.row?.status;
    Object.assign(this, { row, nameOf, besides });
    if (same) return;
    clearTimeout(this.timer);
    this.read = null;
    this.#draw();
    if (row) this.#read();
  }

  /** As it was written, or in people's words. */
  setRaw(raw) {
    this.raw = raw;
    this.#draw();
  }

  async #read() {
    const { row } = this;
    if (!document.hidden) await this.#readOnce(row);
    if (this.row?.session_id === row.session_id && isLive(row.status))
      this.timer = setTimeout(() => this.row && this.#read(), EVERY_MS);
  }

  async #readOnce(row) {
    let read;
    try {
      read = { lines: await getLog(row.session_id, this.lines) };
    } catch (problem) {
      read = { problem: `The log cannot be read: ${problem.message}` };
    }
    if (this.row?.session_id !== row.session_id || JSON.stringify(read) === JSON.stringify(this.read)) return;
    this.read = read;
    this.#draw();
  }

  /** What was at its end stays at its end. */
  #draw() {
    const box = this.element.closest(".panel-body");
    const atEnd = box && box.scrollTop + box.clientHeight >= box.scrollHeight - 30;
    this.element.replaceChildren(...this.#entries().map(entry));
    if (atEnd) box.scrollTop = box.scrollHeight;
  }

  #entries() {
    if (!this.read) return [];
    if (this.read.problem) return [{ who: "", text: this.read.problem, mark: null }];
    if (!this.read.lines.length) return [{ who: "", text: "The log is empty.", mark: null }];
    if (this.raw) return this.read.lines.map((text) => ({ who: "", text, mark: null }));
    const told = this.read.lines.flatMap((line) => logWords(line, this.nameOf));
    return told
      .filter(({ text }) => !this.besides.startsWith(text.replace(/…$/, "")))
      .slice(-this.most)
      .map(({ text, ...rest }) => ({ ...rest, text: excerpt(text, this.length) }));
  }
}

function entry({ who, text, mark }) {
  return h("li", { "data-mark": mark }, who ? h("b", {}, who) : null, who ? " " : null, text);
}

/** The log in a tab of its own, with the way to the lines as they were written. */
export class LogView {
  constructor() {
    this.tail = new LogTail();
    this.note = h("span", { class: "quiet" });
    this.button = h("button", { type: "button", "aria-pressed": "false", onclick: () => this.#toggle() }, "As written");
    this.element = h("div", {}, h("div", { class: "log-head" }, this.note, this.button), this.tail.element);
  }

  /** Follow the log of `row` (null: of none) while `moment` is shown. */
  show(row, nameOf, moment) {
    setText(
      this.note,
      moment == null ? "The last lines" : `Its lines have no times: this is the log now, not at ${clock(moment)}.`,
    );
    this.tail.follow(row, nameOf);
  }

  #toggle() {
    this.tail.setRaw(!this.tail.raw);
    setAttribute(this.button, "aria-pressed", String(this.tail.raw));
    setAttribute(this.tail.element, "data-raw", this.tail.raw ? "" : null);
  }
}
