"""From a session's record to a running runner: the one function that starts work, and the plan it hands over."""

import marshal
import os
import pwd
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from hive_session import agents, errors
from hive_session.agents import Job
from hive_session.config import Config
from hive_session.durable import append_line, hold_run_lock, read_file, remove_file, replace_file
from hive_session.errors import Busy, NotPermitted, Refused
from hive_session.isolation import session_environment
from hive_session.lifecycle import RESUMABLE
from hive_session.ondisk.journal import escape
from hive_session.ondisk.layout import SessionPaths
from hive_session.ondisk.liveness import boot_identity
from hive_session.ondisk.log import log_end
from hive_session.ondisk.records import SessionRecord, format_time
from hive_session.ondisk.verdict import describe_end
from hive_session.programs import Programs, find_programs, has_key, has_login
from hive_session.rotate import can_collapse
from hive_session.store import Store

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h; kept across exec, so the lean runner need not load ctypes for it
# Not -m, which takes 2 ms more; without looking for garbage among what is imported, which takes 5.
_WRITER = "import gc, sys; gc.disable(); from hive_session.writer import main; gc.freeze(); sys.exit(main())"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A runner that was started. `ready_fd` gives a line once the agent runs or waits in the queue, and ends at the end."""

    record: SessionRecord
    ready_fd: int
    runner_pid: int
    log_offset: int  # where in the log this attempt begins, in bytes ever logged


def launch(
    store: Store,
    config: Config,
    env: Mapping[str, str],
    session_id: str,
    args: tuple[str, ...] | None,
    *,
    resume: bool,
    restarts: int | None = None,
) -> Launched:
    """Start (or resume) a session in a process of its own. `args` None: those of the last attempt.

    `restarts` is what the record shall say of resumes by itself; nothing where a person asks.

    Raises: Busy when it runs; Refused when its state forbids it; UsageError when its task cannot reach its agent.
    """
    found = store.settled(session_id)  # a run that died unseen is judged before it is asked about
    if found.external or found.status not in ("starting", "running"):
        _check_state(found, resume=resume)  # refused before anything is touched
    paths = store.paths(session_id)
    _check_interpreter()
    lock_fd = _take_run_lock(paths)
    try:
        record = _check_state(store.read(session_id), resume=resume)
        record = replace(record, args=record.args if args is None else args)
        programs = find_programs(config, env)
        spec = agents.find_agent(record.agent, config.agents, programs.claude_flow_major)
        job = agents.plan_job(
            spec,
            record.task,
            args=record.args,
            values=_placeholders(paths),
            initialised=os.path.exists(paths.at(".claude-flow/hive-mind/state.json")),
        )
        own_env = _own_env(paths)
        moment = format_time(store.now(), millis=True)
        starting = replace(
            record,
            status="starting",
            attempt=record.attempt + 1,
            started=moment,
            runs_claude=spec.runs_claude,
            boot=boot_identity(),
            external=False,
            restarts=restarts,
            **_NOTHING_ENDED,
        )
        _prepare(paths, starting)
        store.change(session_id, lambda _: starting)
        log_offset = _log_header(paths, starting, job)
        plan = _plan(config, env, paths, starting, job, programs, own_env)
        plan["spawn_error"] = _missing(spec, programs, env) or ""
        return _fork(plan, runner_environment(env, config, session_id), starting, lock_fd, log_offset)
    except OSError as exc:
        raise errors.from_os_error(exc, f"starting {session_id}:") from None
    finally:
        os.close(lock_fd)


_NOTHING_ENDED: dict[str, Any] = dict.fromkeys(("ended", "reason", "exit_code", "signal", "detail", "pid", "rusage"))


def _check_interpreter() -> None:
    """Raises: NotPermitted where the user who runs the agent cannot run this Python, as below a closed home directory."""
    if not os.access(sys.executable, os.X_OK):
        user = pwd.getpwuid(os.geteuid()).pw_name
        what = f"user {user} cannot run {os.path.realpath(sys.executable)}, which the runner needs"
        raise NotPermitted(
            what, "make its directories passable, or set up anew: HIVE_PYTHON=/usr/bin/python3 bin/setup"
        )


def _take_run_lock(paths: SessionPaths) -> int:
    """run.lock, held: liveness and double-start guard in one. Raises: Busy."""
    fd = hold_run_lock(paths.run_lock)
    if fd is None:
        raise Busy(f"{paths.id} is running already", f"follow it: hive-session logs -f {paths.id}")
    return fd


def _check_state(record: SessionRecord, *, resume: bool) -> SessionRecord:
    session_id = record.session_id
    if resume and record.status in RESUMABLE:
        return record
    if resume:
        raise Refused(
            f"{session_id} has not run yet" if record.status == "created" else f"{session_id} is {record.status}",
            f"start it: hive-session start {session_id}",
        )
    if record.terminal:
        what = f"{session_id} has ended ({describe_end(record)}) and can't be started again"
        raise Refused(what, f"to run it again in the same directory: hive-session resume {session_id}")
    if record.external:
        raise Refused(f"{session_id} is {record.status}, driven from outside by update-status", "end it there first")
    return record


def _placeholders(paths: SessionPaths) -> dict[str, str]:
    return {
        "task_file": paths.task_file,
        "session_id": paths.id,
        "working_dir": paths.dir,
        "output_dir": paths.output,
    }


def _own_env(paths: SessionPaths) -> dict[str, str]:
    try:
        found: dict[str, str] = orjson.loads(read_file(paths.env_file))
    except FileNotFoundError:
        return {}
    return found


def _prepare(paths: SessionPaths, record: SessionRecord) -> None:
    """Everything the agent will find, and nothing that the last attempt left to be misread. Raises: OSError."""
    for path in (paths.exit, paths.claude_exit, f"{paths.claude_exit}.tmp", paths.stop_request):
        remove_file(path)
    for name in ("tmp", "cache", "state", "bin"):
        os.makedirs(paths.at(name), exist_ok=True)
    os.makedirs(paths.output, exist_ok=True)
    os.makedirs(os.path.dirname(paths.log), exist_ok=True)
    scripts = f"{sys.prefix}/bin"
    for name, target in (("claude", f"{scripts}/hive-tap"), ("claude-flow", f"{scripts}/claude-flow")):
        link = f"{paths.bin}/{name}"
        if not os.path.islink(link) or os.readlink(link) != target:
            remove_file(link)
            os.symlink(target, link)
    replace_file(paths.task_file, record.task.encode())


def _log_header(paths: SessionPaths, record: SessionRecord, job: Job) -> int:
    """Write the original's five lines to the log; returns the log offset before them."""
    offset = log_end(paths)
    command = " ".join(word.replace(record.task, f'"{record.task}"') for word in job.steps[-1])
    lines = (
        f"Starting session: {record.session_id}",
        f"Working directory: {paths.dir}",
        f"Output directory: {paths.output}",
        f"Task: {record.task}",
        f"Command: {command}",
    )
    # Escaped: a task of several lines would say in our name whatever it likes.
    append_line(paths.log, "".join(f"[SESSION-MGR] {escape(line)}\n" for line in lines).encode())
    return offset


