// The page: what is shown, where it comes from, and when it is drawn. Everything else is in the files named here.

import { Archive } from "./archive.js";
import { currentToken, getSession, getSessions, isAllowed, keepToken, takeTokenFromAddress } from "./api.js";
import { Connection, socketUrl } from "./connection.js";
import { WholeTable } from "./agents.js";
import { isLive, sessionState } from "./words.js";
import { applyDetail, applyMessage, applyRows, createStore, resumeCursors, tokenRate } from "./store.js";
import { askForToken, Banner, EmptyStage, showHelp } from "./states.js";
import { cut, shortId } from "./format.js";
import { formatRoute, parseRoute } from "./router.js";
import { listenToKeys } from "./keyboard.js";
import { makeRefresh } from "./schedule.js";
import { Panel } from "./panel.js";
import { SessionList } from "./sessions.js";
import { Playback } from "./playback.js";
import { View } from "./view.js";
import { shortLegend } from "./overview.js";
import { showHover } from "./agentcard.js";
import { Stage } from "./stage.js";
import { startTheme } from "./theme.js";
import { TimeLine } from "./timeline.js";
import { TopBar, totalsOf } from "./topbar.js";

const CALM_MS = 200; // between two drawings of lists and figures; what a person did is drawn at once
const TABLE_MS = 700;
const UPDATES_HZ = 10;
const SAY_AFTER_MS = 800;

const $ = (id) => document.getElementById(id);

takeTokenFromAddress();
const store = createStore();
const ui = { ...parseRoute(location.hash), filter: "all", search: "", playing: false };
const link = { state: "connecting", retryAt: null, lastMs: null };
const known = { rows: false, live: false, drawn: false };
const tableDrawn = { at: 0, of: "", timer: null };
const refresh = makeRefresh(render, CALM_MS);
const archive = new Archive(() => refresh());
const view = new View({ store, archive, ui, link });
let seen = { all: store.sessions, listed: [], drawn: [] }; // what the last drawing showed
let sayings = [];
let routeTimer = null;

// -- parts ---------------------------------------------------------------------------------------------------

const topBar = new TopBar($("link"), $("link-text"), $("totals"));
const list = new SessionList($("session-list"), $("session-more"), (id) => choose(id, null));
const panel = new Panel($("panel"), {
  chooseSession: (id) => choose(id, null),
  chooseAgent: (agent) => choose(ui.session, agent),
  back,
  changed: () => refresh(true),
});
const wholeTable = new WholeTable($("table"), (session, agent) => choose(session, agent));
const playback = new Playback({ view, ui, go });
const timeLine = new TimeLine($("timeline"), {
  go,
  play: () => playback.toggle(),
  step: (direction) => playback.step(direction),
  speed: (speed) => Object.assign(playback, { speed }),
});
const empty = new EmptyStage($("empty"));
const banner = new Banner($("banner"), () => connection.hurry());
const stage = new Stage($("graph"), { choose, hover, fallback: sayFallback });
const nextTheme = startTheme($("theme-button"), () => {
  stage.recolour();
  refresh(true);
});
$("legend").append(...shortLegend());

// -- what comes from the relay -------------------------------------------------------------------------------

const connection = new Connection({
  url: socketUrl(document.baseURI),
  token: currentToken,
  hello: () => ({
    action: "subscribe",
    events: true,
    snapshot: true,
    from: resumeCursors(store, archive.recordings.keys()),
    filters: { include_performance: true, include_topology: true, update_frequency_hz: UPDATES_HZ },
  }),
  isAllowed,
  onMessage: hear,
  onState: onLink,
});

function hear(message) {
  const changes = applyMessage(store, message, Date.now());
  link.lastMs = Date.now();
  for (const events of changes.events) {
    archive.take(events);
    const last = events.events.at(-1);
    if (last) connection.noteLag(last.ts);
  }
  for (const gap of changes.gaps) archive.catchUp(gap.session_id);
  for (const id of changes.restarted) archive.forget(id);
  if (message.type === "session_removed") archive.forget(message.session_id);
  if (ui.moment == null) changes.pulses.forEach((pulse) => stage.pulse(pulse));
  changes.transitions.forEach(announce);
  if (changes.sessions.size) refresh(!known.drawn); // the first ones are waited for
}

