"""The whole suite under a real supervisord over a test's workspace, on free ports."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from hive_session.suite.control import SOCKET, Control, NoAnswer, NotThere, Program
from hive_session.suite.environment import PORTS
from hive_session.suite.ports import read_ports
from hive_session.suite.probes import OK, ask_all, questions, worst
from tests.integration.console import SCRIPT, reachable_script
from tests.integration.hive import DEADLINE_S, SCRIPTS, Hive, is_alive, until

T = TypeVar("T")

CALL_S = 60.0
SERVERS = ("mcp-tcp-server", "mcp-ws-bridge", "claude-flow-tcp")
LASTING = (*SERVERS, "cleanup", "health")
FREE = dict.fromkeys(PORTS, "0")
PLAIN_USER = "nobody"

Done = subprocess.CompletedProcess[str]


class Supervised(Hive):
    """One workspace with its suite; `settings` are variables, `user` who calls (for root alone). It ends with the block."""

    def __init__(self, root: Path, *, user: str | None = None, **settings: str) -> None:
        as_root = {"HIVE_USER": "root"} if os.geteuid() == 0 and user is None else {}
        run_dir = str(root / "run")
        super().__init__(
            root,
            **{"HIVE_RUN_DIR": run_dir, "HIVE_SUITE_CLAUDE_FLOW": "true", **FREE, **as_root, **settings},  # type: ignore[arg-type]  # no setting is called output_root
        )
        self.run_dir = self.env["HIVE_RUN_DIR"]
        self.bin = SCRIPTS
        self._user = pwd.getpwnam(user) if user else None
        if user:
            self.bin = scripts_for(root / "venv", user)
            self.env |= {"HOME": str(root), "USER": user}
            subprocess.run(["chown", "-R", user, root], check=True, timeout=CALL_S)

    def close(self) -> None:
        """End the suite and every process of the workspace."""
        try:
            pid = self.supervisord()
        finally:
            super().close()
        until(lambda: not pid or not is_alive(pid), "the end of supervisord")

    # -- calls ---------------------------------------------------------------------------------------------------------

    def do(self, program: str, *words: str, env: Mapping[str, str] | None = None) -> Done:
        """A console script of ours to its end, as the caller of this suite."""
        who = self._user
        return subprocess.run(
            [f"{self.bin}/{program}", *words],
            env={**self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=CALL_S,
            user=who.pw_uid if who else None,
            group=who.pw_gid if who else None,
            extra_groups=[] if who else None,
        )

    def suite(self, *words: str, env: Mapping[str, str] | None = None) -> Done:
        """`hive-suite WORDS…`"""
        return self.do("hive-suite", *words, env=env)

    def up(self, **env: str) -> Done:
        """Start it detached; every server answers then."""
        done = self.suite("start", "--detach", env=env)
        assert done.returncode == 0, done
        return done

    def ctl(self, *words: str) -> Done:
        """`supervisorctl WORDS…`"""
        return self.suite("ctl", *words)

    @property
    def conf(self) -> str:
        return self.env.get("HIVE_SUPERVISOR_CONF") or str(
            Path(__file__).parents[2] / "etc/supervisor/supervisord.conf"
        )

    # -- what runs -----------------------------------------------------------------------------------------------------

    @property
    def ports(self) -> dict[str, int]:
        return read_ports(self.run_dir)

    @property
    def log(self) -> str:
        """supervisord's."""
        return Path(self.layout.log_dir, "supervisor/supervisord.log").read_text(encoding="utf-8")

    def supervisord(self) -> int:
        """Its pid; 0 when there is none."""
        try:
            return self._asked(Control.pid)
        except NotThere:
            return 0

    def program(self, name: str) -> Program:
        return self._asked(lambda control: control.program(name))

    def programs(self) -> list[Program]:
        return self._asked(Control.programs)

    def states(self) -> dict[str, str]:
        """What supervisord says of each program."""
        return {each.name: each.state for each in self.programs()}

    def _asked(self, question: Callable[[Control], T]) -> T:
        """Its answer, however long it takes: on a machine that stood still a late one says nothing. Raises: NotThere."""

        def answer() -> list[T]:
            try:
                return [question(Control(f"{self.run_dir}/{SOCKET}"))]
            except NotThere:
                raise
            except NoAnswer:
                return []

        return until(answer, "an answer of supervisord")[0]

    def pids(self, names: Sequence[str] = LASTING) -> dict[str, int]:
        """The pids of programs, once all of them run."""

        def all_run() -> dict[str, int] | None:
            found = {name: self.program(name) for name in names}
            return (
                {n: each.pid for n, each in found.items()} if {p.state for p in found.values()} == {"RUNNING"} else None
            )

        return until(all_run, f"{names} running: {self.states()}")

    def answers(self, server: str) -> bool:
        """True when this server does its work, however slowly."""
        asked = questions({"HIVE_RUN_DIR": self.run_dir, **{name: str(port) for name, port in self.ports.items()}})
        return worst(ask_all(asked[server], DEADLINE_S)).health == OK


def scripts_for(place: Path, user: str) -> str:
    """A directory of console scripts that `user` can run: the installed ones, or twins on an interpreter in `place`."""
    script = reachable_script(place, user)
    if script == SCRIPT:
        return SCRIPTS
    for source in Path(sysconfig.get_path("scripts")).iterdir():
        head, _, rest = source.read_bytes().partition(b"\n")
        if head.startswith(b"#!") and b"python" in head:
            twin = place / "bin" / source.name
            twin.write_bytes(f"#!{place}/bin/python3\n".encode() + rest)
            twin.chmod(0o755)
    return str(place / "bin")


def kill(pid: int) -> None:
    """SIGKILL."""
    os.kill(pid, signal.SIGKILL)
