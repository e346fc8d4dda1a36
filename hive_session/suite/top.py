"""What `top` shows: the programs of the suite, the sessions, how fast they go and the room there is, as lines of text; pure.

A height of None is that of paper: everything is shown. Otherwise what does not fit is counted, and told in one line.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hive_session import words
from hive_session.ondisk.records import parse_time
from hive_session.table import DIM, Line, Span, cut, lay_out
from hive_session.words import count, duration, one_line

WINDOW_MS = 60_000  # in which the pace is counted
LEAST_MS = 5_000  # of it: what began a moment ago has no pace yet

PROGRAM_TITLES = ("PROGRAM", "STATE", "PID", "UP", "RSS", "CPU", "RESTARTS", "HEALTH")
PROGRAM_SPARE = ("PID", "RESTARTS", "CPU", "UP", "RSS")
SESSION_TITLES = ("ID", "STATUS", "AGE", "AGENTS", "TOKENS", "TOK/MIN", "TASK")
SESSION_SPARE = ("AGENTS", "TOKENS", "AGE", "TOK/MIN")
RIGHT = {"PID", "UP", "RSS", "CPU", "RESTARTS", "AGE", "AGENTS", "TOKENS", "TOK/MIN"}
ORDER = ("running", "starting", "waiting", "done", "failed")
LEAST_SESSIONS = 3  # lines of their table, at least
NAME_COLUMNS, STATE_COLUMNS, DETAIL_COLUMNS = 24, 24, 200
BLANK: Line = ()

# supervisord's words -> mark, ours, colour.
STATES = {
    "RUNNING": ("●", "running", "blue"),
    "STARTING": ("◐", "starting", "yellow"),
    "BACKOFF": ("◐", "retrying", "yellow"),
    "STOPPING": ("◐", "stopping", "yellow"),
    "STOPPED": ("○", "stopped", "bright_black"),
    "EXITED": ("○", "ended", "bright_black"),
    "FATAL": ("✗", "FATAL", "red"),
}
# As hive_session.suite.probes has them, whose sockets are not for a pure file.
HEALTH_COLORS = {"ok": "green", "full": "yellow", "loading": "yellow", "unknown": "yellow", "silent": "red"}

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramRow:
    """One program; None is what is not known. The figures are those of it and all it started."""

    name: str
    state: str  # in supervisord's words
    pid: int = 0
    up_s: int = 0
    rss_bytes: int | None = None
    cpu_percent: float | None = None  # of one core
    restarts: int | None = None
    health: str | None = None  # None: it is not asked
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is left, and what the logs take, in bytes."""

    free: int
    total: int
    logs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """All that one picture tells."""

    heading: str  # where supervisord is, or why it is not
    trouble: bool  # the heading is bad news
    programs: Sequence[ProgramRow]
    counts: Mapping[str, int]  # sessions by the head of their state
    live: Sequence[tuple[Object, float]]  # those at work (figures.session_row), and their tokens a minute
    events_per_s: float
    tokens_per_min: float
    room: Room | None
    now_ms: int


# -- pace --------------------------------------------------------------------------------------------------------------


class Pace:
    """How fast one session goes, from its telemetry. `whole`: what is taken in begins with its first event."""

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self._tokens: dict[str, int] = {}  # of each agent, so far
        self._told: deque[tuple[int, int]] = deque()  # time and new tokens of each event of the window

    def take(self, event: Object) -> None:
        """Take in one event, in the order of the file."""
        agent, tokens, new = event.get("agent"), event.get("tokens"), 0
        if event["type"] == "session" and event["status"] == "starting":  # another attempt counts from nothing
            self._tokens.clear()
            self._whole = True
        elif event["type"] in ("usage", "agent_ended") and isinstance(agent, str) and isinstance(tokens, int):
            before = self._tokens.get(agent, 0 if self._whole else tokens)
            new = max(0, tokens - before)
            self._tokens[agent] = max(tokens, before)
        elif event["type"] == "agent_spawned" and isinstance(agent, str):
            self._tokens.setdefault(agent, 0)
        self._told.append((event["ts"], new))
        self._forget(event["ts"])

    def rates(self, now_ms: int, began_ms: int | None) -> tuple[float, float]:
        """Events a second and tokens a minute of a session that began then, within the last minute."""
        self._forget(now_ms)
        span_ms = max(LEAST_MS, min(WINDOW_MS, now_ms - (began_ms or 0)))
        return len(self._told) * 1000 / span_ms, sum(new for _, new in self._told) * 60_000 / span_ms

    def _forget(self, now_ms: int) -> None:
        while self._told and self._told[0][0] <= now_ms - WINDOW_MS:
            self._told.popleft()


