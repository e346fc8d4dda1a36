"""One change to one record, as a process: what the lean runner calls, and becomes at its end with run.lock still held."""

import errno
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from hive_session.conclude import conclude
from hive_session.errors import HiveError, from_os_error
from hive_session.ondisk.home import acting_home
from hive_session.ondisk.layout import resolve_layout
from hive_session.ondisk.records import ResourceUsage, SessionRecord
from hive_session.ondisk.verdict import Exit
from hive_session.store import Store

TRIES = 600  # one a second: a disk that is full or read-only for a few minutes costs no exit code
PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def main() -> int:
    """argv: SESSION_ID running pid=N | SESSION_ID end KEY=VALUE…, as runner.Run writes them."""
    session_id, verb, *words = sys.argv[1:]
    values = dict(word.split("=", 1) for word in words)
    store = Store(resolve_layout(os.environ, acting_home(os.environ), os.path.isdir), time.time)
    try:
        if verb == "running":
            _patiently(lambda: store.change(session_id, lambda record: _running(record, int(values["pid"]))))
        else:
            _patiently(lambda: store.tell(store.change(session_id, lambda record: _ended(store, record, values))))
    except HiveError as exc:
        sys.stderr.write(f"hive-session: {session_id}: {exc.what}\n")  # into the session's log
        return exc.exit_code
    return 0


def _patiently(change: Callable[[], object]) -> None:
    """Carry out `change`, again and again while the disk is full or read-only. Raises: HiveError."""
    for _ in range(TRIES):
        try:
            change()
            return
        except OSError as exc:
            if exc.errno not in PASSING:
                raise from_os_error(exc, "writing the record:") from None
        time.sleep(1)


def _running(record: SessionRecord, pid: int) -> SessionRecord:
    """A record that has moved on meanwhile (the agent ended at once, or was stopped) stays as it is.

    One that runs already has a new runner: the witness, in place of one that was killed.
    """
    return replace(record, status="running", pid=pid) if record.status in ("starting", "running") else record


def _ended(store: Store, record: SessionRecord, values: dict[str, str]) -> SessionRecord:
    if record.terminal:
        return record
    agent = None
    if "exit_code" in values:
        number = values.get("signal")
        agent = Exit(exit_code=int(values["exit_code"]), signal=int(number) if number else None)
    used = ("cpu_user_ms", "cpu_system_ms", "max_rss_bytes", "read_bytes", "write_bytes")
    return conclude(
        store.paths(record.session_id),
        record,
        now=store.now(),
        requested=values.get("requested") or None,
        agent=agent,
        spawn_error=values.get("spawn_error") or None,
        rusage=ResourceUsage(**{name: int(values[name]) for name in used}),
    )


if __name__ == "__main__":
    sys.exit(main())