INSTALL = {
    "claude-flow": "run bin/setup where npm is, or name it in HIVE_CLAUDE_FLOW_BIN",
    "claude": "npm install -g @anthropic-ai/claude-code, or name it in HIVE_CLAUDE_BIN",
}


def _missing(spec: agents.AgentSpec, programs: Programs, env: Mapping[str, str]) -> str | None:
    """Why this agent cannot be run here, in words for people; None when it can."""
    found = {"claude-flow": programs.claude_flow, "claude": programs.claude}
    for name in spec.programs:
        path = found[name]
        if path is None:
            return f"{name} is not installed: {INSTALL[name]}"
        if not os.access(path, os.X_OK):
            return f"{path} does not exist or cannot be run by this user: {INSTALL[name]}"
    if "claude" in spec.programs and os.geteuid() == 0 and env.get("IS_SANDBOX") != "1":
        return "Claude Code refuses to work for root: set HIVE_USER to the user it shall run as"
    return None


def _plan(
    config: Config,
    env: Mapping[str, str],
    paths: SessionPaths,
    record: SessionRecord,
    job: Job,
    programs: Programs,
    own_env: Mapping[str, str],
) -> dict[str, Any]:
    """What runner.Run goes by, in types that marshal carries."""
    claude = programs.rehearsal if record.agent == "rehearsal" else programs.claude
    names = {"HIVE_CLAUDE_BIN": claude, "HIVE_CLAUDE_FLOW_BIN": programs.claude_flow}
    home = env.get("HOME", "/")
    merged = {**env, **own_env}
    agent_env = session_environment(
        env,
        config.layout,
        paths,
        attempt=record.attempt,
        programs={name: value for name, value in names.items() if value},
        agent_env=job.env,
        own_env=own_env,
        shares_login="CLAUDE_CONFIG_DIR" in merged or (not has_key(merged) and has_login(merged, home)),
    )
    return {
        "session_id": paths.id,
        "attempt": record.attempt,
        "priority": record.priority,
        "steps": [list(step) for step in job.steps],
        "env": agent_env,
        "cwd": paths.dir,
        "stdin": paths.task_file if job.stdin == "task" else "/dev/null",
        "log": paths.log,
        "log_base": paths.log_base,
        "telemetry": paths.telemetry,
        "exit": paths.exit,
        "claude_exit": paths.claude_exit,
        "stop": paths.stop_request,
        "timeout_s": record.timeout_s or 0.0,
        "grace_s": config.stop_grace_s,
        "settle_s": job.settle_s,
        "slots": config.max_concurrent,
        "slots_dir": config.layout.slots,
        "rotate_bytes": config.log_max_bytes,
        "backups": config.log_backups,
        "pump": not can_collapse(os.path.dirname(paths.log)),
        "rotate": lean_argv("rotate"),
        "pump_argv": lean_argv("pump"),
        "writer": [sys.executable, "-I", "-c", _WRITER],
    }


