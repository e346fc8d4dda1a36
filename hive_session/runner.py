"""One run of a session: start its agent, watch it, end it, record it. Stdlib only, so that an idle run costs little memory.

Started by launch.py with the session's run.lock already held. The kernel keeps that lock for as long as anything of the run
lives, and drops it at its end: this is all the liveness there is. Records are written by short-lived children of
`hive_session.writer`; the last one this process becomes itself, with the lock still held.
"""

import marshal
import os
import signal
import sys
import time

from hive_session import proctree, witness
from hive_session.slots import Ticket, ticket_name

TYPE_CHECKING = False  # typing itself is left out: it would double this process's start and add to its memory
if TYPE_CHECKING:
    from typing import Any

WATCHED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TICK_S = 1.0  # at most one sample a second
IDLE_TICK_S = 4.0  # where nothing moves, look less often: 100 idle runs must cost next to nothing
HEARTBEAT_S = 30.0  # at least one sample in this time, so that a reader can tell idle from dead
QUEUE_TICK_S = 0.25
SWEEP_GRACE_S = 2.0  # for what the agent left behind
KILL_AGAIN_S = 0.2


def main() -> None:
    """Read the plan that launch.py left in a memory file, named by its descriptor in argv[1], and carry it out."""
    with open(int(sys.argv[1]), "rb") as file:
        plan = marshal.load(file)
    for name in ("lock_fd", "ready_fd"):
        if plan[name] >= 0:
            os.set_inheritable(plan[name], False)
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    Run(plan).carry_out()


