"""The installed `claude-flow` command, around a program that waits to be looked at and around the real one.

The kernel is the witness of how a program was run: the tests read its /proc entry. Run by root, the tests of
everybody else's claude-flow run the command as `nobody`.
"""

from __future__ import annotations

import functools
import json
import os
import pwd
import shutil
import signal
import subprocess
import sysconfig
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.npm import CLAUDE_FLOW_BIN, CLAUDE_FLOW_VERSION

WRAPPER = Path(sysconfig.get_path("scripts"), "claude-flow")
REPOSITORY = Path(__file__).parents[2]
NOBODY = pwd.getpwnam("nobody")
BY_ROOT = os.geteuid() == 0
SETPRIV = ("/usr/bin/setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups")
# The interpreter may live in a home that is closed to nobody: then nobody may pass, and is still not root.
PASSING = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
TIMEOUT_S = 50

WAITER = "#!/bin/sh\necho ready\nread line\n"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "0"},
    },
}
Changes = Mapping[str, str | None]  # of the environment; None takes a variable away


@functools.cache
def plain_user() -> tuple[str, ...]:
    """The command prefix that runs a command as a user who is not root."""
    if not BY_ROOT:
        return ()
    # Through a shell, because setpriv itself still has root's rights when it looks its program up.
    python = ("/bin/sh", "-c", 'exec "$0" -c ""', WRAPPER.with_name("python"))
    for prefix in (SETPRIV, (*SETPRIV, *PASSING)):
        if subprocess.run([*prefix, *python], capture_output=True).returncode == 0:
            return prefix
    return pytest.skip("root cannot run these tests as nobody here: it lacks CAP_SETUID or CAP_DAC_OVERRIDE")


