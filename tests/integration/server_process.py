"""A server of ours as a process over a test's workspace."""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tests.integration.hive import DEADLINE_S, Hive, until

_numbers = itertools.count()


class ServerProcess:
    """One server for the workspace of `hive`; `words` are further flags. It ends with the `with` block."""

    PROGRAM: ClassVar[str]
    MODULE: ClassVar[str]
    WORDS: ClassVar[tuple[str, ...]] = ()  # flags of every start

    def __init__(self, hive: Hive, *words: str, env: Mapping[str, str] | None = None) -> None:
        self.hive = hive
        self.words = words
        self.env = {**hive.env, **(env or {})}
        self.port = 0  # a free one at the first start, the same one ever after
        # Its own: a workspace may have two servers.
        self.log_path = Path(hive.root, f"{self.PROGRAM}-{next(_numbers)}.log")
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process:
            self.kill()

    @property
    def log(self) -> str:
        """What the server last started has said on stderr."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start it and return once it listens. Raises: AssertionError with its log."""
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.MODULE, "--port", str(self.port), *self.WORDS, *self.words],
                env=self.env,
                cwd=self.hive.root,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        try:
            until(self._listens_or_ended, "the line that says where it listens")
            assert self.port, "it ended"
        except AssertionError as exc:
            self.kill()
            raise AssertionError(f"{self.PROGRAM} did not start: {exc}; its log:\n{self.log}") from None

    def _listens_or_ended(self) -> bool:
        assert self.process
        ended = self.process.poll() is not None
        if found := re.search(rf"^{self.PROGRAM}: listening on 127\.0\.0\.1:(\d+)$", self.log, re.MULTILINE):
            self.port = int(found[1])
            return True
        return ended

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL, and the exit code."""
        return self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        assert self.process
        process, self.process = self.process, None
        process.send_signal(number)
        return process.wait(DEADLINE_S)
