// What the panel says while no session is open: who works now, and what the marks mean.

import { activity, isLive, sessionMark, sessionState } from "./words.js";
import { agentName } from "./agents.js";
import { h, keepChildren, setText, svg } from "./dom.js";
import { markIcon, setMark } from "./marks.js";
import { clock, cut } from "./format.js";

const MOST = 12; // sessions of a kind
const SIGNS = [
  ["running", "working"],
  ["waiting", "waiting for others, or not begun"],
  ["starting", "starting"],
  ["done", "done"],
  ["failed", "failed"],
];

/** Fill `host`, or bring it up to date: what runs at `moment` (null: now) and what has failed. */
export function overview(host, { sessions, moment }, onChoose) {
  if (!host.firstChild) host.append(h("div", { class: "overview" }, part(), part(), legend()));
  const [running, failed] = host.firstChild.children;
  const live = sessions.filter(({ row }) => isLive(row.status));
  fill(running, moment == null ? "Now" : `At ${clock(moment)}`, live, onChoose);
  setText(running.lastChild, moment == null ? "Nothing runs." : "Nothing ran.");
  running.lastChild.hidden = live.length > 0;
  const ended = sessions.filter(({ row }) => row.status === "failed");
  fill(failed, "Failed", ended, onChoose);
  failed.hidden = !ended.length;
}

function part() {
  return h("section", {}, h("h3"), h("ul", { class: "now" }), h("p", { class: "quiet" }));
}

function fill(section, heading, sessions, onChoose) {
  const [title, list] = section.children;
  setText(title, heading);
  keepChildren(list, sessions.slice(0, MOST), {
    keyOf: ({ row }) => row.session_id,
    make: ({ row }) =>
      h(
        "li",
        {},
        h(
          "button",
          { type: "button", onclick: () => onChoose(row.session_id) },
          markIcon("unknown"),
          h("span", { class: "cut" }),
          h("span", { class: "doing cut" }),
        ),
      ),
    update: (item, session) => {
      const [icon, task, doing] = item.firstChild.children;
      setMark(icon, sessionMark(session.row.status));
      setText(task, cut(session.row.task, 60));
      setText(doing, headline(session));
    },
  });
}

/** Who does what: the newest working agent, else how the session stands. */
function headline({ row, agents }) {
  if (!isLive(row.status)) return sessionState(row);
  const working = [...agents.values()].filter(({ status }) => status === "working");
  const shown = working.findLast(({ role }) => role !== "queen") ?? working[0];
  return shown ? `${agentName(shown)}: ${activity(shown)}` : row.headline || sessionState(row);
}

function legend() {
  const node = (...parts) => svg("svg", { viewBox: "0 0 34 34", width: 30, height: 30 }, ...parts);
  const circle = (r, more = {}) => svg("circle", { cx: 17, cy: 17, r, fill: "var(--running)", ...more });
  const rim = circle(14, { fill: "none", stroke: "var(--running)", "stroke-width": 1.6 });
  const way = (colour, dash) =>
    node(svg("path", { d: "M1 17h32", stroke: colour, "stroke-width": 2, "stroke-dasharray": dash }));
  const entries = [
    [node(circle(10.5), rim), "queen: plans, and sends the others"],
    [node(circle(7.5)), "worker; larger with more tokens"],
    [node(svg("path", { d: "M17 11l6 6-6 6-6-6z", fill: "var(--running)" })), "sub-agent, called by a worker"],
    [way("var(--link)", "none"), "called by"],
    [way("var(--message)", "4 3"), "message"],
    ...SIGNS.map(([mark, words]) => [markIcon(mark), words]),
  ];
  return h(
    "section",
    {},
    h("h3", {}, "Marks"),
    h("dl", { class: "signs" }, ...entries.flatMap(([sign, words]) => [h("dt", {}, sign), h("dd", {}, words)])),
  );
}

/** The statuses of the graph in one line. */
export function shortLegend() {
  return SIGNS.map(([mark, words]) => h("span", {}, markIcon(mark), words.split(/[ ,]/)[0]));
}
