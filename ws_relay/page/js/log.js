// The tail of a session's log, read again while it grows and is looked at.

import { getLog } from "./api.js";
import { h, setText } from "./dom.js";
import { isLive } from "./words.js";

const EVERY_MS = 2000;

export class LogTail {
  constructor(lines = 200) {
    this.lines = lines;
    this.element = h("pre", { class: lines > 20 ? "log" : "", tabindex: 0, "aria-label": "The last lines of the log" });
    this.row = null;
  }

  /** Follow the log of this session; null: none. */
  follow(row) {
    const same = row?.session_id === this.row?.session_id && row?.status === this.row?.status;
    this.row = row;
    if (same) return;
    clearTimeout(this.timer);
    setText(this.element, "");
    if (row) this.#read();
  }

  async #read() {
    const { row } = this;
    if (!document.hidden) await this.#readOnce(row);
    if (this.row?.session_id === row.session_id && isLive(row.status))
      this.timer = setTimeout(() => this.row && this.#read(), EVERY_MS);
  }

  #scroller() {
    return this.element.closest(".panel-body") ?? this.element;
  }

  async #readOnce(row) {
    const box = this.#scroller();
    const atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 30;
    let text;
    try {
      text = (await getLog(row.session_id, this.lines)).join("\n") || "The log is empty.";
    } catch (problem) {
      text = `The log cannot be read: ${problem.message}`;
    }
    if (this.row?.session_id !== row.session_id) return;
    setText(this.element, text);
    if (atEnd) box.scrollTop = box.scrollHeight;
  }
}