# -- the picture -------------------------------------------------------------------------------------------------------


def top_picture(moment: Moment, width: int, height: int | None) -> list[Line]:
    """The suite at one moment, every line at most `width` columns."""
    head = [_heading(moment), BLANK]
    if moment.programs:
        cells = [_program_cells(each) for each in moment.programs]
        head += [*lay_out(PROGRAM_TITLES, cells, width, right=RIGHT, spare=PROGRAM_SPARE), BLANK]
    head += _summary(moment)
    if moment.live:
        room = len(moment.live) if height is None else max(LEAST_SESSIONS - 1, height - len(head) - 2)
        head += [BLANK, *_session_lines(moment, room, width)]
    return [cut(line, width) for line in head]


def _heading(moment: Moment) -> Line:
    return ("hive suite", ""), ("   ", ""), (one_line(moment.heading, DETAIL_COLUMNS), "red" if moment.trouble else DIM)


def _program_cells(row: ProgramRow) -> tuple[Span, ...]:
    mark, word, color = STATES.get(row.state, ("-", row.state.lower(), ""))
    return (
        (one_line(row.name, NAME_COLUMNS), ""),
        (f"{mark} {one_line(word, STATE_COLUMNS)}", color),
        (str(row.pid) if row.pid else "-", DIM),
        (duration(row.up_s) if row.pid else "-", ""),
        ("-" if row.rss_bytes is None else size(row.rss_bytes), ""),
        ("-" if row.cpu_percent is None else f"{row.cpu_percent:.1f} %", ""),
        ("-" if row.restarts is None else str(row.restarts), "yellow" if row.restarts else ""),
        _health(row),
    )


def _health(row: ProgramRow) -> Span:
    if row.state == "FATAL":
        return one_line(row.detail, DETAIL_COLUMNS) or "-", "red"
    if row.health is None:
        return "-", DIM
    detail = f": {row.detail}" if row.detail and row.health != "ok" else ""
    return one_line(f"{row.health}{detail}", DETAIL_COLUMNS), HEALTH_COLORS.get(row.health, "")


def _summary(moment: Moment) -> list[Line]:
    sessions: list[Span] = [("sessions", DIM)]
    for word in (*ORDER, *sorted(set(moment.counts).difference(ORDER))):
        if moment.counts.get(word):
            sessions += [("   ", ""), (f"{moment.counts[word]} {one_line(word, STATE_COLUMNS)}", words.color(word))]
    if len(sessions) == 1:
        sessions.append(("   none yet", ""))
    pace = f"   {moment.events_per_s:.1f} events/s   {count(moment.tokens_per_min)} tok/min"
    lines: list[Line] = [tuple(sessions), (("pace    ", DIM), (pace, ""))]
    if moment.room:
        lines.append((("disk    ", DIM), ("   ", ""), _free(moment.room), (f"   logs {size(moment.room.logs)}", "")))
    return lines


def _free(room: Room) -> Span:
    share = room.free / room.total if room.total else 0.0
    color = "red" if share < 0.02 else "yellow" if share < 0.1 else ""
    return f"{size(room.free)} free of {size(room.total)} ({100 * share:.0f} %)", color


def _session_lines(moment: Moment, room: int, width: int) -> list[Line]:
    many = len(moment.live)
    shown = moment.live if many <= room else moment.live[: max(1, room - 1)]
    cells = [_session_cells(row, pace, moment.now_ms) for row, pace in shown]
    lines = lay_out(SESSION_TITLES, cells, width, right=RIGHT, spare=SESSION_SPARE)
    return [*lines, *([((f"and {many - len(shown)} more", DIM),)] if many > len(shown) else [])]


def _session_cells(row: Object, tokens_per_min: float, now_ms: int) -> tuple[Span, ...]:
    began = parse_time(row["started"] or row["created"] or "")
    return (
        (row["session_id"][:8], ""),
        (f"{words.mark(row['state'])} {one_line(row['state'], STATE_COLUMNS)}", words.color(row["state"])),
        ("-" if began is None else duration(now_ms / 1000 - began), ""),
        ("-" if row["agents"] is None else str(row["agents"]), ""),
        ("-" if row["tokens"] is None else count(row["tokens"]), ""),
        (count(tokens_per_min), ""),
        (row["task"], ""),
    )


def size(number: int) -> str:
    """`512 B`, `31 MiB`, `1.2 GiB`."""
    value, unit = float(number), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1000 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.1f} {unit}" if value < 10 and unit not in ("B", "KiB", "MiB") else f"{value:.0f} {unit}"
