"""One inotify instance over many directories and files: each watch with the function that is told of its changes."""

import errno
from collections.abc import Callable

from hive_session.ondisk.inotify import (
    CLOSE_WRITE,
    CREATE,
    DELETE,
    IGNORED,
    MODIFY,
    MOVED_FROM,
    MOVED_TO,
    ONLYDIR,
    Q_OVERFLOW,
    Inotify,
)

IN_DIRECTORY = CREATE | MOVED_TO | MOVED_FROM | DELETE | CLOSE_WRITE | ONLYDIR
IN_FILE = MODIFY

Told = Callable[[str], None]  # called with the name of what changed in a directory; "" for a watched file


class Watch:
    """Tells at once what changes. `exhausted` is True once the kernel refused a watch: the sweep has to see it then."""

    def __init__(self) -> None:
        self._inotify = Inotify()
        self._told: dict[int, Told] = {}
        self.fileno = self._inotify.fileno
        self.pending = self._inotify.pending
        self.close = self._inotify.close
        self.exhausted = False

    def directory(self, path: str, told: Told) -> int | None:
        """Watch what comes, goes and is closed after writing in `path`. A number for `forget`; None: no watch."""
        return self._add(path, IN_DIRECTORY, told)

    def file(self, path: str, told: Told) -> int | None:
        """Watch what is written to `path`."""
        return self._add(path, IN_FILE, told)

    def _add(self, path: str, mask: int, told: Told) -> int | None:
        try:
            number = self._inotify.add_watch(path, mask)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.ENOMEM):
                self.exhausted = True
            return None  # gone, or not ours to read: the sweep says what is to be said
        self._told[number] = told
        return number

    def holds(self, number: int | None) -> bool:
        """True while that watch is in place."""
        return number in self._told

    def forget(self, number: int | None) -> None:
        """End a watch; one that ended by itself is none any more."""
        if number is not None and self._told.pop(number, None) is not None:
            try:
                self._inotify.rm_watch(number)
            except OSError:
                return  # what it watched is gone, and it with it

    def drain(self) -> bool:
        """Tell everybody what changed since the last call. False: the kernel lost count, so anything may have changed."""
        complete = True
        while events := self._inotify.read():
            changed: dict[tuple[int, str], Told] = {}  # the same thing twice is told once
            for number, mask, name in events:
                if mask & Q_OVERFLOW:
                    complete = False
                elif mask & IGNORED:
                    # At once, so that what takes its place can be watched; what came before it is told all the same.
                    self._told.pop(number, None)
                elif tell := self._told.get(number):
                    changed[number, name] = tell
            for (_, name), tell in changed.items():
                tell(name)
        return complete
