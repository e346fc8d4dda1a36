"""A Docker engine of the tests' own: it never touches the machine's, and nothing of it outlives the tests.

It runs in a mount, pid and network namespace of its own: whatever ends it ends its containers and takes its mounts away, and
the ports it publishes are ports of its own. Its images and build cache stay below the virtual environment: `rm -rf` removes
them at any time when no test runs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

DOCKER = "/usr/bin/docker"  # the one that came with the engine: another client may lack BuildKit
PROGRAMS = (DOCKER, "dockerd", "mmdebstrap", "docker-compose", "setpriv", "unshare", "nsenter", "ip", "tini", "nc")
CGROUPS = Path("/sys/fs/cgroup")
START_S = 120  # 2 s on a machine that has nothing else to do
STOP_S = 60
CALL_S = 120
KEPT_CACHE = "4GB"


class CannotStart(Exception):
    """Why there is no engine on this machine, in one line."""


def what_lacks() -> str | None:
    """Why no engine can be started here; None where it is worth a try."""
    if os.geteuid() != 0:
        return "a container engine needs to be run by root"
    missing = [os.path.basename(program) for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return f"needs {', '.join(missing)} (bin/setup --test installs them on Debian)"
    return None


class Engine:
    """One dockerd over the images in `home`. `own_network` gives it ports of its own, and keeps the internet from it."""

    def __init__(self, home: Path, *, own_network: bool) -> None:
        self.home = home
        self._own_network = own_network
        home.mkdir(parents=True, exist_ok=True)
        self._run = Path(tempfile.mkdtemp(prefix="hive-docker-"))  # short: a socket's path is
        self.env = {**os.environ, "DOCKER_HOST": f"unix://{self._run}/socket", "DOCKER_BUILDKIT": "1"}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = (home / "lock").open("w")

    def __enter__(self) -> Engine:
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # two engines over the same images would ruin them
        log = self.home / "dockerd.log"
        (self._run / "daemon.json").write_text("{}", encoding="utf-8")  # not the machine's
        with log.open("wb") as output:
            # In the background of nobody: the kernel ends it when the tests end, however they do.
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._namespaces(), *self._dockerd()],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        deadline_s = time.monotonic() + START_S
        while self.docker("version", check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
                self.__exit__(None, None, None)
                raise CannotStart(f"dockerd does not start here: {lines[-1] if lines else 'no word why'}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._end(self._process)
        for groups in (*CGROUPS.glob(f"*/{self._run.name}"), *CGROUPS.glob(self._run.name)):
            for directory, _, _ in os.walk(groups, topdown=False):
                _remove_group(directory)
        self._lock.close()
        shutil.rmtree(self._run)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if first := self._first():
            os.kill(first, signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()  # and with it all that is in its namespaces
            process.wait()

    def _first(self) -> int | None:
        """The process 1 of the engine's namespace, as it is called outside; None where it has ended."""
        assert self._process is not None
        try:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text(encoding="ascii")
        except OSError:
            return None
        return int(children.split()[0]) if children.split() else None

    def _namespaces(self) -> list[str]:
        network = ["--net"] if self._own_network else []
        return ["unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child", *network, "tini", "--"]

    def _dockerd(self) -> list[str]:
        run = self._run
        words = [
            "dockerd", "--config-file", f"{run}/daemon.json", "--data-root", str(self.home / "data"),
            "--exec-root", f"{run}/exec", "--pidfile", f"{run}/pid", "--host", f"unix://{run}/socket",
            "--storage-driver", "overlay2", "--cgroup-parent", f"/{run.name}",
        ]  # fmt: skip
        if self._own_network:
            return ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", *words]
        return [*words, "--iptables=false", "--ip6tables=false", "--bridge=none"]

    def docker(
        self, *words: str, check: bool = True, timeout_s: float = CALL_S, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """One call of the client. Raises: AssertionError with what it said where `check` and it fails."""
        return run([DOCKER, *words], {**self.env, **env}, check=check, timeout_s=timeout_s)

    def inside(self, *words: str, check: bool = True, timeout_s: float = CALL_S) -> subprocess.CompletedProcess[str]:
        """Run a program of this machine where the published ports are, and among the processes that the engine sees."""
        entered = ["nsenter", "--target", str(self._first()), "--net", "--pid", *words]
        return run(entered, self.env, check=check, timeout_s=timeout_s)


def _remove_group(directory: str) -> None:
    """Remove a control group once the last of its processes has ended. Raises: OSError when one does not end."""
    deadline_s = time.monotonic() + STOP_S
    while True:
        try:
            os.rmdir(directory)
            return
        except OSError as exc:
            if exc.errno != errno.EBUSY or time.monotonic() > deadline_s:
                raise
        time.sleep(0.05)


def run(
    words: Sequence[str], env: Mapping[str, str], *, check: bool, timeout_s: float, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. Raises: AssertionError with what it said where `check` and it fails."""
    done = subprocess.run(words, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace", timeout=timeout_s)  # fmt: skip
    said = f"{done.stdout[-6000:]}{done.stderr[-6000:]}"
    assert not check or done.returncode == 0, f"{words[:6]}: exit {done.returncode}\n{said}"
    return done
