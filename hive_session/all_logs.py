"""All logs of the suite as one stream: finds them, reads each across its rotations, and waits for more."""

import os
import select
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from hive_session.merged_log import Clock, Cutter, Line, Part, merge, next_part
from hive_session.ondisk.inotify import CREATE, MODIFY, MOVED_TO, ONLYDIR, Q_OVERFLOW, Inotify
from hive_session.ondisk.layout import Layout, SessionPaths, is_session_id
from hive_session.ondisk.log import log_end, read_log
from hive_session.ondisk.records import BadRecord, decode_session, parse_time

CHUNK_BYTES = 16 << 10  # held of each log while the past is merged: a thousand sessions are 16 MB
LIVE_BYTES = 256 << 10  # taken of one log in one turn while it is followed
GATHER_S = 0.1  # lines that are written at once are sorted; so long the first of them waits for the others
SWEEP_S = 5.0  # for filesystems where inotify tells nothing
BEGINNING = -(1 << 62)  # before the first byte of any log
ENDING = ".log"
IN_DIRECTORY = MODIFY | CREATE | MOVED_TO | ONLYDIR
PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Warn = Callable[[str], object]


def log_directories(layout: Layout, env: Mapping[str, str]) -> list[str]:
    """Where logs of the suite are: of sessions and the start, of the servers, of supervisord. Each once."""
    servers = env.get("HIVE_MCP_LOG_DIR") or f"{layout.log_dir}/mcp"
    supervisor = env.get("HIVE_SUPERVISOR_LOG_DIR") or f"{layout.log_dir}/supervisor"
    return list(dict.fromkeys(os.path.normpath(path) for path in (layout.log_dir, servers, supervisor)))


class ProgramLog:
    """A log that is rotated by renaming, read from its oldest part on; holds the part it reads open.

    So it loses nothing as long as fewer rotations than there are backups come between two readings.
    """

    def __init__(self, path: str, *, since_ns: int = 0) -> None:
        """Parts that were last written to before `since_ns` are passed over."""
        self._path = path
        self._since_ns = since_ns
        self._fd = -1
        self._at = 0

    def read(self, limit: int) -> bytes:
        """Up to `limit` further bytes; none: nothing more for now. Raises: OSError."""
        while self._fd >= 0 or self._open(max(self._parts(), default=None)):
            moved = self._moved()  # asked first: once it was renamed, what is read now is all of it
            if data := os.pread(self._fd, limit, self._at):
                self._at += len(data)
                return data
            if os.fstat(self._fd).st_size < self._at:
                self._at = 0  # it was emptied in place
            elif not moved or not self._go_on():
                break
        return b""

    def size(self) -> int:
        """Bytes in all parts that would be read."""
        return sum(os.stat(self._name(part.number)).st_size for part in self._parts())

    def _name(self, number: int) -> str:
        return f"{self._path}.{number}" if number else self._path

    def _parts(self) -> list[Part]:
        directory, base = os.path.split(self._path)
        found = []
        for name in os.listdir(directory):
            number = name.removeprefix(f"{base}.")
            if name == base or (number != name and number.isdigit()):
                try:
                    info = os.stat(f"{directory}/{name}", follow_symlinks=False)
                except FileNotFoundError:
                    continue
                found.append(Part(0 if name == base else int(number), info.st_ino, info.st_mtime_ns))
        return [part for part in found if part.changed_ns >= self._since_ns]

    def _moved(self) -> bool:
        try:
            return os.stat(self._path, follow_symlinks=False).st_ino != os.fstat(self._fd).st_ino
        except FileNotFoundError:
            return True

    def _go_on(self) -> bool:
        """Open the part that follows; False where there is none yet."""
        ours = os.fstat(self._fd)
        return self._open(next_part(self._parts(), ours.st_ino, ours.st_mtime_ns))

    def _open(self, part: Part | None) -> bool:
        if part is None:
            return False
        try:
            fd = os.open(self._name(part.number), PLAIN)
        except FileNotFoundError:
            return False
        info = os.fstat(fd)
        if info.st_ino != part.inode or not stat.S_ISREG(info.st_mode):  # renamed in between; or nothing to read from
            os.close(fd)
            return False
        self.close()
        self._fd, self._at = fd, 0
        return True

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class SessionLog:
    """A session's log, which `log.base` makes readable across its rotations; no file is held open."""

    def __init__(self, paths: SessionPaths, *, since_ns: int = 0) -> None:
        """One that was last written to before `since_ns` is passed over up to its end."""
        self._paths = paths
        self._offset = log_end(paths) if os.stat(paths.log).st_mtime_ns < since_ns else BEGINNING

    def read(self, limit: int) -> bytes:
        """As of a ProgramLog."""
        if os.path.islink(self._paths.log):
            return b""
        data, self._offset = read_log(self._paths, self._offset, limit)
        return data

    def size(self) -> int:
        """Bytes up to the end, at least."""
        return max(0, log_end(self._paths) - max(self._offset, 0))

    def close(self) -> None:
        """Nothing is held."""