function onLink({ state, retryAt }) {
  Object.assign(link, { state, retryAt });
  document.body.dataset.link = state;
  if (state === "token")
    askForToken($("token"), (token) => {
      keepToken(token);
      connection.open();
    });
  if (state === "live") readAll();
  refresh(true);
}

/** After each connection: the whole list, and what was missed of the sessions that are looked at. */
async function readAll() {
  known.live = true;
  try {
    applyRows(store, await getSessions());
    known.rows = true;
  } catch (problem) {
    console.warn("the list of sessions cannot be read:", problem.message);
  }
  for (const id of archive.recordings.keys()) archive.catchUp(id);
  readDetail(ui.session);
  refresh();
}

/** The whole of a session that is opened: its list row does not say all of it. */
async function readDetail(id) {
  if (!id || !store.sessions.has(id)) return;
  try {
    const { row, agents } = await getSession(id);
    applyDetail(store, row, agents);
  } catch (problem) {
    console.warn("the session cannot be read:", problem.message);
  }
  refresh();
}

function announce({ id }) {
  const { row } = store.sessions.get(id);
  if (id === ui.session) readDetail(id);
  if (!sayings.length) setTimeout(say, SAY_AFTER_MS);
  sayings.push(`${cut(row.task, 60) || shortId(id)}: ${sessionState(row)}`);
}

function say() {
  $("says").textContent = sayings.length > 3 ? `${sayings.length} sessions changed` : sayings.join(". ");
  sayings = [];
}

// -- what the person does ------------------------------------------------------------------------------------

function choose(session, agent) {
  const opened = session !== ui.session;
  Object.assign(ui, { session, agent });
  if (opened && session) readDetail(session);
  if (session) openTab("details");
  stage.choose(session, agent);
  keepRoute(opened);
  refresh(true);
}

function back() {
  if (document.activeElement === $("search")) $("search").blur();
  else choose(ui.agent ? ui.session : null, null);
}

function go(moment) {
  ui.moment = moment == null ? null : Math.round(moment); // as exact as events and addresses are
  if (moment == null) ui.playing = false;
  keepRoute(false);
  refresh(true);
}

function move(direction) {
  const ids = seen.listed.map(({ row }) => row.session_id);
  const at = ids.indexOf(ui.session);
  const id = ids[at < 0 ? (direction > 0 ? 0 : ids.length - 1) : Math.min(ids.length - 1, Math.max(0, at + direction))];
  if (id) choose(id, null);
  $("session-list").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
}

function setView(kind) {
  ui.view = kind;
  openTab("graph");
  keepRoute(false);
  refresh(true);
  if (kind === "table") requestAnimationFrame(() => $("table").querySelector('[tabindex="0"]')?.focus());
}

/** On a phone, one part of the page is shown at a time. */
function openTab(tab) {
  document.body.dataset.tab = tab;
  for (const button of document.querySelectorAll(".tabs button"))
    button.toggleAttribute("aria-current", button.dataset.tab === tab);
  document.querySelector(`.tabs [data-tab="${tab}"]`).setAttribute("aria-current", "true");
}

function fold(side) {
  document.body.toggleAttribute(`data-fold-${side}`);
}

/** Let the address bar say what is shown; only another session is a step that Back undoes. */
function keepRoute(isStep) {
  const address = () => `${location.pathname}${location.search}${formatRoute(ui) ? `#${formatRoute(ui)}` : ""}`;
  clearTimeout(routeTimer);
  if (isStep) history.pushState(null, "", address());
  else routeTimer = setTimeout(() => history.replaceState(null, "", address()), 200);
}

// -- what is shown -------------------------------------------------------------------------------------------

function render() {
  const wall = Date.now();
  const now = view.now;
  seen = view.shown();
  const { all, listed, drawn } = seen;
  known.drawn = all.size > 0;
  const session = all.get(ui.session) ?? null;
  if (session) archive.want(ui.session);
  topBar.show({
    ...link,
    behindMs: connection.behindMs,
    moment: ui.moment,
    totals: totalsOf(all.values(), now),
    rate: tokenRate(store, wall),
  });
  banner.show(link, wall);
  list.show(listed, ui.session, now);
  panel.show({
    session,
    wanted: ui.session,
    agent: ui.agent,
    sessions: listed,
    recording: archive.get(ui.session),
    reading: archive.isReading(ui.session),
    moment: ui.moment,
    now,
  });
  showStage(listed, drawn, now);
  showTimeLine();
  document.body.toggleAttribute("data-open", Boolean(session));
  document.body.dataset.view = ui.view;
  document.title = session ? `${cut(session.row.task, 40)} · hive` : "hive";
}

