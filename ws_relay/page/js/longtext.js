// A text of any length: its beginning, and all of it for who asks.

import { h, setText } from "./dom.js";
import { excerpt } from "./format.js";

export class LongText {
  /** `most`: characters that are shown unasked. */
  constructor(className, most) {
    this.most = most;
    this.words = h("span");
    this.more = h("button", { type: "button", class: "more-button", onclick: () => this.#toggle() });
    this.element = h("p", { class: className }, this.words, " ", this.more);
    this.text = null;
  }

  /** Show a text; "" shows nothing. */
  show(text) {
    if (text === this.text) return;
    this.text = text;
    this.whole = false;
    this.#draw();
  }

  #toggle() {
    this.whole = !this.whole;
    this.#draw();
  }

  #draw() {
    const begun = excerpt(this.text, this.most);
    this.element.hidden = !this.text;
    this.more.hidden = begun === this.text;
    setText(this.words, this.whole ? this.text : begun);
    setText(this.more, this.whole ? "Show less" : "Show all");
    this.more.setAttribute("aria-expanded", String(this.whole));
  }
}
