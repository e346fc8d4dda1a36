// The bar at the top: how the relay is connected, and the figures of all sessions together.

import { clock, count, instant, money } from "./format.js";
import { h, setAttribute, setText } from "./dom.js";
import { isLive } from "./words.js";

/** The figures for the bar, of these sessions: {running, failed, agents, today}. */
export function totalsOf(sessions, now) {
  const day = new Date(now).setHours(0, 0, 0, 0);
  const totals = { running: 0, failed: 0, agents: 0, today: 0 };
  for (const { row } of sessions) {
    if (isLive(row.status)) {
      totals.running += 1;
      totals.agents += row.active_agents ?? 0;
    }
    const last = isLive(row.status) ? now : (instant(row.ended) ?? instant(row.created) ?? 0);
    if (last < day) continue;
    totals.today += row.cost_usd ?? 0;
    if (row.status === "failed") totals.failed += 1;
  }
  return totals;
}

export class TopBar {
  constructor(link, text, list) {
    Object.assign(this, { link, text });
    const figure = (name, more = {}) => {
      const value = h("dd");
      list.append(h("div", more, h("dt", {}, name), value));
      return value;
    };
    this.running = figure("running", { "data-mark": "running" });
    this.agents = figure("agents at work");
    this.failed = figure("failed", { "data-mark": "failed" });
    this.rate = figure("tok/min", { class: "spare" });
    this.today = figure("today");
  }

  /** Show the link and the totals; `rate` and today's cost only of now. */
  show({ state, behindMs, moment, totals, rate }) {
    setAttribute(this.link, "data-state", moment == null ? state : "replay");
    setText(this.text, moment == null ? linkWords(state, behindMs) : `as of ${clock(moment)}`);
    setText(this.running, totals.running);
    setText(this.agents, totals.agents);
    setText(this.failed, totals.failed);
    this.failed.parentElement.hidden = !totals.failed;
    setText(this.rate, count(rate));
    setText(this.today, money(totals.today));
    this.rate.parentElement.hidden = this.today.parentElement.hidden = moment != null;
  }
}

function linkWords(state, behindMs) {
  if (state === "connecting") return "connecting";
  if (state === "waiting") return "not connected";
  if (state === "token") return "token needed";
  return behindMs == null ? "live" : `live, ${behindMs} ms behind`;
}