function showStage(listed, drawn, now) {
  const table = ui.view === "table";
  const button = $("view-button");
  button.setAttribute("aria-pressed", String(table));
  $("table").hidden = !table;
  for (const id of ["graph", "legend", "graph-tools"]) $(id).hidden = table;
  stage.choose(ui.session, ui.agent);
  if (table) showTable(listed, now);
  else stage.show(drawn);
  empty.show(whyEmpty(table ? listed : drawn));
}

/** The table is large: without anybody asking it changes no more often than people can read. */
function showTable(listed, now) {
  const asked = JSON.stringify([ui.session, ui.agent, ui.search, ui.filter, ui.moment]);
  const due = tableDrawn.at + TABLE_MS - performance.now();
  if (asked === tableDrawn.of && due > 0) {
    tableDrawn.timer ??= setTimeout(refresh, due);
    return;
  }
  clearTimeout(tableDrawn.timer);
  Object.assign(tableDrawn, { at: performance.now(), of: asked, timer: null });
  wholeTable.show(listed, ui, now);
}

function whyEmpty(shown) {
  if (shown.length) return null;
  if (!known.live) return "connecting";
  if (!store.sessions.size) return known.rows ? "nothing" : "connecting";
  if (ui.moment == null) return ui.search || ui.filter !== "all" ? "unmatched" : "idle";
  return [...store.sessions.keys()].some((id) => archive.isReading(id)) ? "reading" : "nobody";
}

function showTimeLine() {
  const running = view.runs();
  const playing = ui.playing || (ui.moment == null && running);
  timeLine.show({ span: view.span(), moment: ui.moment, marks: view.marks(), playing, running });
}

function hover(node, x, y) {
  showHover($("hover"), node && seen.all.get(node.session), node?.agent, x, y, view.now);
}

function sayFallback(problem) {
  console.info("drawn without WebGL:", problem.message);
  if (sessionStorage.getItem("hive-fallback")) return;
  sessionStorage.setItem("hive-fallback", "said");
  banner.say("This browser cannot draw on the GPU, so the graph is drawn plainly. All of it is there.");
}

// -- begin ---------------------------------------------------------------------------------------------------

const actions = {
  next: () => move(1),
  previous: () => move(-1),
  back,
  play: () => playback.toggle(),
  live: () => go(null),
  help: () => showHelp($("help")),
  fit: () => stage.fit(),
  open: () => {
    if (!ui.session) return;
    stage.flyTo(ui.session);
    $("panel").querySelector("button")?.focus();
  },
  search: () => $("search").select(),
  stepBack: () => playback.step(-1),
  stepOn: () => playback.step(1),
  table: () => setView("table"),
  graph: () => setView("graph"),
  "toggle-view": () => setView(ui.view === "table" ? "graph" : "table"),
  theme: nextTheme,
  "fold-left": () => fold("left"),
  "fold-right": () => fold("right"),
  "zoom-in": () => stage.zoomBy(1.5),
  "zoom-out": () => stage.zoomBy(1 / 1.5),
};
listenToKeys(actions);
document.addEventListener("click", (event) => {
  const name = event.target.closest("[data-do]")?.dataset.do;
  if (name) actions[name]();
});
for (const button of document.querySelectorAll(".tabs button")) button.onclick = () => openTab(button.dataset.tab);
$("search").oninput = (event) => {
  ui.search = event.target.value;
  refresh(true);
};
$("filter").onchange = (event) => {
  ui.filter = event.target.value;
  refresh(true);
};
addEventListener("popstate", () => {
  Object.assign(ui, parseRoute(location.hash));
  readDetail(ui.session);
  refresh(true);
});
addEventListener("online", () => connection.hurry());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  connection.hurry();
  refresh(true);
});
setInterval(() => {
  if (
    !document.hidden &&
    (link.state === "waiting" || [...store.sessions.values()].some(({ row }) => isLive(row.status)))
  )
    refresh();
}, 1000);

openTab(ui.session ? "details" : "graph");
connection.open();
refresh(true);
stage.start(new URLSearchParams(location.search).get("renderer"));