class Run:
    """One attempt of one session, from the queue to its record."""

    def __init__(self, plan: "dict[str, Any]") -> None:
        """`plan` is what `launch.plan_run` makes; its keys are listed there."""
        self.plan = plan
        self.witness: witness.Witness | None = None
        self.agent_pid = 0  # set while the agent is this process's own child to wait for
        self.end: tuple[int, int] | None = None  # (exit code, signal) of the agent
        self.requested = ""  # why this run ends its agent itself
        self.spawn_error = ""
        self.recorder = 0  # pid of the writer that records `running`
        self.pump: list[int] = []  # [pid] of the log pump, where the log's filesystem needs one
        self.pump_fds: tuple[int, int] | None = None
        self.rotator = 0
        self.usage = [0.0, 0.0, 0]  # user s, system s, largest resident KiB, of everything reaped
        self.sampler = proctree.Sampler()
        self.last_sample = (0, (0, 0, 0, 0, 0))
        self.tick_s = TICK_S
        self.next_tick = 0.0
        self.took_over = False
        self.kill_at = 0.0
        self.agent_gone_at = 0.0
        self.deadline = 0.0

    def carry_out(self) -> None:
        """Run from beginning to end; does not return."""
        self.announce()
        self.telemetry = os.open(self.plan["telemetry"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self.log = os.open(self.plan["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self.spawn_error = self.plan["spawn_error"]
        if not self.spawn_error and self.wait_for_slot():
            self.start_agent()
            self.watch()
        self.finish()

    def announce(self) -> None:
        """Name this process in run.lock: `stop` finds it there. The lock, not this text, says that it lives."""
        pid = os.getpid()
        os.ftruncate(self.plan["lock_fd"], 0)
        os.pwrite(self.plan["lock_fd"], f"{pid} {proctree.start_ticks(pid)}\n".encode(), 0)

    def wait_for_slot(self) -> bool:
        """Queue for one of MAX_CONCURRENT_SESSIONS; False when the session was stopped meanwhile."""
        if not self.plan["slots"]:
            return True
        name = ticket_name(self.plan["priority"], time.time_ns(), self.plan["session_id"])
        ticket = Ticket(self.plan["slots_dir"], name)
        while (slot := ticket.try_take(self.plan["slots"])) is None:
            self.tell_ready("queued")
            if signal.sigtimedwait(WATCHED, QUEUE_TICK_S) is not None and not self.requested:
                self.requested = self.why_stopped()
                ticket.leave()
                return False
        os.set_inheritable(slot, True)  # the tree holds the slot, as it holds run.lock
        return True

    # -- the agent ---------------------------------------------------------------------------------------------------

    def start_agent(self) -> None:
        stdin = os.open(self.plan["stdin"], os.O_RDONLY | os.O_CLOEXEC)
        output = self.start_pump() if self.plan["pump"] else self.log
        self.deadline = time.monotonic() + self.plan["timeout_s"] if self.plan["timeout_s"] else 0.0
        os.set_inheritable(self.plan["lock_fd"], True)
        self.witness = witness.spawn(
            self.plan["steps"],
            env=self.plan["env"],
            cwd=self.plan["cwd"],
            stdin=stdin,
            stdout=output,
            stderr=output,
            exit_path=self.plan["exit"],
            attempt=self.plan["attempt"],
            new_group=True,
            orphaned=self.take_over,
        )
        os.close(stdin)
        self.hear()
        os.set_blocking(self.witness.fd, False)
        if not self.spawn_error:
            self.recorder = self.write_record("running", f"pid={os.getpid()}")

    def hear(self) -> None:
        """Take in what the witness told; the first time this waits until it told something."""
        assert self.witness is not None
        for word, step, *rest in self.witness.read():
            if word == "pid":
                self.agent_pid = int(rest[0])
            elif word == "error":
                name = self.plan["steps"][int(step)][0]
                self.spawn_error = f"cannot run {name}: {os.strerror(int(rest[0]))}"
            elif word == "end" and (int(step) == len(self.plan["steps"]) - 1 or int(rest[0])):
                self.end = (int(rest[0]), int(rest[1]))

    def take_over(self, step: int, pid: int, pipe: int) -> None:
        """Called in the witness when the runner died: become the runner of the agent that is already this one's child."""
        os.close(pipe)
        self.took_over = True
        self.witness = None
        self.recorder = self.rotator = 0
        self.agent_pid = pid
        if step < len(self.plan["steps"]) - 1:
            self.requested = "lost"  # nobody will start the steps that were still to come
        self.announce()
        self.tell_ready("running")
        self.watch()
        self.finish()

    # -- watching ----------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Until the agent has ended: sample, rotate, enforce the deadline, obey signals."""
        while self.end is None:
            info = signal.sigtimedwait(WATCHED, self.next_wait())
            if info is not None and info.si_signo == signal.SIGCHLD:
                self.reap()
            elif info is not None and not self.requested:
                self.terminate(self.why_stopped())
            self.enforce()
            if time.monotonic() >= self.next_tick:
                self.on_tick()
                self.next_tick = time.monotonic() + self.tick_s

    def next_wait(self) -> float:
        """Seconds until something is due."""
        due = self.next_tick
        if self.deadline and not self.requested:
            due = min(due, self.deadline)
        if self.kill_at:
            due = min(due, self.kill_at)
        return max(0.0, due - time.monotonic())

    def enforce(self) -> None:
        """The deadline, and the end of the grace after it or after a stop."""
        now = time.monotonic()
        if self.kill_at and now >= self.kill_at:
            proctree.send(self.leftovers(), signal.SIGKILL)
            self.kill_at = now + KILL_AGAIN_S
        elif self.deadline and now >= self.deadline and not self.requested:
            self.terminate("timeout")

    def on_tick(self) -> None:
        self.end_of_claude(time.monotonic())
        self.sample()
        self.rotate_log()

    def end_of_claude(self, now: float) -> None:
        """claude-flow 2.x never exits: once the Claude Code beneath it has, wait a little, then end the rest."""
        if not self.plan["settle_s"] or self.requested or not os.path.exists(self.plan["claude_exit"]):
            return
        if not self.agent_gone_at:
            self.agent_gone_at = now
        elif now - self.agent_gone_at >= self.plan["settle_s"]:
            self.terminate("settled")

    def why_stopped(self) -> str:
        """A signal with a stop request behind it is a cancellation; without one the machine is going down."""
        return "cancelled" if os.path.exists(self.plan["stop"]) else "interrupted"

    def terminate(self, why: str) -> None:
        """SIGTERM to the whole tree now; SIGKILL to what is left of it when the grace is over."""
        self.requested = why
        proctree.send(self.leftovers(), signal.SIGTERM)
        self.kill_at = time.monotonic() + self.plan["grace_s"]

    def tree(self) -> list[int]:
        """The agent's processes: everything below this one but our own staff."""
        staff = {self.recorder, self.rotator, *self.pump}
        if self.witness is not None:
            staff.add(self.witness.pid)
        return [pid for pid in proctree.descendants(os.getpid()) if pid not in staff]

    def reap(self) -> None:
        """Collect every child that ended, and draw the conclusion for each."""
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self.usage[0] += used.ru_utime
            self.usage[1] += used.ru_stime
            self.usage[2] = max(self.usage[2], used.ru_maxrss)
            self.on_child_end(pid, status)

    def on_child_end(self, pid: int, status: int) -> None:
        if self.witness is not None:
            self.hear()
        if self.witness is not None and pid == self.witness.pid:
            os.close(self.witness.fd)
            self.witness = None  # where it was killed, its child is now ours: this is the subreaper
        elif pid == self.agent_pid:
            self.end = witness.split_status(status)
            witness.write_exit(
                self.plan["exit"], attempt=self.plan["attempt"], code=self.end[0], signal_number=self.end[1]
            )
        elif pid == self.recorder:
            self.recorder = 0
            self.tell_ready("running")
        elif pid == self.rotator:
            self.rotator = 0
        elif pid in self.pump and self.end is None:
            self.pump[0] = self.spawn_pump()

    # -- telemetry and the log -----------------------------------------------------------------------------------------

    def sample(self) -> None:
        """One `resources` line where something moved, or where the last one is old."""
        self.sampler.take(self.tree(), int((self.usage[0] + self.usage[1]) * 1000))
        at_ms, values = self.last_sample
        now_ms = time.time_ns() // 1_000_000
        moved = self.sampler.differs(values)
        self.tick_s = TICK_S if moved else min(self.tick_s * 1.5, IDLE_TICK_S)
        if moved or now_ms - at_ms >= HEARTBEAT_S * 1000:
            self.last_sample = (now_ms, self.sampler.values())
            cpu, rss, read, write, processes = self.sampler.values()
            line = (
                f'{{"ts":{now_ms},"type":"resources","cpu_ms":{cpu},"rss_bytes":{rss},"read_bytes":{read},'
                f'"write_bytes":{write},"processes":{processes}}}\n'
            )
            try:
                os.write(self.telemetry, line.encode())
            except OSError:
                pass  # a full disk costs samples, never the run

    def rotate_log(self) -> None:
        if self.rotator or self.plan["pump"] or os.fstat(self.log).st_size <= self.plan["rotate_bytes"]:
            return
        argv = [*self.plan["rotate"], self.plan["log"], self.plan["log_base"], str(self.plan["backups"])]
        self.rotator = os.posix_spawn(argv[0], argv, os.environ, setsigmask=())

    def start_pump(self) -> int:
        """Where the log's filesystem cannot drop a file's head: a pipe to a process that writes and rotates the log.

        This process holds both ends, so that a pump that dies is replaced and no agent is hit by SIGPIPE.
        """
        self.pump_fds = os.pipe()
        self.pump.append(self.spawn_pump())
        return self.pump_fds[1]

    def spawn_pump(self) -> int:
        assert self.pump_fds is not None
        argv = [*self.plan["pump_argv"], self.plan["log"], self.plan["log_base"], str(self.plan["backups"])]
        argv.append(str(self.plan["rotate_bytes"]))
        actions = [(os.POSIX_SPAWN_DUP2, self.pump_fds[0], 0)]
        return os.posix_spawn(argv[0], argv, os.environ, file_actions=actions, setsigmask=())

    # -- the record ----------------------------------------------------------------------------------------------------

    def write_record(self, *words: str) -> int:
        argv = [*self.plan["writer"], self.plan["session_id"], *words]
        return os.posix_spawn(argv[0], argv, os.environ, setsigmask=())

    def tell_ready(self, word: str) -> None:
        """Tell the CLI that waits in `start --detach`; it may be long gone."""
        if self.plan["ready_fd"] >= 0:
            try:
                os.write(self.plan["ready_fd"], word.encode() + b"\n")
                os.close(self.plan["ready_fd"])
            except OSError:
                pass
            self.plan["ready_fd"] = -1

    def finish(self) -> None:
        """End what the agent left behind, then become the process that writes the record; run.lock stays held."""
        self.sweep()
        self.sample()
        self.close_pump()
        while self.recorder:
            signal.sigtimedwait((signal.SIGCHLD,), 1.0)
            self.reap()
        words = [
            "end",
            f"requested={'' if self.requested == 'settled' else self.requested}",
            f"cpu_user_ms={int(self.usage[0] * 1000)}",
            f"cpu_system_ms={int(self.usage[1] * 1000)}",
            f"max_rss_bytes={self.usage[2] * 1024}",
            f"read_bytes={self.sampler.read_bytes}",
            f"write_bytes={self.sampler.write_bytes}",
        ]
        if self.end is not None:
            words += [f"exit_code={self.end[0]}", f"signal={self.end[1] or ''}"]
        if self.spawn_error:
            words.append(f"spawn_error={self.spawn_error}")
        os.set_inheritable(self.plan["lock_fd"], True)
        if self.plan["ready_fd"] >= 0:
            os.set_inheritable(self.plan["ready_fd"], True)  # closed at exec's end: the waiting CLI sees the end
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execv(self.plan["writer"][0], [*self.plan["writer"], self.plan["session_id"], *words])

    def sweep(self) -> None:
        """SIGTERM, then SIGKILL, to every process of this session that outlived its agent, until there is none."""
        kill_at = time.monotonic() + SWEEP_GRACE_S
        proctree.send(self.leftovers(), signal.SIGTERM)
        while left := self.leftovers():
            if time.monotonic() >= kill_at:
                proctree.send(left, signal.SIGKILL)
            signal.sigtimedwait((signal.SIGCHLD,), KILL_AGAIN_S)
            self.reap()

    def leftovers(self) -> list[int]:
        """The tree without sessions started from inside this one: those live on by themselves.

        As the subreaper, the runner has everything below it; a witness in its place also looks at environments.
        """
        session_id = self.plan["session_id"]
        found = [pid for pid in self.tree() if proctree.session_of(pid) in (None, session_id)]
        if self.took_over:
            found += [pid for pid in proctree.marked(session_id) if pid not in found and pid not in self.pump]
        return found

    def close_pump(self) -> None:
        """Let the log pump drain what the agent wrote, and wait for it."""
        if self.pump_fds is None:
            return
        os.close(self.pump_fds[1])
        os.close(self.pump_fds[0])
        while self.pump:
            try:
                os.waitpid(self.pump.pop(), 0)
            except ChildProcessError:
                pass  # the runner that started it is gone; it drains the pipe all the same
