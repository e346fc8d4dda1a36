"""Asks supervisord over its unix socket: the few calls of its XML-RPC that we need, by hand.

The library's way takes 7 MB of memory that would stay for ever. What supervisord writes is of one plain form.
"""

import errno
import os
import re

from hive_session.suite.probes import SILENT, Answer, Question, ask_all

TYPE_CHECKING = False  # typing stays out of the lean listener
if TYPE_CHECKING:
    from collections.abc import Iterable

    from hive_session.suite.probes import Beside

SOCKET = "supervisor.sock"  # in HIVE_RUN_DIR
LIMIT_S = 2.0
MAX_BYTES = 4 << 20
RUNNING, EXITED, FATAL = "RUNNING", "EXITED", "FATAL"  # supervisord's own words for how a program is

GONE = tuple(os.strerror(number).lower() for number in (errno.ENOENT, errno.ECONNREFUSED))

_MEMBER = re.compile(r"<name>(\w+)</name>\s*<value>\s*(?:<(int|i4|string|boolean)>([^<]*)</\2>|<(?:string|nil) ?/>)")
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&"))


class NoAnswer(Exception):
    """Why supervisord did not do what it was asked."""


class NotThere(NoAnswer):
    """There is no supervisord."""


class Program:
    """What supervisord says of one program. `pid` is 0 and `up_s` 0 where it does not run."""

    __slots__ = ("error_log", "name", "pid", "state", "up_s", "why")

    def __init__(self, members: "dict[str, str]") -> None:
        group, name = members["group"], members["name"]
        self.name = name if group == name else f"{group}:{name}"
        self.state = members["statename"]
        self.pid = int(members["pid"])
        self.up_s = max(0, int(members["now"]) - int(members["start"])) if self.pid else 0
        self.why = members.get("spawnerr", "")  # why it cannot be started
        self.error_log = members.get("stderr_logfile", "")  # a path; "" where there is none


def socket_of(server_url: str) -> str:
    """The path in SUPERVISOR_SERVER_URL; "" for any other address."""
    scheme, _, path = server_url.partition("://")
    return path if scheme == "unix" else ""


class Control:
    """supervisord behind the unix socket at `path`. Every call raises NoAnswer. `beside` is seen to while it waits."""

    def __init__(self, path: str, beside: "Beside | None" = None) -> None:
        self._path = path
        self._beside = beside

    def programs(self) -> list[Program]:
        """All programs there are, in the order of their names."""
        return parse_programs(self._call("supervisor.getAllProcessInfo"))

    def program(self, name: str) -> Program:
        """One program, as it is now."""
        return parse_programs(self._call("supervisor.getProcessInfo", name))[0]

    def pid(self) -> int:
        """supervisord's own."""
        found = re.search(r"<int>(\d+)</int>", self._call("supervisor.getPID"))
        if not found:
            raise NoAnswer("supervisord did not tell its pid")
        return int(found[1])

    def kill(self, name: str) -> None:
        """SIGKILL to a program, which supervisord starts anew as after any unexpected end."""
        self._call("supervisor.signalProcess", name, "KILL")

    def start(self, name: str) -> None:
        """Have a program started; this does not wait until it runs."""
        self._call("supervisor.startProcess", name, False)

    def _call(self, method: str, *values: "str | bool") -> str:
        received: list[bytes] = []

        def judge(data: bytes, ended: bool) -> Answer | None:
            if len(data) > MAX_BYTES:
                return Answer(SILENT, "its answer has no end")
            received[:] = [data]
            return Answer("ok") if ended else None

        question = Question(self._path, self._path, encode_call(method, values), judge)
        (answer,) = ask_all([question], LIMIT_S, self._beside)
        if answer.health != "ok":
            kind = NotThere if answer.detail in GONE else NoAnswer
            raise kind(f"supervisord at {self._path}: {answer.detail}")
        return parse_response(received[0])


def encode_call(method: str, values: "Iterable[str | bool]") -> bytes:
    """A call as an HTTP request; HTTP/1.0, so that the end of the response is that of the connection."""
    params = "".join(f"<param><value>{_encoded(value)}</value></param>" for value in values)
    body = f"<?xml version='1.0'?><methodCall><methodName>{method}</methodName><params>{params}</params></methodCall>"
    data = body.encode()
    return b"POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)


def _encoded(value: str | bool) -> str:
    if isinstance(value, bool):
        return f"<boolean>{value:d}</boolean>"
    for entity, char in reversed(_ENTITIES):
        value = value.replace(char, entity)
    return f"<string>{value}</string>"


def parse_response(data: bytes) -> str:
    """The body of an HTTP response. Raises: NoAnswer for an error, and for what is none."""
    head, _, body = data.partition(b"\r\n\r\n")
    status = head.partition(b"\r\n")[0].split(b" ")
    if len(status) < 2 or status[1] != b"200":
        raise NoAnswer(f"supervisord answered {head[:60].decode('latin-1')!a}")
    text = body.decode("utf-8", "replace")
    if "<fault>" in text:
        raise NoAnswer(f"supervisord refused: {_members(text).get('faultString', 'it did not say why')}")
    return text


def parse_programs(text: str) -> list[Program]:
    """The programs in an answer to getProcessInfo or getAllProcessInfo. Raises: NoAnswer for anything else."""
    try:
        found = [Program(_members(struct)) for struct in text.split("<struct>")[1:]]
    except (KeyError, ValueError) as exc:
        raise NoAnswer(f"supervisord's answer is not understood: {exc}") from None
    return found


def _members(text: str) -> dict[str, str]:
    members = {}
    for name, _, value in _MEMBER.findall(text):
        for entity, char in _ENTITIES:
            value = value.replace(entity, char)
        members[name] = value
    return members
