"""Is the machine fit: directories, locks, programs, room, logs?"""

import os
import subprocess
import sys
from collections.abc import Iterator

from hive_session import proctree
from hive_session.doctor.finding import Finding, Patient
from hive_session.ondisk.home import acting_home
from hive_session.programs import find_programs, has_login
from hive_session.rotate import can_collapse

LOW_BYTES = 1 << 30
LOW_INODES = 10_000
PROBE = """
import fcntl, sys
file = open(sys.argv[1], "a")
try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(0)
sys.exit(1)
"""


def directories(patient: Patient) -> Iterator[Finding]:
    layout = patient.store.layout
    for path in (layout.workspace, layout.sessions, layout.output_root, layout.log_dir):
        if not os.path.isdir(path):
            yield Finding(
                check="directories",
                level="problem",
                what=f"{path} does not exist",
                mend="hive-session init",
                fix=lambda path=path: os.makedirs(path, exist_ok=True),  # type: ignore[misc]
            )
        elif not os.access(path, os.W_OK):
            yield Finding(
                check="directories",
                level="problem",
                what=f"{path} is not writable for this user",
                mend=f"chown it to the user who runs sessions, or set HIVE_WORKSPACE (now {layout.workspace})",
            )


def locks(patient: Patient) -> Iterator[Finding]:
    """Two processes, one lock: on some network filesystems both would get it."""
    directory = patient.store.layout.sessions
    if not os.path.isdir(directory) or not os.access(directory, os.W_OK):
        return
    import fcntl

    path = f"{directory}/.lock-probe-{os.getpid()}"
    with open(path, "a", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            done = subprocess.run([sys.executable, "-I", "-S", "-c", PROBE, path], check=False, timeout=30)
        finally:
            os.unlink(path)
    if done.returncode != 0:
        yield Finding(
            check="locks",
            level="problem",
            what=f"locks do not lock on the filesystem of {directory}: two processes got one lock",
            mend="move HIVE_WORKSPACE to a local filesystem, or mount this one with locking",
        )


def programs(patient: Patient) -> Iterator[Finding]:
    programs = find_programs(patient.config, patient.env)
    missing = {
        "claude-flow": (programs.claude_flow, "bin/setup installs it where npm is; or set HIVE_CLAUDE_FLOW_BIN"),
        "Claude Code": (programs.claude, "npm install -g @anthropic-ai/claude-code; or set HIVE_CLAUDE_BIN"),
    }
    for name, (path, mend) in missing.items():
        if path is None:
            yield Finding(check="programs", level="warning", what=f"{name} is not installed", mend=mend)
        elif not os.access(path, os.X_OK):
            yield Finding(check="programs", level="problem", what=f"{name}: {path} is not executable", mend=mend)
    if not has_login(patient.env, acting_home(patient.env)):
        yield Finding(
            check="programs",
            level="warning",
            what="nobody is logged in to Claude Code and ANTHROPIC_API_KEY is not set",
            mend="run claude once and log in, or set ANTHROPIC_API_KEY; agent rehearsal needs neither",
        )
    if os.geteuid() == 0:
        yield Finding(
            check="programs",
            level="warning",
            what="agents would run as root, which Claude Code refuses",
            mend="set HIVE_USER to another user",
        )


def supervision(patient: Patient) -> Iterator[Finding]:
    """What supervisord would refuse, or silently take, of its files."""
    from hive_session.suite.configuration import find_flaws
    from hive_session.suite.instance import last_ports, resolve_suite

    suite = resolve_suite(patient.env)
    for flaw in find_flaws(suite.conf, suite.environment(last_ports(suite))):
        yield Finding(check="supervision", level=flaw.level, what=f"{flaw.where}: {flaw.what}", mend=flaw.mend)


def room(patient: Patient) -> Iterator[Finding]:
    layout = patient.store.layout
    for path in (layout.sessions, layout.output_root, layout.log_dir):
        if not os.path.isdir(path):
            continue
        stat = os.statvfs(path)
        free = stat.f_bavail * stat.f_frsize
        if free < LOW_BYTES:
            yield Finding(
                check="room",
                level="problem" if free < LOW_BYTES // 10 else "warning",
                what=f"{free >> 20} MiB are free at {path}",
                mend="hive-session cleanup --dry-run shows what could go",
            )
        if stat.f_files and stat.f_favail < LOW_INODES:
            yield Finding(
                check="room",
                level="warning",
                what=f"{stat.f_favail} inodes are free at {path}",
                mend="hive-session cleanup --dry-run shows what could go",
            )


def log_filesystem(patient: Patient) -> Iterator[Finding]:
    path = patient.store.layout.log_dir
    if os.path.isdir(path) and os.access(path, os.W_OK) and not can_collapse(path):
        yield Finding(
            check="logs",
            level="warning",
            what=f"files at {path} cannot lose their head (tmpfs, network): each run gets a log pump, about 4 MB more",
            mend="set HIVE_LOG_DIR to an ext4 or xfs directory",
        )


def zombies(patient: Patient) -> Iterator[Finding]:
    for name in os.listdir("/proc"):
        if name.isdigit() and proctree.is_zombie(int(name)) and _is_own(int(name)):
            parent = proctree.parent_of(int(name))
            yield Finding(
                check="zombies",
                level="warning",
                what=f"process {name} has ended and process {parent} has not noticed",
                mend=f"it goes when {parent} collects it or ends; as process 1 use an init that reaps (supervisord does)",
            )


def _is_own(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid()
    except FileNotFoundError:  # collected meanwhile
        return False
