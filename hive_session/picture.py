"""What `watch` shows: the plain objects of sessions, agents and events as lines of coloured text; pure.

A height of None is that of paper: everything is shown. Otherwise what does not fit is counted, and told in one line.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hive_session import words
from hive_session.ondisk.events import EVENTS as EVENT_TYPES
from hive_session.ondisk.records import parse_time
from hive_session.table import DIM, Line, Span, cut, lay_out
from hive_session.words import count, duration, money, one_line, plural

Object = Mapping[str, Any]

SESSION_TITLES = ("ID", "STATUS", "AGE", "AGENTS", "TOKENS", "COST", "WORK")
SESSION_SPARE = ("COST", "TOKENS", "AGENTS", "AGE")
AGENT_TITLES = ("AGENT", "ROLE", "STATUS", "TOOL", "TOKENS", "COST", "TIME", "TASK")
AGENT_SPARE = ("ROLE", "COST", "TOKENS", "TIME", "TOOL")
EVENT_TITLES = ("AGO", "WHO", "EVENT")
RIGHT = {"AGENTS", "TOKENS", "COST", "TIME", "AGO"}
ORDER = ("running", "starting", "waiting", "done", "failed")
STATE_COLUMNS, NAME_COLUMNS, TOOL_COLUMNS = 24, 18, 14
LIVE, ENDED = ("starting", "running"), ("done", "failed")  # of sessions, of agents
EVENT_LINES = 10  # lines of events that agents leave room for
BLANK: Line = ()


# -- all sessions ------------------------------------------------------------------------------------------------------


def sessions_picture(
    rows: Sequence[Object], counts: Mapping[str, int], *, now_ms: int, width: int, height: int | None
) -> list[Line]:
    """All sessions: `counts` by the head of their state, and the rows (figures.session_row) of the foremost ones."""
    if not counts:
        hint = 'No sessions yet. To start one:  hive-session run "Build the importer"'
        return [cut(((hint, ""),), width)]
    room = len(rows) if height is None else max(1, height - 3)  # beside the heading, a blank line and the titles
    shown = rows[: _fitting(sum(counts.values()), room)]
    lines = lay_out(
        SESSION_TITLES, [_session_cells(row, now_ms) for row in shown], width, right=RIGHT, spare=SESSION_SPARE
    )
    heading = _heading(rows, counts)
    return _within([heading, BLANK, *lines, *_more(sum(counts.values()) - len(shown), "session")], width)


def _heading(rows: Sequence[Object], counts: Mapping[str, int]) -> Line:
    """How many there are of each state, and what those at work have used."""
    spans: list[Span] = [("hive", "")]
    for word in (*ORDER, *sorted(set(counts).difference(ORDER))):
        if counts.get(word):
            spans += [("   ", ""), (f"{counts[word]} {one_line(word, STATE_COLUMNS)}", words.color(word))]
    live = [row for row in rows if row["status"] in LIVE]
    if live:
        agents = sum(row["active_agents"] or 0 for row in live)
        costs = [row["cost_usd"] for row in live if row["cost_usd"] is not None]
        figures = (f"{plural(agents, 'agent')} at work", f"{count(sum(row['tokens'] or 0 for row in live))} tok")
        spans += [("   ", ""), ("   ".join((*figures, money(sum(costs)) if costs else "")).rstrip(), "")]
    return tuple(spans)


def _session_cells(row: Object, now_ms: int) -> tuple[Span, ...]:
    at_work = row["status"] in LIVE
    work = " · ".join(part for part in (row["headline"] if at_work else "", row["task"]) if part)
    return (
        (row["session_id"][:8], ""),
        _state(row["state"]),
        (_age(row["created"], now_ms), ""),
        (_number(row["agents"]), ""),
        (_count(row["tokens"]), ""),
        (money(row["cost_usd"]), ""),
        (work, ""),
    )


def _state(state: str) -> Span:
    return f"{words.mark(state)} {one_line(state, STATE_COLUMNS)}", words.color(state)


def _age(created: str | None, now_ms: int) -> str:
    began = parse_time(created or "")
    return "-" if began is None else words.age(now_ms / 1000 - began, created or "")


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _count(value: int | None) -> str:
    return "-" if value is None else count(value)


# -- one session -------------------------------------------------------------------------------------------------------


def session_picture(
    session: Object,
    agents: Sequence[Object],
    events: Sequence[Object],
    *,
    now_ms: int,
    width: int,
    height: int | None,
) -> list[Line]:
    """One session (figures.session_object), its agents (agent_figures.agent_objects), its events, the newest last."""
    names = agent_names(agents)
    lines = [*_session_head(session), BLANK]
    told = [cells for event in events if (cells := _event_cells(event, names, now_ms))]
    if height is None:
        room, many = len(agents), EVENT_LINES
    else:
        free = max(4, height - len(lines) - 3)  # two titles and a blank line
        room = min(len(agents), max(2, free - min(EVENT_LINES, len(told))))
        many = max(1, free - room)
    lines += _agent_lines(agents, names, room, width)
    if told:
        lines += [BLANK, *lay_out(EVENT_TITLES, told[: -many - 1 : -1], width, right=RIGHT)]
    return _within(lines, width)


def _session_head(session: Object) -> Iterable[Line]:
    took_s = session["uptime_seconds"]
    figures = (
        "" if took_s is None else duration(took_s),
        "" if session["agents"] is None else plural(session["agents"], "agent"),
        "" if session["tokens"] is None else f"{count(session['tokens'])} tok",
        "" if session["cost_usd"] is None else money(session["cost_usd"]),
        session["headline"] if session["status"] in LIVE else "",
    )
    told = "  ".join(one_line(figure, 80) for figure in figures if figure)
    yield (session["session_id"][:8], ""), ("  ", ""), _state(session["state"]), ("  ", ""), (told, "")
    yield ((one_line(session["task"], 1000), ""),)
    if vitals := _vitals(session):
        yield ((vitals, DIM),)
    if session["detail"]:
        yield ((f"why     {one_line(session['detail'], 1000)}", ""),)
    if session["status"] == "failed":
        yield ((f"to run it again in the same directory:  hive-session resume {session['session_id']}", ""),)
    if session["result"] and session["result"]["text"]:
        yield ((f"result  {one_line(session['result']['text'], 1000)}", ""),)


def _vitals(session: Object) -> str:
    running = session["status"] in LIVE
    memory_mb = session["memory_mb"] if running else None
    cpu_percent = session["cpu_percent"] if running else None
    parts = (
        f"attempt {session['attempt']}" if session["attempt"] > 1 else "",
        "" if cpu_percent is None else f"cpu {cpu_percent:.0f} %",
        "" if memory_mb is None else f"memory {memory_mb:.0f} MiB",
        plural(session["messages"], "message") if session["messages"] else "",
        f"{session['api_retries']} retried" if session["api_retries"] else "",
    )
    return "   ".join(part for part in parts if part)


def agent_names(agents: Iterable[Object]) -> dict[str, str]:
    """The id of each agent within its session -> its name for people: "queen", "coder", "coder 2"."""
    names: dict[str, str] = {}
    seen: dict[str, int] = {}
    for agent in agents:
        name = one_line(agent["name"], NAME_COLUMNS - 4)
        seen[name] = seen.get(name, 0) + 1
        names[agent["agent"]] = name if seen[name] == 1 else f"{name} {seen[name]}"
    return names


def _agent_lines(agents: Sequence[Object], names: Mapping[str, str], room: int, width: int) -> list[Line]:
    """The table of agents: those at work as they came, then those that have ended, the last one first."""
    if not agents:
        return [(("no agents yet", DIM),)]
    at_work = [agent for agent in agents if agent["status"] not in ENDED]
    ended = [agent for agent in agents if agent["status"] in ENDED]
    ended.sort(key=lambda agent: agent["ended"] or "", reverse=True)
    shown = (at_work + ended)[: _fitting(len(agents), room)]
    cells = [_agent_cells(agent, names[agent["agent"]]) for agent in shown]
    lines = lay_out(AGENT_TITLES, cells, width, right=RIGHT, spare=AGENT_SPARE)
    return [*lines, *_more(len(agents) - len(shown), "agent")]


def _agent_cells(agent: Object, name: str) -> tuple[Span, ...]:
    return (
        (name, ""),
        (agent["role"], ""),
        _state(agent["status"]),
        (one_line(agent["tool"] or "", TOOL_COLUMNS), ""),
        (count(agent["tokens"]), ""),
        (money(agent["cost_usd"]), ""),
        (duration(agent["duration_ms"] / 1000), ""),
        ((agent["summary"] if agent["status"] in ENDED else None) or agent["task"], ""),
    )


# -- events ------------------------------------------------------------------------------------------------------------


def describe_event(event: Object, names: Mapping[str, str]) -> tuple[str, str]:
    """Who did it and what it was; nothing ("") of what the tables show better, such as figures."""
    kind = event["type"]
    agent = event.get("from") or event.get("agent")
    who = names.get(agent, agent) if isinstance(agent, str) and kind != "session" else "session"
    if kind in EVENT_TYPES and kind not in _EVENTS:
        return who, ""
    return who, _EVENTS.get(kind, _unknown)(event, names)


def _session_told(event: Object, names: Mapping[str, str]) -> str:
    state = {"completed": "done", "created": "waiting"}.get(event["status"], event["status"])
    reason, code = event.get("reason"), event.get("exit_code")
    failure = f": {reason}" if state == "failed" and reason else ""
    return f"{state}{failure}{'' if code is None else f', exit {code}'}"


def _message_told(event: Object, names: Mapping[str, str]) -> str:
    return f"to {names.get(event['to'], event['to'])}: {event['text']}"


def _ended_told(event: Object, names: Mapping[str, str]) -> str:
    return _with(event["status"], event.get("summary"))


def _status_told(event: Object, names: Mapping[str, str]) -> str:
    """The tool it uses, or that it waits. Of an agent's end another event tells more."""
    return event.get("tool") or ("waits" if event["status"] == "waiting" else "")


