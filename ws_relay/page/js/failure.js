// Why a session failed: its reason, the last lines of its log, and the command that runs it again.

import { commandLine, h } from "./dom.js";
import { describeEnd, sessionState } from "./words.js";
import { LogTail } from "./log.js";
import { LongText } from "./longtext.js";
import { shortId } from "./format.js";

const READ = { lines: 30, most: 4, length: 120 };
const REASON_MOST = 700; // characters

export class Failure {
  constructor() {
    this.reason = new LongText("reason", REASON_MOST);
    this.facts = h("p", { class: "quiet" });
    this.last = new LogTail(READ);
    this.again = h("div", { class: "again" });
    this.element = h("div", { class: "failure" }, this.reason.element, this.facts, this.last.element, this.again);
  }

  /** Show how this session failed; null, or one that did not: nothing. */
  show(session, nameOf) {
    const failed = session?.row.status === "failed";
    this.element.hidden = !failed;
    const why = failed ? reasonOf(session) : "";
    this.last.follow(failed ? session.row : null, nameOf, why);
    if (!failed) return;
    const facts = endFacts(session.row);
    this.reason.show(why);
    this.facts.hidden = !facts;
    this.facts.textContent = facts;
    this.#offer(session.row.session_id);
  }

  #offer(id) {
    if (this.of === id) return;
    this.of = id;
    this.again.replaceChildren(
      h("p", { class: "quiet" }, "To run it again in the same directory:"),
      commandLine(`hive-session resume ${shortId(id)}`, `hive-session resume ${id}`),
    );
  }
}

/** Why it failed, as somebody said it: the runner, the agent's answer, or what was seen of the queen. Pure. */
export function reasonOf({ row, agents }) {
  return row.detail || row.result?.text || agents.get("queen")?.summary || "";
}

/** What the state does not say of the end: exit code and signal. Pure. */
export function endFacts(row) {
  const state = row.state ? sessionState(row) : describeEnd(row);
  const facts = [
    row.exit_code != null && !state.includes("exit") ? `exit code ${row.exit_code}` : null,
    row.signal && !state.includes("signal") ? `signal ${row.signal}` : null,
  ];
  return facts.filter(Boolean).join(", ");
}