class Witnessed:
    """How a program was run, as /proc has it, and what the wrapper wrote to stderr before."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin and process.stdout and process.stderr
        ready = process.stdout.readline()
        assert ready == b"ready\n", ready + process.stderr.read()
        entry = Path("/proc", str(process.pid))
        self.pid = process.pid
        self.cwd = os.readlink(entry / "cwd")
        # The first two are the shell and the path of WAITER.
        self.args = (entry / "cmdline").read_bytes().removesuffix(b"\0").split(b"\0")[2:]
        pairs = (entry / "environ").read_text(encoding="utf-8").removesuffix("\0").split("\0")
        self.env = {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
        lines = (entry / "status").read_text(encoding="utf-8").splitlines()
        status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        self.uids = {int(uid) for uid in status["Uid"]}  # real, effective, saved, filesystem
        self.gids = {int(gid) for gid in status["Gid"]}
        self.groups = sorted(int(gid) for gid in status["Groups"])
        self.warnings = process.communicate(timeout=TIMEOUT_S)[1].decode().splitlines()


class Box:
    """A workspace of its own that any user can reach, and the wrapper run in it by one of two users."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workspace = self.directory("ws")
        self.project = self.directory("ws/project")
        self.home = self.directory("home")
        self.waiter = self.script("waiter", WAITER)
        self.env: dict[str, str] = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "HIVE_WORKSPACE": str(self.workspace),
            "HIVE_CLAUDE_FLOW_BIN": str(self.waiter),
        }

    def directory(self, name: str) -> Path:
        """A new directory that belongs to the plain user."""
        path = self.place / name
        path.mkdir(parents=True)
        if BY_ROOT:
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        return path

    def script(self, name: str, text: str, mode: int = 0o755) -> Path:
        """A new file that anybody can read, and with that mode run."""
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    def start(
        self,
        *args: str | bytes,
        env: Changes | None = None,
        cwd: Path | None = None,
        as_root: bool = False,
        command: tuple[str | Path, ...] = (WRAPPER,),
    ) -> subprocess.Popen[bytes]:
        """Start the wrapper with pipes, as a plain user unless `as_root`."""
        process = subprocess.Popen(
            [*(() if as_root else plain_user()), *command, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd or self.project,
            env={name: value for name, value in {**self.env, **(env or {})}.items() if value is not None},
        )
        self.processes.append(process)
        return process

    def run(
        self,
        *args: str | bytes,
        env: Changes | None = None,
        cwd: Path | None = None,
        as_root: bool = False,
        command: tuple[str | Path, ...] = (WRAPPER,),
        stdin: bytes = b"",
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the wrapper to its end."""
        process = self.start(*args, env=env, cwd=cwd, as_root=as_root, command=command)
        stdout, stderr = process.communicate(stdin, timeout=TIMEOUT_S)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def witness(
        self,
        *args: str | bytes,
        env: Changes | None = None,
        cwd: Path | None = None,
        as_root: bool = False,
        command: tuple[str | Path, ...] = (WRAPPER,),
    ) -> Witnessed:
        """Run the wrapper around WAITER and look at what it became."""
        return Witnessed(self.start(*args, env=env, cwd=cwd, as_root=as_root, command=command))

    def files(self) -> set[str]:
        """All that exists in the workspace, but for what is in the project directory."""
        found = {str(path.relative_to(self.workspace)) for path in self.workspace.rglob("*")}
        return {name for name in found if not name.startswith("project/")}

    def close(self) -> None:
        """End what a failed test has left running."""
        for process in self.processes:
            process.kill()
            process.communicate()


def expect_refusal(run: subprocess.CompletedProcess[bytes], exit_code: int) -> str:
    """The one line on stderr that says why."""
    assert run.returncode == exit_code, run.stderr
    assert run.stdout == b""
    (line,) = run.stderr.decode().splitlines()
    assert line.startswith("claude-flow wrapper: ")
    return line


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path / "box")
    yield box
    box.close()


# --- everybody ---


def test_every_byte_of_every_argument_arrives(box: Box) -> None:
    quotes = b'it\'s "quoted" $(id) `id` \\'
    args = [b"\xff\xfe\x80", b"a\nb", b"", quotes, b"--help", b"-", "🐝".encode(), b"x" * 100_000]
    assert box.witness(*args).args == args


def test_the_process_becomes_claude_flow_where_and_who_it_is(box: Box) -> None:
    seen = box.witness("status")
    assert (seen.args, seen.cwd, seen.warnings) == ([b"status"], str(box.project), [])
    assert seen.uids == {NOBODY.pw_uid if BY_ROOT else os.getuid()}


def test_the_environment_is_the_caller_s_with_claude_flow_s_switches(box: Box) -> None:
    env = box.witness(env={"KEEP": "me", "RUFLO_STATE_DIR": "/shared"}).env
    own = {
        "KEEP": "me",
        "RUFLO_STATE_DIR": f"{box.project}/.ruflo",
        "RUFLO_DAEMON_AUTOSTART": "0",
        "RUFLO_FUNNEL": "0",
        "CLAUDE_FLOW_AUTO_UPDATE": "false",
        "HIVE_CF_WRAPPER": env["HIVE_CF_WRAPPER"],
    }
    assert env == {**box.env, **own}


@pytest.mark.parametrize("code", [0, 1, 7, 78, 126, 127, 255])
def test_the_exit_code_is_the_program_s(box: Box, code: int) -> None:
    assert box.run("-c", f"exit {code}", env={"HIVE_CLAUDE_FLOW_BIN": "/bin/sh"}).returncode == code


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGXFSZ", "SIGUSR1"])
def test_a_signal_reaches_the_program_as_if_nobody_stood_between(box: Box, name: str) -> None:
    number = signal.Signals[name]
    process = box.start("-c", "echo ready; exec sleep 60", env={"HIVE_CLAUDE_FLOW_BIN": "/bin/sh"})
    assert process.stdout and process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == -number


def test_stdin_and_stdout_pass_untouched(box: Box) -> None:
    sent = bytes(range(256)) * 1000
    run = box.run(env={"HIVE_CLAUDE_FLOW_BIN": "/bin/cat"}, stdin=sent)
    assert (run.stdout, run.stderr) == (sent, b"")


@pytest.mark.parametrize("where", ["ws", "ws/.swarm", "link", "link/.swarm", "ws/project/.."])
def test_nobody_runs_in_the_workspace_itself(box: Box, where: str) -> None:
    box.directory("ws/.swarm")
    (box.place / "link").symlink_to(box.workspace)
    before = box.files()
    why = expect_refusal(box.run("hive-mind", "init", cwd=box.place / where), 78)
    assert "cd into a directory of your own" in why
    assert "hive-session" in why
    assert box.files() == before


def test_a_workspace_that_is_a_symlink_is_guarded_under_both_names(box: Box) -> None:
    (box.place / "link").symlink_to(box.workspace)
    for cwd in (box.workspace, box.place / "link"):
        expect_refusal(box.run(cwd=cwd, env={"HIVE_WORKSPACE": f"{box.place}/link/"}), 78)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLAUDE_FLOW_CWD", "{ws}"),
        ("CLAUDE_FLOW_CWD", ".."),
        ("CLAUDE_FLOW_CWD", "{link}"),
        ("CLAUDE_FLOW_DB_PATH", "{ws}/.swarm/memory.db"),
        ("CLAUDE_FLOW_DB_PATH", "../.swarm/other.db"),
        ("CLAUDE_FLOW_DB_PATH", "{ws}/memory.db"),
        ("CLAUDE_FLOW_MEMORY_PATH", "{ws}/.swarm"),
        ("CLAUDE_FLOW_MEMORY_PATH", "{link}/.swarm/"),
    ],
)
def test_nobody_points_claude_flow_into_the_workspace(box: Box, name: str, value: str) -> None:
    link = box.place / "link"
    link.symlink_to(box.workspace)
    assert name in expect_refusal(box.run(env={name: value.format(ws=box.workspace, link=link)}), 78)


def test_a_relocation_to_elsewhere_is_dropped_with_a_warning(box: Box) -> None:
    seen = box.witness(env={"CLAUDE_FLOW_DB_PATH": f"{box.home}/x.db", "CLAUDE_FLOW_CWD": ""})
    assert seen.env.keys().isdisjoint({"CLAUDE_FLOW_DB_PATH", "CLAUDE_FLOW_CWD"})
    (warning,) = seen.warnings
    assert "CLAUDE_FLOW_DB_PATH" in warning


def test_a_removed_directory_is_refused(box: Box) -> None:
    gone = box.directory("ws/project/gone")
    leave = ("/bin/sh", "-c", 'rmdir ../gone; exec "$0" status', WRAPPER)
    run = box.run(cwd=gone, command=leave, env={"CLAUDE_FLOW_CWD": "relative"})
    assert "removed" in expect_refusal(run, 78)


def test_a_closed_stderr_keeps_a_warning_out_of_stdout(box: Box) -> None:
    deaf = ("/bin/sh", "-c", 'exec "$0" status 2>&-', WRAPPER)
    run = box.run(command=deaf, env={"CLAUDE_FLOW_CWD": "/elsewhere"})
    assert (run.stdout, run.stderr) == (b"ready\n", b"")


# --- finding the real program ---


@pytest.fixture
def bare(box: Box) -> Path:
    """The wrapper in a virtual environment without a claude-flow of its own."""
    venv.create(box.place / "venv", symlinks=True)
    python = box.place / "venv/bin/python"
    text = f"#!{python}\nimport sys\nfrom cf_wrapper.__main__ import main\nsys.exit(main())\n"
    box.env["PYTHONPATH"] = str(REPOSITORY)
    del box.env["HIVE_CLAUDE_FLOW_BIN"]
    return box.script("venv/bin/claude-flow", text)


def test_path_is_searched_past_this_wrapper_its_links_and_its_copies(box: Box, bare: Path) -> None:
    link = box.directory("link") / "claude-flow"
    link.symlink_to(bare)
    copy = box.script("copy/claude-flow", bare.read_text(encoding="utf-8"))
    preface, code = bare.read_text(encoding="utf-8").split("\n", 1)
    wordy = box.script("wordy/claude-flow", f"{preface}\n{'# licence' * 200}\n{code}")
    box.script("data/claude-flow", "", mode=0o644)
    box.directory("directory/claude-flow")
    found = box.directory("found") / "claude-flow"
    found.symlink_to(box.waiter)
    others = [link.parent, copy.parent, WRAPPER.parent, box.place / "data", box.place / "directory"]
    for program in (bare, link, copy, wordy):
        path = ":".join(map(str, [program.parent, *others, found.parent]))
        assert box.witness("x", command=(program,), env={"PATH": path}).args == [b"x"]


@pytest.mark.parametrize("name", ["cli.js", "claude-flow.js"])
def test_what_setup_installed_comes_before_path(box: Box, bare: Path, name: str) -> None:
    installed = bare.parents[1] / "node/node_modules/claude-flow/bin"
    installed.mkdir(parents=True)
    shutil.copy(box.waiter, installed / name)
    box.script("other/claude-flow", "#!/bin/sh\nexit 9\n")
    assert box.witness("x", command=(bare,), env={"PATH": f"{box.place}/other:/usr/bin:/bin"}).args == [b"x"]


def test_a_script_that_leads_back_to_the_wrapper_is_refused(box: Box, bare: Path) -> None:
    box.script("loop/claude-flow", f'#!/bin/sh\nexec {bare} "$@"\n')
    run = box.run(command=(bare,), env={"PATH": f"{box.place}/loop:/usr/bin:/bin"})
    assert "leads back" in expect_refusal(run, 78)


def test_no_claude_flow_anywhere_is_127_and_says_what_to_install(box: Box, bare: Path) -> None:
    assert "bin/setup" in expect_refusal(box.run(command=(bare,), env={"PATH": str(bare.parent)}), 127)


@pytest.mark.parametrize(
    ("configured", "exit_code", "words"),
    [
        ("{place}/none", 127, "does not exist"),
        ("{place}", 127, "does not exist"),
        ("{place}/data", 126, "not an executable file"),
        ("waiter", 78, "absolute"),
        (str(WRAPPER), 78, "this wrapper"),
        ("{place}/node-script", 127, "no-such-node"),
        ("{place}/absolute-script", 127, "/no/such/node"),
        ("{place}/garbage", 126, "cannot run"),
        ("{place}/garbage/../data", 127, "does not exist"),
    ],
)
def test_a_program_that_cannot_run_gives_a_shell_s_exit_code(
    box: Box, configured: str, exit_code: int, words: str
) -> None:
    box.script("data", "", mode=0o644)
    box.script("node-script", "#!/usr/bin/env no-such-node\n")
    box.script("absolute-script", "#!/no/such/node\n")
    box.script("garbage", "neither a script nor a binary\n")
    env: dict[str, str | None] = {"HIVE_CLAUDE_FLOW_BIN": configured.format(place=box.place)}
    assert words in expect_refusal(box.run(env=env), exit_code)


def test_a_message_stays_one_line_whatever_a_path_holds(box: Box) -> None:
    expect_refusal(box.run(env={"HIVE_CLAUDE_FLOW_BIN": "/a\nb\x1b[31m\udcff"}), 127)


def test_starting_up_loads_nothing_that_is_slow_to_load(box: Box, bare: Path) -> None:
    slow = {"argparse", "collections", "dataclasses", "enum", "pathlib", "re", "subprocess", "typing"}
    code = "import sys, cf_wrapper.__main__; print(*sys.modules)"
    run = box.run(
        "-I",
        "-c",
        f"import sys; sys.path.append({str(REPOSITORY)!r}); {code}",
        command=(bare.with_name("python"),),
    )
    assert slow.isdisjoint(run.stdout.decode().split())


# --- root ---

AS_NOBODY: dict[str, str | None] = {"HIVE_USER": "nobody"}


@pytest.mark.root
def test_root_becomes_the_configured_user_in_a_place_of_its_own(box: Box) -> None:
    args = [b"memory", b"\xff\n", b"--json", b"status"]
    seen = box.witness(*args, env=AS_NOBODY, as_root=True, cwd=box.workspace)
    cwd = box.workspace / ".swarm/root-cli-instance"
    assert (seen.args, seen.cwd, seen.warnings) == (args, str(cwd), [])
    assert (seen.uids, seen.gids) == ({NOBODY.pw_uid}, {NOBODY.pw_gid})
    assert seen.groups == sorted(os.getgrouplist("nobody", NOBODY.pw_gid))
    assert (cwd.owner(), cwd.parent.owner()) == ("nobody", "nobody")
    own = {name: seen.env[name] for name in ("HOME", "USER", "LOGNAME", "PWD", "RUFLO_STATE_DIR")}
    assert own == {
        "HOME": NOBODY.pw_dir,
        "USER": "nobody",
        "LOGNAME": "nobody",
        "PWD": str(cwd),
        "RUFLO_STATE_DIR": f"{cwd}/.ruflo",
    }


@pytest.mark.root
def test_what_root_finds_made_keeps_its_owner(box: Box) -> None:
    swarm = box.workspace / ".swarm"
    swarm.mkdir()
    box.witness(env=AS_NOBODY, as_root=True)
    assert (swarm.owner(), (swarm / "root-cli-instance").owner()) == ("root", "nobody")


@pytest.mark.root
def test_relative_paths_of_root_get_one_warning(box: Box) -> None:
    (box.project / "conf.json").touch()
    (box.project / "out").mkdir()
    seen = box.witness("memory", "--config=conf.json", "out", "gone", "/bin", env=AS_NOBODY, as_root=True)
    (warning,) = seen.warnings
    assert "'conf.json', 'out' means" in warning


@pytest.mark.root
def test_a_user_that_does_not_exist_stops_root_before_anything_is_made(box: Box) -> None:
    before = box.files()
    assert "HIVE_USER" in expect_refusal(box.run(env={"HIVE_USER": "no-such-user"}, as_root=True), 78)
    assert box.files() == before


@pytest.mark.root
def test_without_a_configured_user_root_becomes_dev_or_stays_with_a_warning(box: Box) -> None:
    dev = [entry.pw_uid for entry in pwd.getpwall() if entry.pw_name == "dev"]
    seen = box.witness(as_root=True)
    assert seen.uids == set(dev or [0])
    assert ["HIVE_USER" in warning for warning in seen.warnings] == ([] if dev else [True])
    assert seen.cwd == str(box.workspace / ".swarm/root-cli-instance")


@pytest.mark.root
def test_root_stays_root_on_request_in_silence(box: Box) -> None:
    seen = box.witness(env={"HIVE_USER": "root"}, as_root=True)
    assert (seen.uids, seen.warnings) == ({0}, [])


@pytest.mark.root
def test_root_inside_its_own_session_stays_where_and_who_it_is(box: Box) -> None:
    session_id = "9b2ac1f0-0d6c-4f0e-8d4e-0123456789ab"
    inside = box.directory(f"ws/.swarm/sessions/{session_id}/src")
    env = {**AS_NOBODY, "HIVE_SESSION_ID": session_id}
    seen = box.witness(env=env, as_root=True, cwd=inside)
    assert (seen.uids, seen.cwd) == ({0}, str(inside))
    assert box.witness(env=env, as_root=True).uids == {NOBODY.pw_uid}


@pytest.mark.root
def test_root_makes_nothing_behind_a_link_that_the_workspace_s_owner_left(box: Box) -> None:
    victim = box.place / "victim"
    victim.mkdir()
    (box.workspace / ".swarm").symlink_to(victim)
    assert "cannot make" in expect_refusal(box.run(env=AS_NOBODY, as_root=True), 73)
    assert list(victim.iterdir()) == []


@pytest.mark.root
def test_a_workspace_that_cannot_be_made_is_73(box: Box) -> None:
    assert "cannot make" in expect_refusal(box.run(env={**AS_NOBODY, "HIVE_WORKSPACE": "/proc/no"}, as_root=True), 73)


@pytest.mark.root
@pytest.mark.parametrize(
    ("closed", "mode"),
    [("ws", 0o700), ("ws/.swarm/root-cli-instance", 0o700), ("ws/.swarm/root-cli-instance", 0o755)],
)
def test_a_place_that_the_user_cannot_use_is_77(box: Box, closed: str, mode: int) -> None:
    box.directory("ws/.swarm/root-cli-instance")
    os.chown(box.place / closed, 0, 0)
    (box.place / closed).chmod(mode)
    assert "cannot use" in expect_refusal(box.run(env=AS_NOBODY, as_root=True), 77)


@pytest.mark.root
def test_a_name_that_is_taken_already_is_not_made_and_a_dangling_link_is_77(box: Box) -> None:
    (box.directory("ws/.swarm") / "root-cli-instance").symlink_to(box.place / "nowhere")
    assert "cannot use" in expect_refusal(box.run(env=AS_NOBODY, as_root=True), 77)
    assert not (box.place / "nowhere").exists()


@pytest.mark.root
def test_root_without_the_right_to_become_another_is_77(box: Box) -> None:
    box.directory("ws/.swarm/root-cli-instance")
    powerless = ("/usr/bin/setpriv", "--bounding-set=-setuid,-setgid", WRAPPER)
    run = box.run(env=AS_NOBODY, as_root=True, command=powerless)
    assert "cannot become nobody" in expect_refusal(run, 77)


# --- the real claude-flow ---


@pytest.mark.npm
def test_the_version_is_claude_flow_s(box: Box) -> None:
    run = box.run("--version", env={"HIVE_CLAUDE_FLOW_BIN": None})
    assert (run.returncode, run.stdout, run.stderr) == (0, f"ruflo v{CLAUDE_FLOW_VERSION}\n".encode(), b"")


@pytest.mark.npm
def test_hive_mind_init_leaves_nothing_in_the_workspace_and_at_home(box: Box) -> None:
    before = box.files()
    run = box.run("hive-mind", "init", env={"HIVE_CLAUDE_FLOW_BIN": str(CLAUDE_FLOW_BIN)})
    assert run.returncode == 0, run.stderr
    assert (box.project / ".claude-flow/hive-mind/state.json").exists()
    assert box.files() == before
    assert list(box.home.iterdir()) == []  # it would note there when it last looked for an update


@pytest.mark.npm
def test_claude_flow_takes_the_switches(box: Box) -> None:
    said = box.run("funnel", "status", env={"HIVE_CLAUDE_FLOW_BIN": str(CLAUDE_FLOW_BIN)}).stdout.decode()
    assert "disabled (decided by: env)" in said
    assert f"State dir: {box.project}/.ruflo" in said


@pytest.mark.npm
@pytest.mark.timeout(120)
def test_a_command_that_works_with_the_database_starts_no_daemon(box: Box) -> None:
    env: dict[str, str | None] = {"HIVE_CLAUDE_FLOW_BIN": str(CLAUDE_FLOW_BIN)}
    assert box.run("memory", "init", env=env).returncode == 0
    run = box.run("memory", "store", "-k", "a", "-v", "b", env=env)
    assert run.returncode == 0
    assert (box.project / ".swarm/memory.db").exists()
    assert b"background daemon" not in run.stdout  # what it says when it starts one


@pytest.mark.npm
@pytest.mark.timeout(120)
def test_a_command_that_claude_flow_does_not_know_fails_as_it_does_without_us(box: Box) -> None:
    runs = [
        box.run("no-such-command", command=(program,), env={"HIVE_CLAUDE_FLOW_BIN": str(CLAUDE_FLOW_BIN)})
        for program in (CLAUDE_FLOW_BIN, WRAPPER)
    ]
    assert [run.returncode for run in runs] == [1, 1]


def open_mcp(box: Box) -> subprocess.Popen[bytes]:
    """An MCP server on stdio that has answered `initialize`."""
    process = box.start("mcp", "start", env={"HIVE_CLAUDE_FLOW_BIN": str(CLAUDE_FLOW_BIN)})
    assert process.stdin and process.stdout
    process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["id"] == 1
    return process


@pytest.mark.npm
def test_an_mcp_server_on_stdio_ends_with_0_when_its_input_ends(box: Box) -> None:
    process = open_mcp(box)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0


@pytest.mark.npm
def test_sigterm_to_the_pid_that_was_started_ends_claude_flow(box: Box) -> None:
    process = open_mcp(box)
    process.terminate()
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == -signal.SIGTERM


@pytest.mark.npm
@pytest.mark.root
def test_root_s_hive_mind_belongs_to_the_user_that_root_became(box: Box) -> None:
    run = box.run("hive-mind", "init", env={**AS_NOBODY, "HIVE_CLAUDE_FLOW_BIN": None}, as_root=True)
    assert run.returncode == 0, run.stderr
    state = box.workspace / ".swarm/root-cli-instance/.claude-flow/hive-mind/state.json"
    assert state.owner() == "nobody"