def _retry_told(event: Object, names: Mapping[str, str]) -> str:
    return f"tries again ({event['attempt']} of {event['max_retries']}): {event['error']}"


def _result_told(event: Object, names: Mapping[str, str]) -> str:
    return f"{'error' if event['is_error'] else 'result'}: {event.get('text') or event['subtype']}"


_EVENTS: dict[str, Callable[[Object, Mapping[str, str]], str]] = {
    "session": _session_told,
    "message": _message_told,
    "agent_spawned": lambda event, names: _with("starts", event["task"]),
    "agent_status": _status_told,
    "agent_ended": _ended_told,
    "claude_started": lambda event, names: _with("Claude Code starts", event.get("model")),
    "api_retry": _retry_told,
    "result": _result_told,
}


def _unknown(event: Object, names: Mapping[str, str]) -> str:
    """An event of somebody else's: its type, and its text where it has one."""
    return _with(event["type"], event.get("text"))


def _with(word: str, text: object) -> str:
    return f"{word}: {text}" if isinstance(text, str) and text else word


def _event_cells(event: Object, names: Mapping[str, str], now_ms: int) -> tuple[Span, ...]:
    """Its line in the table of events; empty for one that is not told."""
    who, what = describe_event(event, names)
    if not what:
        return ()
    return (duration(max(0, now_ms - event["ts"]) / 1000), DIM), (one_line(who, NAME_COLUMNS), ""), (what, "")


# -- room --------------------------------------------------------------------------------------------------------------


def _fitting(many: int, room: int) -> int:
    """How many of so many lines fit, where what is left out takes a line of its own."""
    return many if many <= room else max(1, room - 1)


def _more(many: int, noun: str) -> list[Line]:
    return [((f"and {many} more {noun if many == 1 else f'{noun}s'}", DIM),)] if many > 0 else []


def _within(lines: Iterable[Line], width: int) -> list[Line]:
    return [cut(line, width) for line in lines]
