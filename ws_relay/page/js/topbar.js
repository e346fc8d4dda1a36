// The bar at the top: how the relay is connected, and the figures of all sessions together.

import { clock, count, instant, money } from "./format.js";
import { h, setAttribute, setText } from "./dom.js";
import { isLive } from "./words.js";

const SURE_MS = 10_000; // before that a rate is a guess
const MINUTE_MS = 60_000;

/**
 * The figures for the bar, of these sessions: {running, failed, agents, today}; today's cost is null while nobody has
 * said one.
 */
export function totalsOf(sessions, now) {
  const day = new Date(now).setHours(0, 0, 0, 0);
  const totals = { running: 0, failed: 0, agents: 0, today: null };
  for (const { row } of sessions) {
    if (isLive(row.status)) {
      totals.running += 1;
      totals.agents += row.active_agents ?? 0;
    }
    const last = isLive(row.status) ? now : (instant(row.ended) ?? instant(row.created) ?? 0);
    if (last < day) continue;
    if (row.cost_usd != null) totals.today += row.cost_usd;
    if (row.status === "failed") totals.failed += 1;
  }
  return totals;
}

/**
 * Tokens a minute, of those that were seen used in the last minute by who has watched for so long; null while that is
 * too short to tell.
 */
export function ratePerMinute(seen, watchedMs) {
  return watchedMs < SURE_MS ? null : (seen * MINUTE_MS) / Math.min(MINUTE_MS, watchedMs);
}

export class TopBar {
  constructor(link, text, list) {
    Object.assign(this, { link, text });
    const figure = (name, more = {}) => {
      const value = h("dd");
      const element = h("div", more, h("dt", {}, name), value);
      list.append(element);
      return { element, name: element.firstChild, value };
    };
    this.running = figure("running", { "data-mark": "running" });
    this.agents = figure("agents at work");
    this.failed = figure("failed", { "data-mark": "failed" });
    this.rate = figure("tok/min", { class: "spare" });
    this.today = figure("today");
    this.since = null; // performance.now() of the first look at what happens
  }

  /** Show the link and the totals; `rate` and today's cost only of now. */
  show({ state, behindMs, moment, totals, rate }) {
    setAttribute(this.link, "data-state", moment == null ? state : "replay");
    setText(this.text, moment == null ? linkWords(state, behindMs) : `as of ${clock(moment)}`);
    if (state === "live") this.since ??= performance.now();
    const perMinute = this.since == null ? null : ratePerMinute(rate, performance.now() - this.since);
    put(this.running, totals.running);
    put(this.agents, totals.agents, totals.agents === 1 ? "agent at work" : "agents at work");
    put(this.failed, totals.failed || null);
    put(this.rate, moment == null && perMinute != null ? count(perMinute) : null);
    put(this.today, moment == null && totals.today != null ? money(totals.today) : null);
  }
}

/** A figure that is not known is not there. */
function put(figure, value, name = null) {
  figure.element.hidden = value == null;
  setText(figure.value, value ?? "");
  if (name) setText(figure.name, name);
}

function linkWords(state, behindMs) {
  if (state === "connecting") return "connecting";
  if (state === "waiting") return "not connected";
  if (state === "token") return "token needed";
  return behindMs == null ? "live" : `live, ${behindMs} ms behind`;
}
