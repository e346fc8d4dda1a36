"""Programs that outlived their supervisord: found by the mark that it leaves in their environment, and ended."""

from __future__ import annotations

import os
import signal
import time

from hive_session import proctree

LIMIT_S = 5.0  # from SIGTERM to SIGKILL, as stopwaitsecs in supervisord's files
STEP_S = 0.02


def end_orphans(socket_path: str, sid: int) -> list[int]:
    """End what was started by a supervisord that listened at `socket_path`, and give its pids. It must be gone by now.

    `sid` was its POSIX session. Runs are none of it, even those that `reconcile` resumed and that carry the mark: each
    runner has begun a session of its own.
    """
    found = left = find_orphans(socket_path, sid)
    started = {pid: ticks for pid in found if (ticks := proctree.start_ticks(pid)) is not None}
    for number, limit_s in ((signal.SIGTERM, LIMIT_S), (signal.SIGKILL, LIMIT_S)):
        end_s = time.monotonic() + limit_s
        for pid in left:
            _signal_group(pid, number)
        while (left := find_orphans(socket_path, sid)) and time.monotonic() < end_s:
            time.sleep(STEP_S)
    # One that is ending has lost its mark by now, but holds its port for a moment more.
    end_s = time.monotonic() + LIMIT_S
    while any(proctree.lives(pid, ticks) for pid, ticks in started.items()) and time.monotonic() < end_s:
        time.sleep(STEP_S)
    return found


def find_orphans(socket_path: str, sid: int) -> list[int]:
    """The pids, without zombies."""
    mark = f"SUPERVISOR_SERVER_URL=unix://{socket_path}".encode("utf-8", "surrogateescape")
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            words = _read(f"/proc/{name}/environ").split(b"\0")  # empty of a zombie, and of another user's
            if mark in words and _sid(int(name)) == sid:
                found.append(int(name))
    return found


def _sid(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _signal_group(pid: int, number: signal.Signals) -> None:
    """supervisord makes each program the leader of a group of its own."""
    try:
        group = os.getpgid(pid)
        if group != os.getpgrp():
            os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass
