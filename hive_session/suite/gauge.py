"""Measures what `top` shows: supervisord's programs with what they use and how the listener found them, and the room on disk."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from hive_session.proctree import descendants, use_of
from hive_session.suite.control import FATAL, SOCKET, Control, NoAnswer, NotThere, Program
from hive_session.suite.top import ProgramRow, Room
from hive_session.suite.watch import STATE_FILE, last_line
from hive_session.words import duration

SILENT_S = 20.0  # a listener that looks every five seconds has something to say by then
LOGS_S = 10.0  # between two walks through the logs
SUPERVISORD = "supervisord"


class Gauge:
    """The suite whose run directory is `run_dir`, measured again and again; CPU is that between two calls."""

    def __init__(self, run_dir: str, workspace: str, log_dirs: Iterable[str]) -> None:
        self._run_dir = run_dir
        self._workspace = workspace
        self._log_dirs = tuple(log_dirs)
        self._control = Control(f"{run_dir}/{SOCKET}")
        self._used: dict[int, tuple[float, int]] = {}  # by pid: when, and CPU time in milliseconds
        self._logs: tuple[float, int] | None = None

    def programs(self) -> tuple[str, bool, list[ProgramRow]]:
        """A line about supervisord, whether it is bad news, and its programs."""
        try:
            pid, found = self._control.pid(), self._control.programs()
        except NotThere:
            return "supervisord does not run; to start it:  hive-suite start", True, []
        except NoAnswer as exc:
            return str(exc), True, []
        health, why = self._health()
        own = ProgramRow(name=SUPERVISORD, state="RUNNING", pid=pid, up_s=_up_s(pid), **self._use(pid, (pid,)))
        rows = [own, *(self._row(each, health.get(each.name, {})) for each in found)]
        living = {row.pid for row in rows}
        self._used = {pid: used for pid, used in self._used.items() if pid in living}
        return why or self._run_dir, bool(why), rows

    def _row(self, program: Program, known: Mapping[str, Any]) -> ProgramRow:
        pids = (program.pid, *descendants(program.pid, lambda _pid: True)) if program.pid else ()
        same = known.get("pid") == program.pid and known.get("state") == program.state
        return ProgramRow(
            name=program.name,
            state=program.state,
            pid=program.pid,
            up_s=program.up_s,
            restarts=known.get("restarts"),
            health=known.get("health") if same else None,
            detail=_why(program) if program.state == FATAL else str(known.get("detail", "")) if same else "",
            **self._use(program.pid, pids),
        )

    def _use(self, pid: int, pids: Iterable[int]) -> dict[str, Any]:
        """What these processes use together."""
        found = [use for each in pids if (use := use_of(each))]
        if not found:
            return {}
        now_s, cpu_ms = time.monotonic(), sum(use.cpu_ms for use in found)
        before = self._used.get(pid)
        self._used[pid] = now_s, cpu_ms
        percent = None
        if before and now_s > before[0]:
            percent = max(0, cpu_ms - before[1]) / 10 / (now_s - before[0])
        return {"rss_bytes": sum(use.rss_bytes for use in found), "cpu_percent": percent}

    def _health(self) -> tuple[dict[str, Any], str]:
        """What the listener knows of each program; else why nobody knows."""
        path = f"{self._run_dir}/{STATE_FILE}"
        try:
            with open(path, "rb") as file:
                age_s = time.time() - os.fstat(file.fileno()).st_mtime
                found = json.loads(file.read(1 << 20))["programs"]
        except (OSError, ValueError, LookupError, TypeError):
            return {}, "nobody asks the servers: the program health does not run"
        if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
            return {}, f"{path} is not what hive-health writes"
        if age_s > SILENT_S:
            return {}, f"the program health has said nothing for {duration(age_s)}"
        return found, ""

    def room(self) -> Room | None:
        """None where the workspace cannot be asked."""
        try:
            found = os.statvfs(self._workspace)
        except OSError:
            return None
        now_s = time.monotonic()
        if self._logs is None or now_s - self._logs[0] >= LOGS_S:
            self._logs = now_s, sum(map(_size, _outermost(self._log_dirs)))
        return Room(free=found.f_bavail * found.f_frsize, total=found.f_blocks * found.f_frsize, logs=self._logs[1])


def _why(program: Program) -> str:
    """What it said last, which says more than that it exited too quickly."""
    return last_line(program.error_log) or program.why


def _up_s(pid: int) -> int:
    """Seconds since a process began; 0 where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return 0
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))


def _outermost(paths: Iterable[str]) -> list[str]:
    """The directories that lie in none of the others."""
    real = sorted({os.path.realpath(path) for path in paths})
    return [path for path in real if not any(path.startswith(f"{other}/") for other in real)]


def _size(path: str) -> int:
    """Bytes that the files below a directory take."""
    total, waiting = 0, [path]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
    return total