def lean_argv(module: str) -> list[str]:
    """The argv that runs `hive_session.MODULE.main` without site packages: 3.5 MB where the whole would take 17."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    boot = f"import sys; sys.path.append({root!r}); from hive_session.{module} import main; main()"
    return [sys.executable, "-I", "-S", "-E", "-c", boot]


def runner_environment(env: Mapping[str, str], config: Config, session_id: str) -> dict[str, str]:
    """What the runner and the writers it starts need: the caller's environment with the paths spelled out."""
    layout = config.layout
    return {
        **env,
        "HIVE_WORKSPACE": layout.workspace,
        "HIVE_OUTPUT_ROOT": layout.output_root,
        "HIVE_LOG_DIR": layout.log_dir,
        "HIVE_SESSION_ID": session_id,
    }


def _fork(
    plan: dict[str, Any], env: Mapping[str, str], record: SessionRecord, lock_fd: int, log_offset: int
) -> Launched:
    """Start the runner in a process session of its own, as subreaper, holding run.lock."""
    reading, writing = os.pipe()
    plan_fd = os.memfd_create("hive-plan")
    plan.update(lock_fd=lock_fd, ready_fd=writing)
    os.write(plan_fd, marshal.dumps(plan))
    os.lseek(plan_fd, 0, os.SEEK_SET)
    argv = [*lean_argv("runner"), str(plan_fd), record.session_id]
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    pid = os.fork()
    if pid:
        signal.signal(
            signal.SIGCHLD, signal.SIG_IGN
        )  # a runner that is killed must not stay behind as a zombie of ours
        os.close(writing)
        os.close(plan_fd)
        return Launched(record=record, ready_fd=reading, runner_pid=pid, log_offset=log_offset)
    try:
        os.setsid()
        os.umask(0o022)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _detach(plan["log"])
        for fd in (lock_fd, writing, plan_fd):
            os.set_inheritable(fd, True)
        os.execve(argv[0], argv, dict(env))
    except BaseException as exc:
        os.write(2, f"hive-session: the runner cannot be started: {exc!r}\n".encode())  # into the session's log
    finally:
        os._exit(126)  # nothing of this process may go on as a second command


def _detach(log: str) -> None:
    """Standard input and output from nowhere; standard error into the log, where a traceback of ours would be found."""
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), 2)
