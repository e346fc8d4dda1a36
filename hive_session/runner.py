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
from hive_session.appending import append_lines
from hive_session.sampler import Sampler
from hive_session.slots import Ticket, ticket_name, wake_first

TYPE_CHECKING = False  # typing itself is left out: it would double this process's start and add to its memory
if TYPE_CHECKING:
    from typing import Any

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
WATCHED = (signal.SIGCHLD, *STOPPING)
QUEUE_TICK_S = 1.0  # who frees a slot wakes the next; this is for one that was freed by a crash
SWEEP_GRACE_S = 2.0  # for what the agent left behind
SWEEP_LIMIT_S = 15.0  # what outlives SIGKILL is stuck in the kernel or not ours to end: the record must not wait
DRAIN_LIMIT_S = 10.0  # for the log pump; where the disk is full it goes on by itself
KILL_AGAIN_S = 0.2


def main() -> None:
    """Read the plan that launch.py left in a memory file, named by its descriptor in argv[1], and carry it out."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a caller that ignored it would keep every exit code from us
    with open(int(sys.argv[1]), "rb") as file:
        plan = marshal.load(file)
    close_all_but({plan["lock_fd"], plan["ready_fd"]})
    Run(plan).carry_out()


def close_all_but(kept: set[int]) -> None:
    """Close what the caller of `start` left open: it may be the run.lock of a session that this one was started from."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd in kept:
            os.set_inheritable(fd, False)
        elif fd > 2:
            try:
                os.close(fd)
            except OSError:
                continue  # the one that read the directory


