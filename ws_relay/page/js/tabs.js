// Tabs as the WAI-ARIA pattern has them: one stop for the Tab key, arrows walk them, what they open is named by them.

import { h, setAttribute } from "./dom.js";

export class Tabs {
  /** `names`: of the tabs, in order; `onOpen(name)`: a person chose one. The tab of a name is `[data-panel=name]`. */
  constructor(label, names, onOpen) {
    Object.assign(this, { names, onOpen });
    this.body = h("div", { class: "panel-body", role: "tabpanel", id: "panel-body", tabindex: 0 });
    const tabs = names.map((name) => this.#tab(name));
    this.list = h("div", { class: "panel-tabs", role: "tablist", "aria-label": label }, ...tabs);
    this.list.onkeydown = (event) => this.#walk(event);
  }

  /** Show `content` as that of the tab `name`. */
  open(name, content) {
    for (const tab of this.list.children) {
      const chosen = tab.dataset.panel === name;
      setAttribute(tab, "aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
    }
    setAttribute(this.body, "aria-labelledby", `tab-${name}`);
    this.body.replaceChildren(content);
    this.body.scrollTop = 0;
  }

  #tab(name) {
    const words = { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "panel-body", "data-panel": name };
    return h("button", { ...words, onclick: () => this.onOpen(name) }, name[0].toUpperCase() + name.slice(1));
  }

  #walk(event) {
    const at = [...this.list.children].indexOf(event.target);
    const next = nextTab(event.key, at, this.names.length);
    if (next == null) return;
    event.preventDefault();
    event.stopPropagation(); // the page's arrows step through time
    this.list.children[next].focus();
    this.onOpen(this.names[next]);
  }
}

/** Which of `count` tabs a key leads to from the one at `at`; null for keys that lead nowhere. Pure. */
export function nextTab(key, at, count) {
  if (key === "ArrowRight") return (at + 1) % count;
  if (key === "ArrowLeft") return (at + count - 1) % count;
  if (key === "Home") return 0;
  return key === "End" ? count - 1 : null;
}
