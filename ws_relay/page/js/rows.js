// Rows of a table as one stop for the Tab key: the arrows walk them, Enter or Space opens one.

const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: -Infinity, End: Infinity };

export class Rows {
  /** Rows are the children of `body`; each has an onclick of its own. */
  constructor(body) {
    this.body = body;
    this.stop = null;
    body.addEventListener("keydown", (event) => this.#walk(event));
    body.addEventListener("focusin", (event) => this.#stopAt(event.target.closest("tr")));
  }

  /** After the rows have changed: one of them can be reached. */
  keep() {
    if (this.stop?.parentElement !== this.body) this.#stopAt(this.body.firstElementChild);
  }

  #stopAt(row) {
    if (this.stop) this.stop.tabIndex = -1;
    this.stop = row;
    if (row) row.tabIndex = 0;
  }

  #walk(event) {
    const row = event.target.closest("tr");
    const opens = event.key === "Enter" || event.key === " ";
    if (!row || event.ctrlKey || event.metaKey || event.altKey || !(opens || event.key in STEPS)) return;
    event.preventDefault();
    event.stopPropagation(); // Enter and Space mean something else to the page
    if (opens) row.click();
    else this.#go(row, STEPS[event.key]);
  }

  #go(row, step) {
    const rows = [...this.body.children];
    const next = rows[Math.min(rows.length - 1, Math.max(0, rows.indexOf(row) + step))];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  }
}