class Tail:
    """One log as lines with their times: first what is there, then what comes."""

    def __init__(self, log: ProgramLog | SessionLog, clock: Clock, written_ms: int) -> None:
        self._log = log
        self._clock = clock
        self._written_ms = written_ms
        self._cutter = Cutter()
        self.close = log.close

    def past(self, now_ms: int, *, whole: bool) -> Iterator[Line]:
        """The lines that are there by now. `whole`: also what stands behind the last line end."""
        left = self._log.size()
        while left > 0 and (data := self._log.read(CHUNK_BYTES)):
            left -= len(data)
            yield from self._stamp(self._cutter.feed(data), now_ms)
        yield from self._stamp(self._cutter.end() if whole else [], now_ms)

    def _stamp(self, texts: list[bytes], now_ms: int) -> list[Line]:
        first_ms = self._clock.last_ms or self._written_ms
        return self._clock.stamp(texts, first_ms=first_ms, now_ms=now_ms)

    def fresh(self, now_ms: int) -> list[Line] | None:
        """Lines that came since, some at a time; None once there is nothing to read."""
        data = self._log.read(LIVE_BYTES)
        return self._clock.stamp(self._cutter.feed(data), first_ms=now_ms, now_ms=now_ms) if data else None


class AllLogs:
    """Every log of the suite. What cannot be read is left out, and `warn` is told once."""

    def __init__(self, layout: Layout, directories: Iterable[str], warn: Warn, *, since_ms: int = 0) -> None:
        self._layout = layout
        self._directories = list(directories)
        self._warn = warn
        self._since_ms = since_ms
        self._tails: dict[str, Tail] = {}
        self._refused: set[str] = set()

    def past(self, *, whole: bool) -> Iterator[Line]:
        """All lines that are there by now, by time."""
        now_ms = time.time_ns() // 1_000_000
        self._find(since_ns=self._since_ms * 1_000_000)
        logs = [self._guarded(path, tail.past(now_ms, whole=whole)) for path, tail in sorted(self._tails.items())]
        return (line for line in merge(logs) if line.ms >= self._since_ms)

    def coming(self) -> Iterator[list[Line]]:
        """Batches of lines as they are written, each by time; never ends."""
        with _Changes(self._directories) as changes:
            paths: set[str] | None = None  # any: much may have come while the past was told
            while True:
                new = self._find()
                batch = self._fresh(self._tails.keys() if paths is None else (paths | new) & self._tails.keys())
                if lines := [line for found in batch.values() for line in found]:
                    yield sorted(lines, key=lambda line: line.ms)
                # Who had much to say is asked again, but in turn with the others.
                changed = changes.wait(0.0 if batch else SWEEP_S)
                paths = None if changed is None else changed | batch.keys()

    def close(self) -> None:
        """Let go of all files."""
        for tail in self._tails.values():
            tail.close()

    def _fresh(self, paths: Iterable[str]) -> dict[str, list[Line]]:
        """What is new in those logs that had something to read."""
        now_ms = time.time_ns() // 1_000_000
        found = {}
        for path in sorted(paths):
            try:
                lines = self._tails[path].fresh(now_ms)
            except OSError as exc:
                self._refuse(path, exc)
                continue
            if lines is not None:
                found[path] = lines
        return found

    def _guarded(self, path: str, lines: Iterator[Line]) -> Iterator[Line]:
        try:
            yield from lines
        except OSError as exc:
            self._refuse(path, exc)

    def _refuse(self, path: str, exc: OSError) -> None:
        if path not in self._refused:
            self._refused.add(path)
            self._warn(f"{path}: {exc.strerror or exc}")

    def _find(self, *, since_ns: int = 0) -> set[str]:
        """Take up the logs that were not there before; gives their paths."""
        before = set(self._tails)
        for directory in self._directories:
            try:
                entries = [entry for entry in os.scandir(directory) if entry.name.endswith(ENDING)]
            except FileNotFoundError:
                continue
            except OSError as exc:
                self._refuse(directory, exc)
                continue
            for entry in entries:
                if entry.path not in self._tails and entry.is_file(follow_symlinks=False):
                    self._add(entry.path, since_ns)
        return self._tails.keys() - before

    def _add(self, path: str, since_ns: int) -> None:
        name = os.path.basename(path).removesuffix(ENDING)
        session_id = name.removeprefix("hive-")
        try:
            written_ms = os.stat(path).st_mtime_ns // 1_000_000
            if is_session_id(session_id) and path == self._layout.session(session_id).log:
                paths = self._layout.session(session_id)
                clock = Clock(session_id[:8], _attempts(paths))
                self._tails[path] = Tail(SessionLog(paths, since_ns=since_ns), clock, written_ms)
            else:
                self._tails[path] = Tail(ProgramLog(path, since_ns=since_ns), Clock(name), written_ms)
        except OSError as exc:
            self._refuse(path, exc)