class Run:
    """One attempt of one session, from the queue to its record."""

    def __init__(self, plan: "dict[str, Any]") -> None:
        """`plan` is what `launch._plan` makes; its keys are listed there."""
        self.plan = plan
        self.last_step = len(plan["steps"]) - 1
        # `marked` finds the session's processes by this variable; our own staff is none of them.
        self.staff_env = {name: value for name, value in os.environ.items() if name != "HIVE_SESSION_ID"}
        self.witness: witness.Witness | None = None
        self.took_over = False  # this process was the witness, and its runner died
        self.slot = -1  # descriptor of the slot that it has; -1 where none is needed
        self.step = 0
        self.agent_pid = 0  # of the step that runs; 0 between two steps
        self.over = False
        self.end: tuple[int, int] | None = None  # (exit code, signal) of the agent; None where nobody saw it
        self.requested = ""  # why this run ends its agent itself
        self.spawn_error = ""
        self.recorder = 0  # pid of the writer that records `running`
        self.unrecorded = False  # no such writer could be started yet
        self.rotator = 0
        self.pump: list[int] = []  # [pid] of the log pump, where the log's filesystem needs one
        self.pump_fds: tuple[int, int] | None = None
        self.pump_at = 0.0  # when to start another in place of one that died
        self.sampler = Sampler()
        self.untold = b""
        self.next_tick = 0.0
        self.kill_at = 0.0
        self.agent_gone_at = 0.0
        self.deadline = 0.0

    def carry_out(self) -> None:
        """Run from beginning to end; does not return."""
        self.announce()
        append = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self.telemetry = os.open(self.plan["telemetry"], append, 0o644)
        self.log = os.open(self.plan["log"], append, 0o644)
        os.close(os.open(self.plan["log_base"], append, 0o644))  # from now on readers of the log can hold off rotation
        self.spawn_error = self.plan["spawn_error"]
        if not self.spawn_error and self.wait_for_slot():
            self.start_agent()
            self.watch()
        self.finish()

    def announce(self) -> None:
        """Name this process in run.lock: `stop` finds it there. The lock, not this text, says that it lives."""
        line = f"{os.getpid()} {proctree.start_ticks(os.getpid())}\n".encode()
        os.ftruncate(self.plan["lock_fd"], os.pwrite(self.plan["lock_fd"], line, 0))

    def wait_for_slot(self) -> bool:
        """Queue for one of MAX_CONCURRENT_SESSIONS; False when the session was stopped meanwhile."""
        if not self.plan["slots"]:
            return True
        name = ticket_name(self.plan["priority"], time.time_ns(), self.plan["session_id"])
        ticket = Ticket(self.plan["slots_dir"], name)
        while (slot := ticket.try_take(self.plan["slots"])) is None:
            self.tell_ready("queued")
            info = signal.sigtimedwait(WATCHED, QUEUE_TICK_S)
            if info is not None and info.si_signo in STOPPING:
                self.requested = self.why_stopped()
                ticket.leave()
                return False
        os.set_inheritable(slot, True)  # the tree holds the slot, as it holds run.lock
        self.slot = slot
        return True

    def free_slot(self) -> None:
        """Let the next one run; what is left of the tree, if anything is, goes on holding the slot."""
        if self.slot >= 0:
            os.close(self.slot)
            wake_first(self.plan["slots_dir"])

    # -- the agent ---------------------------------------------------------------------------------------------------

    def start_agent(self) -> None:
        os.set_inheritable(self.plan["lock_fd"], True)
        self.deadline = time.monotonic() + self.plan["timeout_s"] if self.plan["timeout_s"] else 0.0
        try:
            self.witness = self.spawn_witness()
        except OSError as exc:
            self.spawn_error = f"cannot start the agent: {exc.strerror}"
            self.over = True
            return
        self.hear()
        os.set_blocking(self.witness.fd, False)
        if not self.spawn_error:
            self.record_running()

    def spawn_witness(self) -> witness.Witness:
        stdin = os.open(self.plan["stdin"], os.O_RDONLY | os.O_CLOEXEC)
        output = self.start_pump() if self.plan["pump"] else self.log
        try:
            return witness.spawn(
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
        finally:
            os.close(stdin)

    def hear(self) -> None:
        """Take in what the witness told; the first time this waits until it told something."""
        assert self.witness is not None
        for word, step, *rest in self.witness.read():
            self.step = int(step)
            self.agent_pid = int(rest[0]) if word == "pid" else 0
            if word == "error":
                name = self.plan["steps"][self.step][0]
                self.spawn_error = f"cannot run {name}: {os.strerror(int(rest[0]))}"
            elif word == "over":
                self.end = (int(rest[0]), int(rest[1]))
                self.over = True

    def take_over(self, step: int, pid: int, pipe: int) -> None:
        """Called in the witness when the runner died: become the runner of the agent that is this one's child already."""
        os.close(pipe)
        self.took_over = True
        self.step, self.agent_pid = step, pid
        self.announce()
        self.record_running()
        if self.pump:
            self.replace_pump()  # it waits its turn behind the one that the runner had
        self.reap()
        self.enforce()
        if not self.over and not self.requested and self.why_stopped() == "cancelled":
            self.terminate("cancelled")  # the signal may have gone to the runner
        self.watch()
        self.finish()

    # -- watching ----------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Until the agent has ended: sample, rotate, enforce the deadline, obey signals."""
        while self.goes_on():
            info = signal.sigtimedwait(WATCHED, self.next_wait())
            self.reap()  # first: an agent that had ended by itself before the signal was not stopped by it
            if info is not None and info.si_signo in STOPPING and not self.requested and self.goes_on():
                self.terminate(self.why_stopped())
            self.enforce()
            self.mend_pump()
            if time.monotonic() >= self.next_tick:
                self.on_tick()
                self.next_tick = time.monotonic() + self.sampler.tick_s

    def goes_on(self) -> bool:
        return not self.over or self.claude_works_on()

    def claude_works_on(self) -> bool:
        """Claude Code outlives an agent or tap that was killed: it may finish its work, and its end is the session's."""
        return os.path.exists(f"{self.plan['claude_exit']}.tmp") and bool(self.leftovers())

    def next_wait(self) -> float:
        """Seconds until something is due."""
        deadline = 0.0 if self.requested else self.deadline
        due = min((self.next_tick, *filter(None, (deadline, self.kill_at, self.pump_at))))
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
        if self.unrecorded:
            self.record_running()
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
        if self.witness is not None and self.step < self.last_step:
            proctree.send([self.witness.pid], signal.SIGTERM)  # begin no further step
        proctree.send(self.leftovers(), signal.SIGTERM)
        self.kill_at = time.monotonic() + self.grace_s()

    def grace_s(self) -> float:
        """As the stop request says, else as configured."""
        try:
            with open(self.plan["stop"], "rb") as file:
                return float(file.read().split()[1])
        except (OSError, IndexError, ValueError):
            return float(self.plan["grace_s"])

    def tree(self) -> list[int]:
        """The agent's processes: all below this one but our own staff, and sessions started from inside, which live on."""
        keeper = 0 if self.witness is None else self.witness.pid
        staff = {self.recorder, self.rotator, *self.pump}
        own = (None, self.plan["session_id"])
        found = proctree.descendants(os.getpid(), lambda pid: pid not in staff and proctree.session_of(pid) in own)
        return [pid for pid in found if pid != keeper]

    def leftovers(self) -> list[int]:
        """The tree; a witness in the runner's place, who is no subreaper, also looks at environments."""
        found = self.tree()
        return list({*found, *proctree.marked(self.plan["session_id"])}) if self.took_over else found

    def reap(self) -> None:
        """Collect every child that ended, and draw the conclusion for each."""
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid not in (self.recorder, self.rotator, *self.pump):
                self.sampler.count(used)
            self.on_child_end(pid, status)

    def on_child_end(self, pid: int, status: int) -> None:
        if self.witness is not None:
            self.hear()
        if self.witness is not None and pid == self.witness.pid:
            os.close(self.witness.fd)
            self.witness = None  # where it was killed, its child is now ours: this is the subreaper
            if not self.over and not self.agent_pid:
                self.lose()
        elif pid == self.agent_pid:
            self.on_agent_end(witness.split_status(status))
        elif pid == self.recorder:
            self.recorder = 0
            self.tell_ready("running")
        elif pid == self.rotator:
            self.rotator = 0
        elif pid in self.pump:
            self.pump = []
            self.pump_at = time.monotonic() + KILL_AGAIN_S if status else 0.0

    def on_agent_end(self, end: tuple[int, int]) -> None:
        """The agent was this process's own child, for want of a witness."""
        self.end = end
        if end[0] == 0 and self.step < self.last_step:
            self.lose()  # nobody starts the steps that were still to come
        else:
            witness.write_exit(self.plan["exit"], attempt=self.plan["attempt"], code=end[0], signal_number=end[1])
        self.over = True

    def lose(self) -> None:
        self.requested = self.requested or "lost"
        self.over = True

    # -- telemetry and the log -----------------------------------------------------------------------------------------

    def sample(self) -> None:
        """What the tree uses now, into telemetry where it is worth a line."""
        self.sampler.take(self.tree())
        line = self.untold or self.sampler.line(time.monotonic(), time.time_ns() // 1_000_000).encode()
        try:
            self.untold = append_lines(self.telemetry, line)
        except OSError:
            pass  # a full disk costs samples, never the run

    def rotate_log(self) -> None:
        if self.rotator or self.plan["pump"] or os.fstat(self.log).st_size <= self.plan["rotate_bytes"]:
            return
        try:
            self.rotator = self.spawn_staff([*self.plan["rotate"], *self.log_words()])
        except OSError:
            return  # no process to be had, which an agent that forks may see to: the next tick tries again

    def log_words(self) -> list[str]:
        return [self.plan["log"], self.plan["log_base"], str(self.plan["backups"]), self.plan["telemetry"]]

    def start_pump(self) -> int:
        # This process holds both ends, so that a pump that dies is replaced and no agent is hit by SIGPIPE.
        self.pump_fds = os.pipe()
        self.pump = [self.spawn_pump()]
        return self.pump_fds[1]

    def spawn_pump(self) -> int:
        assert self.pump_fds is not None
        argv = [*self.plan["pump_argv"], *self.log_words(), str(self.plan["rotate_bytes"])]
        return self.spawn_staff(argv, ((os.POSIX_SPAWN_DUP2, self.pump_fds[0], 0),))

    def mend_pump(self) -> None:
        """Start another pump in place of one that died, not at once: what killed it may go on."""
        if self.pump_at and time.monotonic() >= self.pump_at:
            self.replace_pump()

    def replace_pump(self) -> None:
        try:
            self.pump, self.pump_at = [self.spawn_pump()], 0.0
        except OSError:
            self.pump, self.pump_at = [], time.monotonic() + KILL_AGAIN_S

    def close_pump(self) -> None:
        """Let the log pump drain what the agent wrote, and wait for it."""
        if self.pump_fds is None:
            return
        os.close(self.pump_fds[1])
        give_up_at = time.monotonic() + DRAIN_LIMIT_S
        while (self.pump or self.pump_at) and time.monotonic() < give_up_at:
            signal.sigtimedwait((signal.SIGCHLD,), KILL_AGAIN_S)
            self.reap()
            self.mend_pump()

    # -- the record ----------------------------------------------------------------------------------------------------

    def record_running(self) -> None:
        """Have it recorded that the agent runs; where no process can be had for that, the next tick tries again."""
        words = [*self.plan["writer"], self.plan["session_id"], "running", f"pid={os.getpid()}"]
        try:
            self.recorder = self.spawn_staff(words)
        except OSError:
            self.recorder = 0
        self.unrecorded = not self.recorder

    def spawn_staff(self, argv: list[str], actions: "tuple[tuple[int, int, int], ...]" = ()) -> int:
        return os.posix_spawn(argv[0], argv, self.staff_env, file_actions=actions, setsigmask=())

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
        while self.recorder or self.witness is not None:
            signal.sigtimedwait((signal.SIGCHLD,), 1.0)
            self.reap()
        self.close_pump()
        self.free_slot()  # before the record, whose making takes its time
        self.sample()
        requested = "" if self.requested == "settled" else self.requested
        words = ["end", f"requested={requested}", *self.sampler.totals()]
        if self.end is not None:
            words += [f"exit_code={self.end[0]}", f"signal={self.end[1] or ''}"]
        if self.spawn_error:
            words.append(f"spawn_error={self.spawn_error}")
        os.set_inheritable(self.plan["lock_fd"], True)
        if self.plan["ready_fd"] >= 0:
            os.set_inheritable(self.plan["ready_fd"], True)  # closed at exec's end: the waiting CLI sees the end
        for number in (*STOPPING, signal.SIGIO):
            signal.signal(number, signal.SIG_IGN)  # the agent has ended; nothing shall keep its end from being recorded
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execv(self.plan["writer"][0], [*self.plan["writer"], self.plan["session_id"], *words])

    def sweep(self) -> None:
        """SIGTERM, then SIGKILL, to every process of this session that outlived its agent, until there is none."""
        began = time.monotonic()
        proctree.send(self.leftovers(), signal.SIGTERM)
        while (left := self.leftovers()) and time.monotonic() < began + SWEEP_LIMIT_S:
            if time.monotonic() >= began + SWEEP_GRACE_S:
                proctree.send(left, signal.SIGKILL)
            signal.sigtimedwait((signal.SIGCHLD,), KILL_AGAIN_S)
            self.reap()
