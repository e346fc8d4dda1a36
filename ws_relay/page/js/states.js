// What the page says when there is nothing to draw, nobody to talk to, or a token to ask for.

import { clock } from "./format.js";
import { commandLine, h, setText } from "./dom.js";

const FIRST = 'hive-session run --agent rehearsal "Try it out"';

/** The middle of the stage while there is no session: connecting, nothing yet, or nothing that fits the search. */
export class EmptyStage {
  constructor(host) {
    this.host = host;
    this.kind = null;
  }

  /** `kind`: null (there is something to see), connecting, nothing, unmatched, idle, nobody or reading. */
  show(kind) {
    this.host.hidden = kind === null;
    if (kind === this.kind) return;
    this.kind = kind;
    this.host.replaceChildren(...(WORDS[kind]?.() ?? []));
  }
}

const WORDS = {
  connecting: () => [h("h2", {}, "Connecting to the relay…")],
  nothing: () => [
    h("h2", {}, "No sessions yet"),
    h("p", {}, "Start one, and its agents appear here. This one plays a hive without a model, and costs nothing:"),
    commandLine(FIRST),
  ],
  unmatched: () => [h("h2", {}, "No session fits"), h("p", {}, "Another search, or another filter, may show some.")],
  idle: () => [
    h("h2", {}, "Nothing runs"),
    h("p", {}, "The sessions that have ended are in the list. To start another one:"),
    commandLine(FIRST),
  ],
  nobody: () => [
    h("h2", {}, "Nothing at this moment"),
    h("p", {}, "No session had begun yet. Drag the time line, or go back to live."),
  ],
  reading: () => [h("h2", {}, "Reading the recording…")],
};

/** The line under the bar: not connected, with the countdown; or a notice that is said once. */
export class Banner {
  constructor(host, onRetry) {
    this.host = host;
    this.onRetry = onRetry;
    this.countdown = h("span", { "aria-hidden": "true" });
    this.kind = null;
  }

  /** `link`: {state, retryAt, lastMs}. */
  show({ state, retryAt, lastMs }, now) {
    const away = state === "waiting" || (state === "connecting" && lastMs != null);
    if (away && this.kind !== "away") this.#showAway(lastMs);
    if (!away && this.kind === "away") this.#hide();
    if (away)
      setText(
        this.countdown,
        state === "waiting" ? `Trying again in ${Math.max(1, Math.ceil((retryAt - now) / 1000))} s.` : "Trying now…",
      );
  }

  /** Say something until it is closed. */
  say(text) {
    if (this.kind === "away") return;
    this.kind = "notice";
    this.host.replaceChildren(
      h("span", {}, text),
      h("button", { type: "button", onclick: () => this.#hide() }, "Got it"),
    );
    this.host.hidden = false;
  }

  #showAway(lastMs) {
    this.kind = "away";
    this.host.replaceChildren(
      h(
        "span",
        {},
        h("b", {}, "Not connected to the relay. "),
        lastMs == null ? "" : `What you see is from ${clock(lastMs)}.`,
      ),
      this.countdown,
      h("button", { type: "button", onclick: this.onRetry }, "Try now"),
    );
    this.host.hidden = false;
  }

  #hide() {
    this.kind = null;
    this.host.hidden = true;
  }
}

/** Asks for the token until there is one: `onToken(token)`. */
export function askForToken(dialog, onToken) {
  if (dialog.open) return;
  const field = h("input", { type: "password", "aria-label": "Token", autocomplete: "off", required: true });
  const form = h("form", { method: "dialog" }, field, h("button", {}, "Connect"));
  form.onsubmit = () => onToken(field.value);
  dialog.replaceChildren(
    h("h2", {}, "This relay wants a token"),
    h("p", {}, "It is the WS_AUTH_TOKEN that the relay was started with. It stays in this tab."),
    form,
  );
  dialog.oncancel = (event) => event.preventDefault();
  dialog.showModal();
}

const KEYS = [
  ["j k", "next, previous session"],
  ["Enter", "open it"],
  ["Esc", "back"],
  ["/", "search"],
  ["Space", "play or pause"],
  ["← →", "one event back, on"],
  ["↑ ↓ Enter", "in a table: the row before, the next, open it"],
  ["← → Home End", "in the tabs of a session: another tab"],
  ["l", "live"],
  ["t", "table"],
  ["g", "graph"],
  ["f", "show everything"],
  ["?", "this help"],
];

/** The keys, as a dialog. */
export function showHelp(dialog) {
  if (!dialog.firstChild) {
    dialog.append(
      h("h2", {}, "Keyboard"),
      h(
        "dl",
        { class: "keys" },
        ...KEYS.flatMap(([key, words]) => [
          h("dt", {}, ...key.split(" ").flatMap((each) => [h("kbd", {}, each), " "])),
          h("dd", {}, words),
        ]),
      ),
      h(
        "p",
        {},
        "In the graph: click an agent or a session to open it, double click to fly there, drag and wheel to move. " +
          "The time line below shows any moment of the past.",
      ),
      h("form", { method: "dialog" }, h("button", {}, "Close")),
    );
  }
  dialog.showModal();
}
