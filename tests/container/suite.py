"""A suite in a container, as its user has it: compose.yaml beside its volumes, or a bare docker run."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from tests.container.engine import CALL_S, Engine, run
from tests.container.image import IMAGE, ROOT

CORE = ("mcp-tcp-server", "mcp-ws-bridge", "claude-flow-tcp", "health")
MANAGER = "/app/scripts/hive-session-manager.sh"
SLEEPER = '[agents.sleeper]\nargv = ["sleep", "600"]\n'
NAME = "multi-agent-container"
READY_S = 120  # by the clock of a busy machine; bench/suite.py measures


class Container:
    """A container that runs, by its name."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self.name = name

    def exec(self, *words: str, user: str = "", cwd: str = "", check: bool = True) -> str:
        """What a program in the container says on stdout. Raises: AssertionError where `check` and it fails."""
        return self.engine.docker("exec", *self._options(user, cwd), self.name, *words, check=check).stdout

    def exit_code(self, *words: str, user: str = "", cwd: str = "") -> int:
        """How a program in the container ends."""
        return self.engine.docker("exec", *self._options(user, cwd), self.name, *words, check=False).returncode

    def _options(self, user: str, cwd: str) -> list[str]:
        return [*(["--user", user] if user else []), *(["--workdir", cwd] if cwd else [])]

    def detached(self, *words: str) -> None:
        """docker exec -d."""
        self.engine.docker("exec", "--detach", self.name, *words)

    def inspect(self, template: str) -> str:
        """One fact about it, in the words of docker inspect."""
        return self.engine.docker("inspect", "--format", template, self.name).stdout.strip()

    def said(self) -> str:
        """All of docker logs."""
        done = self.engine.docker("logs", self.name)
        return done.stdout + done.stderr

    def is_well(self) -> bool:
        """What HEALTHCHECK says now."""
        return self.exit_code("/app/scripts/healthcheck") == 0

    def wait_until_ready(self) -> None:
        """Block until all core programs do their work."""
        wait_until(self.is_well, f"{self.name} does its work", READY_S, self.said)

    def pid_of(self, program: str) -> int:
        """The process of a program under supervisord, as it is called in the container; 0 for none."""
        return int(self.exec("supervisorctl", "pid", program, check=False).strip() or 0)

    def new_session(self, *words: str) -> str:
        """The id of a session made for it."""
        return self.exec("hive-session", "create", *words).strip()

    def status_of(self, session: str) -> str:
        """One word."""
        return self.exec("hive-session", "status", session).strip()

    def record_of(self, session: str) -> dict[str, object]:
        """session.json."""
        record: dict[str, object] = json.loads(self.exec("hive-session", "get", session))
        return record


class Composed(Container):
    """compose.yaml in a directory of its own, up for as long as the block lasts."""

    def __init__(self, engine: Engine, directory: Path, **env: str) -> None:
        super().__init__(engine, NAME)
        self.directory = directory
        self._env = {"HIVE_IMAGE": IMAGE, **env}
        shutil.copy(ROOT / "compose.yaml", directory)

    def compose(self, *words: str) -> str:
        """docker compose, as Debian has it."""
        return run(
            ["docker-compose", *words], self.environment, check=True, timeout_s=CALL_S, cwd=self.directory
        ).stdout

    @property
    def environment(self) -> dict[str, str]:
        """Of a shell in which docker and docker-compose work with this very container."""
        return {**self.engine.env, **self._env}

    def __enter__(self) -> Composed:
        self.compose("up", "--detach", "--no-build")
        self.wait_until_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.compose("down", "--volumes", "--timeout", "5")


class Bare(Container):
    """docker run, with nothing but `options`."""

    def __init__(self, engine: Engine, name: str, *options: str) -> None:
        super().__init__(engine, name)
        self._options_of_run = options

    def __enter__(self) -> Bare:
        self.engine.docker("run", "--detach", "--name", self.name, *self._options_of_run, IMAGE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.docker("rm", "--force", "--volumes", self.name)


def wait_until(
    is_so: Callable[[], bool], what: str, timeout_s: float = 60, told: Callable[[], str] = lambda: ""
) -> None:
    """Block until `is_so`. Raises: AssertionError that says what never came to be."""
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {what}\n{told()[-3000:]}"
        time.sleep(0.05)