def _attempts(paths: SessionPaths) -> dict[int, int]:
    """When the first and the last attempt of a session began, as far as its record tells."""
    try:
        with open(paths.record, "rb") as file:
            record = decode_session(file.read(), paths.record)
    except (OSError, BadRecord):
        return {}
    moments = {1: record.created, record.attempt: record.started}
    found = {attempt: parse_time(text) for attempt, text in moments.items() if text}
    return {attempt: int(moment * 1000) for attempt, moment in found.items() if moment is not None}


class _Changes:
    """Waits for what is written in a few directories, and names the logs."""

    def __init__(self, directories: list[str]) -> None:
        self._directories = directories
        self._inotify = Inotify()
        self._watches: dict[int, str] = {}
        self._watch()  # before anything is read: what comes after that is told

    def __enter__(self) -> "_Changes":
        return self

    def __exit__(self, *exc: object) -> None:
        self._inotify.close()

    def _watch(self) -> None:
        for directory in self._directories:
            try:
                self._watches[self._inotify.add_watch(directory, IN_DIRECTORY)] = directory
            except OSError:
                continue  # not there yet, or not ours to read: the sweep comes back to it

    def wait(self, timeout_s: float) -> set[str] | None:
        """The paths of logs that changed; None: any may have. Returns at the first change, and a moment for others."""
        self._watch()  # what is watched already stays so; a directory may have come
        ready, _, _ = select.select([self._inotify], [], [], timeout_s)
        if timeout_s and not ready:
            return None
        time.sleep(GATHER_S if timeout_s else 0.0)
        changed = set()
        while events := self._inotify.read():
            for watch, mask, name in events:
                if mask & Q_OVERFLOW or watch not in self._watches:
                    return None
                base = name.rpartition(".")[0] if name.rpartition(".")[2].isdigit() else name
                changed.add(f"{self._watches[watch]}/{base}")
        return changed
