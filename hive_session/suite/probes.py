"""Asks servers, all at once and within one limit of time, whether they answer: MCP's ping, a path over HTTP.

The rules of this file:
- One that hangs delays no other: nothing waits but `ask_all`, for all of them together.
- What does not prove a hang is no miss: a full house answers too, and what we could not ask was not asked.
- No token is brought. A refusal proves as much as an answer, and guesses from our address could make us wait for the latter.
"""

import errno
import json
import os
import select
import socket
import time

TYPE_CHECKING = False  # typing stays out of the lean listener
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Judge = Callable[[bytes, bool], "Answer | None"]  # what came, and whether no more will -> None: more must come

# How a server is, the worst last.
OK, FULL, LOADING, UNKNOWN, SILENT = HEALTHS = "ok", "full", "loading", "unknown", "silent"

MCP_SERVER, RELAY, PROXY = "mcp-tcp-server", "mcp-ws-bridge", "claude-flow-tcp"  # names of programs
COMMANDS = {MCP_SERVER: "mcp-tcp", RELAY: "ws-relay", PROXY: "mcp-tcp-proxy"}  # what they are called by themselves
LOOPBACK = "127.0.0.1"
NEAR = {"0.0.0.0": LOOPBACK, "::": "::1"}  # who listens on all addresses listens on these
REFUSED = -32000  # the code with which mcp-tcp turns away
MAX_ANSWER_BYTES = 64 << 10
MAX_HOST_CHARS = 256
LATE_S = 1.0  # we were not given the processor for so long: that nobody answered us proves nothing
# These say that we lack something, not the server: descriptors, memory, local ports.
OUR_TROUBLE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM)


class Answer:
    """How a server is: one of HEALTHS, and for people why."""

    __slots__ = ("detail", "health")

    def __init__(self, health: str, detail: str = "") -> None:
        self.health = health
        self.detail = detail


def worst(answers: "Sequence[Answer]") -> Answer:
    """The worst of the answers to several questions."""
    return max(answers, key=lambda answer: HEALTHS.index(answer.health))


# -- what is asked, and what the answer means --------------------------------------------------------------------------


class Question:
    """Bytes for one address, and how what comes back is judged. `place` names the address for people."""

    __slots__ = ("address", "judge", "place", "request")

    def __init__(self, place: str, address: "tuple[str, int] | str", request: bytes, judge: "Judge") -> None:
        self.place = place
        self.address = address  # a text: the path of a unix socket
        self.request = request
        self.judge = judge


def mcp_ping(host: str, port: int) -> Question:
    """Does this MCP server answer a line of JSON-RPC?"""
    request = b'{"jsonrpc":"2.0","id":"hive-health","method":"ping"}\n'
    return Question(f"{host}:{port}", (host, port), request, judge_ping)


def http_get(host: str, port: int, path: str) -> Question:
    """Does this HTTP server answer? 503 is that of one that is not ready yet."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
    return Question(f"{host}:{port}{path}", (host, port), request.encode("ascii"), judge_http)


def judge_ping(data: bytes, ended: bool) -> Answer | None:
    """What the first line that came back means. None: more must come."""
    line, found, _ = data.partition(b"\n")
    if not found:
        return _unfinished(data, ended, "it closed the connection without an answer")
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if type(message) is not dict or message.get("jsonrpc") != "2.0":
        return Answer(SILENT, f"no answer of an MCP server: {_shown(line)}")
    error = message.get("error")
    if message.get("id") == "hive-health" and ("result" in message or type(error) is dict):
        return Answer(OK)
    if message.get("id") is None and type(error) is dict and error.get("code") == REFUSED:
        return Answer(FULL, str(error.get("message", ""))[:200])
    return Answer(SILENT, f"another answer than to what was asked: {_shown(line)}")


def judge_http(data: bytes, ended: bool) -> Answer | None:
    """What the first line of a response means. None: more must come."""
    line, found, _ = data.partition(b"\r\n")
    if not found:
        # Whoever accepts and hangs up does not hang: our servers treat the connections beyond their limit so.
        return Answer(FULL, "it closes new connections at once") if ended and not data else _unfinished(data, ended, "")
    version, _, rest = line.partition(b" ")
    status = rest[:3]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or not status.isdigit():
        return Answer(SILENT, f"no HTTP: {_shown(line)}")
    if status == b"200":
        return Answer(OK)
    return Answer(LOADING, "it is still reading the sessions") if status == b"503" else Answer(SILENT, _shown(line))


def _unfinished(data: bytes, ended: bool, nothing: str) -> Answer | None:
    if len(data) >= MAX_ANSWER_BYTES:
        return Answer(SILENT, f"{len(data)} bytes without an end: {_shown(data)}")
    if ended:
        return Answer(SILENT, f"it broke off after {_shown(data)}" if data else nothing)
    return None


def _shown(data: bytes) -> str:
    """Bytes of anybody's for people, without what could move a cursor."""
    return ascii(data[:60].decode("latin-1"))


# -- whom to ask -------------------------------------------------------------------------------------------------------


