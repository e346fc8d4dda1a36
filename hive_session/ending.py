"""Waiting for the end of a run, alone or beside other things, without ever polling for it."""

import os
import threading
from collections.abc import Iterator

from hive_session.ondisk.follow import Changes, Lines
from hive_session.ondisk.layout import SessionPaths
from hive_session.ondisk.liveness import wait_for_end
from hive_session.ondisk.log import read_log
from hive_session.ondisk.records import SessionRecord
from hive_session.store import Store

CHUNK_BYTES = 1 << 20


class Ending:
    """Becomes readable (`fd`) when the run of a session is over: a thread blocks on the kernel's lock meanwhile."""

    def __init__(self, paths: SessionPaths) -> None:
        self.fd, self._told = os.pipe()
        threading.Thread(target=self._wait, args=(paths.run_lock,), daemon=True).start()

    def _wait(self, run_lock: str) -> None:
        wait_for_end(run_lock)
        os.close(self._told)


def wait_until_ended(store: Store, session_id: str) -> SessionRecord:
    """Block until the session has ended, one that has not started yet included; gives its last record."""
    paths = store.paths(session_id)
    wait_for_end(paths.run_lock)
    record = store.settled(session_id)
    if record.terminal:
        return record
    changes = Changes([paths.dir])
    try:
        while not record.terminal:
            changes.wait()
            wait_for_end(paths.run_lock)
            record = store.settled(session_id)
    finally:
        changes.close()
    return record


def follow_log(paths: SessionPaths, offset: int) -> Iterator[bytes]:
    """The log from log offset `offset` on, as it grows, until the run is over and all of it was given."""
    ending, changes = Ending(paths), Changes([paths.log])
    ended = False
    try:
        while True:
            data, offset = read_log(paths, offset, CHUNK_BYTES)
            if data:
                yield data
            elif ended:
                return
            else:
                ended = bool(changes.wait([ending.fd]))
    finally:
        changes.close()


def follow_telemetry(paths: SessionPaths, offset: int, *, timeout_s: float | None = None) -> Iterator[list[bytes]]:
    """Batches of telemetry lines from byte `offset` on, as they come, until the run is over and all were given.

    With `timeout_s` an empty batch comes at least that often, so that a clock can be drawn.
    """
    lines = Lines(paths.telemetry, offset)
    ending, changes = Ending(paths), Changes([paths.telemetry])
    ended = False
    try:
        while True:
            batch = lines.read()
            if batch or (timeout_s is not None and not ended):
                yield batch
            if not batch:
                if ended:
                    return
                ended = bool(changes.wait([ending.fd], timeout_s or 1.0))
    finally:
        changes.close()
