"""The installed commands as a caller has them: any words, any stdin, any user; and what a call leaves on disk."""

import os
import pwd
import signal
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path

from hive_session.create import CreateRequest, create_session
from hive_session.store import Store
from tests.integration.hive import Hive

REPOSITORY = Path(__file__).parents[2]
SCRIPT = f"{sysconfig.get_path('scripts')}/hive-session"
DROP_IN = str(REPOSITORY / "bin/hive-session-manager.sh")
ABSENT = "11111111-2222-4333-8444-555555555555"  # an id that no session has
CALL_S = 50.0

Done = subprocess.CompletedProcess[bytes]

# hive-session, killed with SIGKILL right before its n-th change of the filesystem.
KILLED = """
import os, signal, sys
left = int(sys.argv.pop(1))
def stop_before(name):
    real = getattr(os, name)
    def counted(*args, **kwargs):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return real(*args, **kwargs)
    setattr(os, name, counted)
for name in ("rename", "unlink", "rmdir", "write", "mkdir", "symlink", "fsync", "ftruncate"):
    stop_before(name)
from hive_session.poll import main
sys.exit(main())
"""


class Console(Hive):
    """A workspace, and every way to call hive-session on it. Root stays root here, unless HIVE_USER is among `settings`."""

    program = SCRIPT

    def __init__(self, root: Path, **settings: str) -> None:
        as_root = {"HIVE_USER": "root"} if os.geteuid() == 0 else {}
        super().__init__(root, **{**as_root, **settings})  # type: ignore[arg-type]  # no setting is called output_root

    def do(
        self,
        *words: str | bytes,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        program: str | None = None,
        user: str | None = None,
        cwd: Path | None = None,
    ) -> Done:
        """Call a program (hive-session where none is named) to its end, by root as another `user` where one is named."""
        who = pwd.getpwnam(user) if user else None
        own = {"HOME": str(self.root), "USER": user} if user else {}
        return subprocess.run(
            [program or self.program, *words],
            input=stdin,
            capture_output=True,
            env={**self.env, **own, **(env or {})},
            cwd=cwd or self.root,
            timeout=CALL_S,
            user=who.pw_uid if who else None,
            group=who.pw_gid if who else None,
            extra_groups=[] if who else None,
        )

    def kill_at(self, step: int, *words: str) -> int:
        """The return code of `hive-session WORDS…` killed before its change number `step`; 0 when it got through."""
        argv = [sys.executable, "-c", KILLED, str(step), *words]
        code = subprocess.run(argv, env=self.env, capture_output=True, timeout=CALL_S).returncode
        assert code in (0, -signal.SIGKILL)
        return code

    def new(
        self, *words: str | bytes, stdin: bytes = b"", env: Mapping[str, str] | None = None, program: str | None = None
    ) -> str:
        """The id of a session just created; `words` follow `create`."""
        done = self.do("create", *words, stdin=stdin, env=env, program=program)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().strip()

    def move(self, session_id: str, *statuses: str) -> str:
        """The same id, after its status was set from outside to each of `statuses`."""
        for status in statuses:
            done = self.do("update-status", session_id, status)
            assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), done.stderr
        return session_id

    def seed(self, count: int, task: str = "work") -> list[str]:
        """The ids of `count` new sessions, made without the cost of a process each; the default agent's."""
        store = Store(self.layout, time.time)
        request = CreateRequest(task=task, agent="claude-flow")
        return [create_session(store, request).session_id for _ in range(count)]

    def snapshot(self) -> dict[str, object]:
        """All that is on disk below the root: path -> kind, mode, owner, and bytes or target."""
        return snapshot(self.root)


def snapshot(root: Path) -> dict[str, object]:
    """Path -> (mode with kind, owner, bytes or target of a link) of everything below `root`; times are left out."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        if stat.S_ISLNK(info.st_mode):
            content: object = os.readlink(path)
        else:
            content = path.read_bytes() if stat.S_ISREG(info.st_mode) else None
        found[str(path.relative_to(root))] = (stat.S_IFMT(info.st_mode) | info.st_mode, info.st_uid, content)
    return found


def error_line(done: Done) -> str:
    """The one line that a refused call has on stderr."""
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("hive-session: ")
    return line


def reachable_script(place: Path, user: str) -> str:
    """A hive-session that `user` can run: the installed one, or one in `place` on an interpreter outside closed homes.

    Raises: AssertionError where there is no such interpreter; bin/setup prefers one that every user can reach.
    """
    if _runs(SCRIPT, user):
        return SCRIPT
    python = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    assert os.path.exists(python), f"{user} cannot run {SCRIPT}, and there is no {python}"
    subprocess.run([python, "-m", "venv", "--without-pip", "--symlinks", place], check=True, timeout=CALL_S)
    packages = sysconfig.get_path("purelib")
    own = subprocess.check_output(
        [place / "bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    )
    Path(own.decode().strip(), "hive.pth").write_text(f"import site; site.addsitedir({packages!r})\n", encoding="utf-8")
    for name in ("hive-session", "hive-tap", "hive-rehearsal", "claude-flow"):
        text = Path(SCRIPT).with_name(name).read_text(encoding="utf-8")
        script = place / "bin" / name
        script.write_text(f"#!{place}/bin/python3\n" + text.partition("\n")[2], encoding="utf-8")
        script.chmod(0o755)
    script = place / "bin/hive-session"
    assert _runs(str(script), user), f"{user} cannot run {script}"
    return str(script)


def _runs(script: str, user: str) -> bool:
    who = pwd.getpwnam(user)
    try:
        done = subprocess.run(
            [script, "--version"], capture_output=True, user=who.pw_uid, group=who.pw_gid, extra_groups=[]
        )
    except OSError:
        return False
    return done.returncode == 0
