"""The progress of a session for people: one line that is redrawn on a terminal, plain lines elsewhere."""

import sys
from dataclasses import dataclass
from typing import TextIO

from hive_session.ending import follow_telemetry, wait_until_ended
from hive_session.ondisk.events import BadEvent, decode_event
from hive_session.ondisk.fold import Hive
from hive_session.ondisk.records import SessionRecord, parse_time
from hive_session.ondisk.verdict import describe_end
from hive_session.store import Store
from hive_session.words import count, one_line, progress_line

PLAIN_EVERY_S = 5.0  # a line at most this often where lines scroll
TERMINAL_EVERY_S = 0.25
SHOWN_AGENTS = 8


def follow_progress(store: Store, record: SessionRecord, *, quiet: bool = False) -> SessionRecord:
    """Show a session on stderr until it has ended, then its end on stdout; gives its last record."""
    if not quiet:
        hive = Hive()
        display = _Live(store, record) if sys.stderr.isatty() else _Plain(store, record, sys.stderr)
        with display:
            period = TERMINAL_EVERY_S if sys.stderr.isatty() else PLAIN_EVERY_S
            for lines in follow_telemetry(store.paths(record.session_id), 0, timeout_s=period):
                apply_lines(hive, lines)
                display.show(hive)
    ended = wait_until_ended(store, record.session_id)
    if not quiet:
        print(end_lines(ended))
        sys.stdout.flush()
    return ended


def apply_lines(hive: Hive, lines: list[bytes]) -> None:
    """Fold telemetry lines into `hive`; what is not an event is passed over."""
    for line in lines:
        try:
            hive.apply(decode_event(line))
        except BadEvent:
            continue


def end_lines(record: SessionRecord) -> str:
    """How it ended and where its output is."""
    usage = record.usage
    line = progress_line(
        record.session_id,
        describe_end(record),
        seconds=elapsed_s(record, None),
        agents=usage.agents if usage else 0,
        tokens=usage.tokens if usage else 0,
        cost_usd=usage.cost_usd if usage else None,
        headline="" if record.exit_code is None else f"exit {record.exit_code}",
    )
    detail = f"why     {record.detail}\n" if record.detail else ""
    return f"{line}\n{detail}output  {record.output_dir}"


def elapsed_s(record: SessionRecord, now: float | None) -> float:
    """Seconds from the start of the last attempt to its end, or to `now` while it runs."""
    started = parse_time(record.started or "")
    ended = parse_time(record.ended or "") or now
    return max(0.0, ended - started) if started is not None and ended is not None else 0.0


@dataclass
class _Plain:
    """A line whenever something changed, but not too often."""

    store: Store
    record: SessionRecord
    out: TextIO
    last_at: float = 0.0
    last_said: tuple[object, ...] = ()

    def __enter__(self) -> "_Plain":
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def show(self, hive: Hive) -> None:
        now = self.store.now()
        said = (hive.status, len(hive.agents), hive.headline)
        due = now - self.last_at >= PLAIN_EVERY_S or said[0] != (self.last_said or (None,))[0]
        if due and said != self.last_said and hive.status in ("starting", "running"):
            self.last_at, self.last_said = now, said
            print(_line(self.record, hive, now), file=self.out, flush=True)


class _Live:
    """A few lines redrawn in place: the session, then the agents at work."""

    def __init__(self, store: Store, record: SessionRecord) -> None:
        from rich.console import Console
        from rich.live import Live

        self.store = store
        self.record = record
        self.console = Console(stderr=True, highlight=False)
        self.live = Live(console=self.console, auto_refresh=False, transient=True)

    def __enter__(self) -> "_Live":
        self.live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.live.stop()

    def show(self, hive: Hive) -> None:
        from rich.text import Text

        width = self.console.width
        lines = [Text(one_line(_line(self.record, hive, self.store.now()), width), style="bold")]
        for agent_id in list(hive.active)[-SHOWN_AGENTS:]:
            agent = hive.agents[agent_id]
            doing = agent.tool or agent.status
            text = f"{agent.kind or agent.role:<18.18} {doing:<12.12} {count(agent.tokens):>7} tok  {agent.task}"
            lines.append(Text(f"  {one_line(text, width - 2)}", style="dim"))
        self.live.update(Text("\n").join(lines), refresh=True)


def _line(record: SessionRecord, hive: Hive, now: float) -> str:
    return progress_line(
        record.session_id,
        hive.status,
        seconds=now - (parse_time(record.started or "") or now),
        agents=len(hive.agents),
        tokens=hive.tokens,
        cost_usd=hive.cost_usd,
        headline=hive.headline,
    )