def questions(env: "Mapping[str, str]") -> "dict[str, list[Question]]":
    """What to ask each server of the suite at this moment, by its program; `env` as the servers themselves take it.

    Raises: ValueError for a port that is no number.
    """
    mcp, relay, proxy = (host_of(env, program) for program in (MCP_SERVER, RELAY, PROXY))
    mcp_health = port_of(env, "MCP_HEALTH_PORT", 9501)
    asked = {
        MCP_SERVER: [mcp_ping(mcp, port_of(env, "MCP_TCP_PORT", 9500))],
        RELAY: [http_get(relay, port_of(env, "MCP_BRIDGE_PORT", 3002), "/readyz")],
        PROXY: [http_get(proxy, port_of(env, "CLAUDE_FLOW_HEALTH_PORT", 9503), "/health")],
    }
    if mcp_health > 0:  # -1: it has none
        asked[MCP_SERVER].append(http_get(mcp, mcp_health, "/readyz"))
    return asked


def port_of(env: "Mapping[str, str]", name: str, default: int) -> int:
    """Raises: ValueError that names the variable."""
    text = env.get(name) or str(default)
    try:
        port = int(text)
    except ValueError:
        port = 65536
    if not -1 <= port <= 65535:
        raise ValueError(f"{name}: {text[:40]!a} is no port")
    return port


def host_of(env: "Mapping[str, str]", program: str) -> str:
    """Where it is reached from this machine, by what it left in HIVE_RUN_DIR when it last began to listen."""
    try:
        with open(f"{env['HIVE_RUN_DIR']}/{COMMANDS[program]}.host", encoding="ascii") as file:
            host = file.read(MAX_HOST_CHARS).strip()
    except (KeyError, OSError, ValueError):
        return LOOPBACK  # it has not listened yet
    return NEAR.get(host, host) or LOOPBACK


# -- asking ------------------------------------------------------------------------------------------------------------


class Beside:
    """What else is seen to while answers are awaited: `act` is called whenever `fd` is readable."""

    __slots__ = ("act", "fd")

    def __init__(self, fd: int, act: "Callable[[], None]") -> None:
        self.fd = fd
        self.act = act


def ask_all(asked: "Sequence[Question]", limit_s: float, beside: Beside | None = None) -> list[Answer]:
    """The answer to each question, in their order, after `limit_s` at most."""
    deadline_s = time.monotonic() + limit_s
    poll = select.poll()
    if beside:
        poll.register(beside.fd, select.POLLIN)
    begun = [_Conversation(question) for question in asked]
    waiting = {each.fd: each for each in begun if each.answer is None}
    for fd in waiting:
        poll.register(fd, select.POLLOUT)
    left_s = limit_s
    while waiting and left_s > 0:
        left_s = deadline_s - time.monotonic()
        for fd, _ in poll.poll(max(0.0, left_s) * 1000):  # once more at the end: we may have been kept from looking
            if beside and fd == beside.fd:
                beside.act()
            elif _is_over(waiting[fd], poll):
                del waiting[fd]
    late_s = time.monotonic() - deadline_s
    for each in waiting.values():
        each.close()
        each.answer = _too_late(limit_s, late_s)
    return [each.answer or Answer(UNKNOWN) for each in begun]


def _is_over(one: "_Conversation", poll: select.poll) -> bool:
    fd = one.fd
    wanted = one.go_on()
    if one.answer is None:
        poll.modify(fd, wanted)
        return False
    poll.unregister(fd)
    one.close()
    return True


def _too_late(limit_s: float, late_s: float) -> Answer:
    if late_s > LATE_S:
        return Answer(UNKNOWN, f"this machine stood still for {late_s:.0f} s")
    return Answer(SILENT, f"no answer within {limit_s:g} s")


def _resolved(address: "tuple[str, int] | str") -> "tuple[int, tuple[str, int] | str]":
    """Family and address for a socket. The resolver, which is 0.6 MB that would stay, is for names alone."""
    if isinstance(address, str):
        return socket.AF_UNIX, address
    host, port = address
    if ":" in host:
        return socket.AF_INET6, address
    if host.replace(".", "").isdecimal():
        return socket.AF_INET, address
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return found[0], (str(found[4][0]), port)


class _Conversation:
    """One question on its way; `answer` is None until there is one."""

    __slots__ = ("_connected", "_question", "_received", "_socket", "_unsent", "answer")

    def __init__(self, question: Question) -> None:
        self._question = question
        self._unsent = question.request
        self._received = b""
        self._connected = False
        self._socket: socket.socket | None = None
        self.answer: Answer | None = None
        try:
            self._connect(question.address)
        except OSError as exc:
            self._failed(exc)

    def _connect(self, address: "tuple[str, int] | str") -> None:
        family, where = _resolved(address)
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        try:
            self._socket.connect(where)
        except BlockingIOError:
            pass

    @property
    def fd(self) -> int:
        return self._socket.fileno() if self._socket else -1

    def go_on(self) -> int:
        """Do what can be done without waiting; what to wait for next."""
        assert self._socket
        try:
            if not self._connected:
                if number := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(number, os.strerror(number))
                self._connected = True
            if self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            else:
                self._take(self._socket.recv(1 << 14))
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self._take(b"")
        except BrokenPipeError:
            self._unsent = b""  # what it said before it closed can still be read
        except OSError as exc:
            self._failed(exc)
        return select.POLLOUT if self._unsent else select.POLLIN

    def _take(self, data: bytes) -> None:
        self._received += data
        self.answer = self._question.judge(self._received, not data)

    def _failed(self, exc: OSError) -> None:
        ours = isinstance(exc, socket.gaierror) or exc.errno in OUR_TROUBLE
        self.answer = Answer(UNKNOWN if ours else SILENT, (exc.strerror or str(exc)).lower())
        self.close()

    def close(self) -> None:
        if self._socket:
            self._socket.close()
