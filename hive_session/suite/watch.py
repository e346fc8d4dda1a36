"""The watch over the programs: looks how they are, asks those that run, and has supervisord do what misses.py decides.

Stdlib only, few imports: it stays in memory for ever.
"""

import json
import os
import time

from hive_session.proctree import start_ticks
from hive_session.suite.control import EXITED, FATAL, RUNNING, Control, NoAnswer, Program
from hive_session.suite.misses import Rules, Watched
from hive_session.suite.probes import FULL, OK, SILENT, UNKNOWN, Answer, Beside, Question, ask_all, worst

TYPE_CHECKING = False  # typing stays out of the lean listener
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

STATE_FILE = "health.json"  # in HIVE_RUN_DIR
TAIL_BYTES = 4096
LINE_CHARS = 500
HURRIES, HURRY_S = (
    25,
    0.02,
)  # how often supervisord is asked after a death, and the pause; a program may not be restarted


class Watch:
    """What is known of all programs, and what is done about it.

    `whom` gives what to ask now by the name of a program, `limit_s` is for all answers together, `tell` takes level, event
    and further fields, `path` is that of the state file.
    """

    def __init__(
        self,
        control: Control,
        whom: "Callable[[], Mapping[str, Sequence[Question]]]",
        rules: Rules,
        limit_s: float,
        tell: "Callable[..., None]",
        path: str,
        beside: Beside | None = None,
    ) -> None:
        self._control = control
        self._whom = whom
        self._rules = rules
        self._limit_s = limit_s
        self._tell = tell
        self._path = path
        self._beside = beside
        self._of: dict[str, Watched] = {}
        self._seen: dict[str, tuple[Program, Answer | None]] = {}
        self._mute = False  # supervisord did not answer, and that was told
        self._unwritten = False  # the same of the state file
        self._written = b""
        self._resume()

    def look(self) -> None:
        """Take in how supervisord says that the programs are; see to those it has given up."""
        programs = self._programs()
        if programs is None:
            return
        now_s = time.monotonic()
        for program in programs:
            watched = self._of.setdefault(program.name, Watched(self._rules))
            if program.state == RUNNING:
                self._runs(program, watched, now_s)
            elif program.state == FATAL:
                self._fatal(program, watched, now_s)
        self._seen = {each.name: (each, self._last_answer(each)) for each in programs}
        self._write()

    def ask(self) -> None:
        """Look, and ask all that run whether they answer."""
        self.look()
        wanted = self._whom()
        running = [program for program, _ in self._seen.values() if program.state == RUNNING]
        asked = [(program, question) for program in running for question in wanted.get(program.name, ())]
        answers = ask_all([question for _, question in asked], self._limit_s, self._beside)
        now_s = time.monotonic()
        for program in running:
            given = [answer for (whom, _), answer in zip(asked, answers, strict=True) if whom is program]
            if given:
                self._judge(program, worst(given), now_s)
            else:
                self._of[program.name].well(now_s)
        self._write()

    @property
    def processes(self) -> set[int]:
        """The pids of all programs but our own, as of the last look."""
        return {program.pid for program, _ in self._seen.values()} - {0, os.getpid()}

    def hurry(self, ended: set[int]) -> None:
        """Have supervisord notice that these processes have ended, and start what follows: it does when it is asked how it is."""
        names = [program.name for program, _ in self._seen.values() if program.pid in ended]
        for _ in range(HURRIES):
            self.look()
            if self._mute or all(self._is_followed(name, ended) for name in names):
                return
            time.sleep(HURRY_S)

    def _is_followed(self, name: str, ended: set[int]) -> bool:
        if name not in self._seen:
            return True
        program = self._seen[name][0]
        return program.pid not in ended and program.state != EXITED

    def _programs(self) -> list[Program] | None:
        try:
            found = self._control.programs()
        except NoAnswer as exc:
            if not self._mute:
                self._tell("error", "no-supervisord", detail=str(exc))
            self._mute = True
            return None
        self._mute = False
        return found

    def _last_answer(self, program: Program) -> Answer | None:
        """What the process that runs now has answered."""
        before, answer = self._seen.get(program.name, (None, None))
        return answer if before and (before.pid, before.state) == (program.pid, program.state) else None

    def _runs(self, program: Program, watched: Watched, now_s: float) -> None:
        news = program.pid != watched.pid
        was_fatal = watched.runs(program.pid, now_s)
        if news:
            again = {"was": FATAL} if was_fatal else {}
            self._tell("info", "runs", about=program.name, process=program.pid, restarts=watched.restarts, **again)

    # -- those that are given up ---------------------------------------------------------------------------------------

    def _fatal(self, program: Program, watched: Watched, now_s: float) -> None:
        if watched.is_fatal(now_s):
            self._tell(
                "error",
                "fatal",
                about=program.name,
                detail=program.why,
                last_line=last_line(program.error_log),
                error_log=program.error_log,
                retry_in_s=round(watched.retry_in_s(now_s)),
            )
        elif watched.to_be_tried(now_s):
            self._tell("info", "fatal-tried-again", about=program.name, tries=watched.tries)
            self._command(program, self._control.start)

    # -- those that run ------------------------------------------------------------------------------------------------

    def _judge(self, program: Program, answer: Answer, now_s: float) -> None:
        watched = self._of[program.name]
        before = self._seen[program.name][1]
        if answer.health == SILENT:
            self._silent(program, watched, answer, now_s)
        elif answer.health != UNKNOWN:
            if watched.misses:
                self._tell("info", "answers-again", about=program.name, process=program.pid, misses=watched.misses)
            watched.well(now_s)
        told = before.health if before else OK
        if answer.health in (FULL, UNKNOWN) and told != answer.health:
            self._tell("warning", answer.health, about=program.name, detail=answer.detail)
        self._seen[program.name] = program, answer

    def _silent(self, program: Program, watched: Watched, answer: Answer, now_s: float) -> None:
        restart = watched.missed(now_s)
        if watched.misses == 1:
            self._tell("warning", "silent", about=program.name, process=program.pid, detail=answer.detail)
        if restart:
            fields = {"misses": watched.misses, "kills": watched.kills, "detail": answer.detail}
            self._tell("error", "restart", about=program.name, process=program.pid, **fields)
            self._command(program, self._control.kill)

    def _command(self, program: Program, do: "Callable[[str], None]") -> None:
        """Have supervisord do something to this process, not to one that took its place meanwhile."""
        try:
            now = self._control.program(program.name)
            if (now.pid, now.state) == (program.pid, program.state):
                do(program.name)
        except NoAnswer as exc:
            self._tell("error", "not-obeyed", about=program.name, detail=str(exc))

    # -- what others may know ------------------------------------------------------------------------------------------

    def _write(self) -> None:
        """Put the state down where it changed; the file's time says that we looked."""
        told = {name: self._told(program, answer) for name, (program, answer) in self._seen.items()}
        data = json.dumps({"schema": 1, "supervisor": _supervisor(), "programs": told}).encode()
        try:
            if data == self._written:
                os.utime(self._path)
            else:
                with open(f"{self._path}.new", "wb") as file:
                    file.write(data)
                os.replace(f"{self._path}.new", self._path)
            self._written, self._unwritten = data, False
        except OSError as exc:
            self._written = b""
            if not self._unwritten:
                self._tell("warning", "not-written", detail=f"{self._path}: {exc.strerror}")
            self._unwritten = True

    def _told(self, program: Program, answer: Answer | None) -> "dict[str, Any]":
        watched = self._of.get(program.name)
        return {
            "state": program.state,
            "health": answer.health if answer else None,
            "detail": answer.detail if answer else program.why,
            "misses": watched.misses if watched else 0,
            **(watched.saved() if watched else {}),
        }

    def _resume(self) -> None:
        """Go on where the listener before us left off, if it was the same supervisord's."""
        try:
            with open(self._path, "rb") as file:
                found = json.loads(file.read(1 << 20))
            if found["supervisor"] != _supervisor():
                return
            for name, told in found["programs"].items():
                if "pid" in told:
                    self._of[name] = Watched(self._rules)
                    self._of[name].resume(told, time.monotonic())
        except FileNotFoundError:
            return
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            self._of.clear()
            self._tell("warning", "not-resumed", detail=f"{self._path} cannot be read")


def _supervisor() -> list[int | None]:
    """What names the supervisord above us for ever: its pid, and when it began."""
    return [os.getppid(), start_ticks(os.getppid())]


def last_line(path: str) -> str:
    """What the last line of a log that says something says, whether in JSON or in words; "" where there is none."""
    try:
        with open(path, "rb", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).split(b"\n")
    except OSError:
        return ""
    said = [line for line in lines if line.strip()]
    line = said[-1].decode("utf-8", "replace").strip() if said else ""
    try:
        line = str(json.loads(line)["message"])
    except (ValueError, TypeError, KeyError, RecursionError):
        pass  # words
    return line[-LINE_CHARS:]
