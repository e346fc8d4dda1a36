"""Many servers asked at once: one that hangs delays none, and what we could not ask is no miss of anybody's."""

import errno
import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace

import pytest

from hive_session.suite.control import Control, NoAnswer, NotThere
from hive_session.suite.probes import (
    FULL,
    OK,
    SILENT,
    UNKNOWN,
    Beside,
    Question,
    ask_all,
    http_get,
    judge_http,
    mcp_ping,
)
from tests.integration.hive import Hive
from tests.integration.listener import reserved_port
from tests.integration.mcp_server import DataPlane
from tests.integration.ws_server import RelayProcess

LIMIT_S = 0.5
PATIENT_S = 20.0  # for answers that come at once when all is well


@pytest.fixture
def never_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """That we were kept from looking, on a busy machine, excuses nobody here; it is a test of its own."""
    monkeypatch.setattr("hive_session.suite.probes.LATE_S", math.inf)


@contextmanager
def answering(*pieces: bytes, pause_s: float = 0.0) -> Iterator[int]:
    """The port of a server that says this to whoever comes, and closes."""

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer, suppress(OSError):  # nobody has to hear it to the end
                for piece in pieces:
                    peer.sendall(piece)
                    time.sleep(pause_s)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def health(*asked: Question, limit_s: float = PATIENT_S) -> list[str]:
    return [answer.health for answer in ask_all(asked, limit_s)]


@pytest.mark.usefixtures("never_late")
def test_the_real_servers_answer(tmp_path: Path) -> None:
    with Hive(tmp_path / "hive") as hive, DataPlane(hive) as plane, RelayProcess(hive) as relay:
        assert health(mcp_ping("127.0.0.1", plane.port)) == [OK]
        assert health(http_get("127.0.0.1", relay.port, "/readyz")) in ([OK], ["loading"])
        assert health(http_get("127.0.0.1", relay.port, "/nothing")) == [SILENT]
        assert health(http_get("127.0.0.1", plane.port, "/readyz"), limit_s=LIMIT_S) == [SILENT]  # the wrong port


@pytest.mark.usefixtures("never_late")
def test_those_that_hang_are_waited_for_together_and_delay_no_other() -> None:
    with ExitStack() as stack:
        hung = [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(20)]
        good = stack.enter_context(answering(b"HTTP/1.1 200 OK\r\n\r\n"))
        asked = [mcp_ping("127.0.0.1", port) for port in hung]
        began = time.monotonic()
        found = health(*asked[:10], http_get("127.0.0.1", good, "/"), *asked[10:], limit_s=LIMIT_S)
        assert LIMIT_S <= time.monotonic() - began < 10 * LIMIT_S  # one after the other they would be 20 of them
        assert found == [SILENT] * 10 + [OK] + [SILENT] * 10


@pytest.mark.usefixtures("never_late")
def test_an_answer_that_comes_drop_by_drop_has_no_more_time_than_others() -> None:
    with answering(*[b"H"] * 200, pause_s=0.05) as port:
        began = time.monotonic()
        (answer,) = ask_all([http_get("127.0.0.1", port, "/")], LIMIT_S)
        assert time.monotonic() - began < 200 * 0.05 / 2
        assert (answer.health, answer.detail) == (SILENT, "no answer within 0.5 s")


def test_one_that_never_ends_is_not_read_for_ever() -> None:
    with answering(*[b"x" * 65_536] * 2) as port:
        (answer,) = ask_all([mcp_ping("127.0.0.1", port)], PATIENT_S)
        assert answer.health == SILENT and "bytes without an end" in answer.detail


def test_each_way_not_to_answer_has_its_words() -> None:
    with (
        reserved_port() as nobody,
        answering() as mute,
        answering(b"HTTP/1.1 200 OK\r\n", pause_s=0.05) as good,
    ):
        port = nobody.getsockname()[1]
        answers = ask_all(
            [mcp_ping("127.0.0.1", port), mcp_ping("127.0.0.1", mute), http_get("127.0.0.1", mute, "/")], PATIENT_S
        )
        assert [(each.health, each.detail) for each in answers] == [
            (SILENT, "connection refused"),
            (SILENT, "it closed the connection without an answer"),
            (FULL, "it closes new connections at once"),
        ]
        assert health(http_get("localhost", good, "/")) == [OK]  # a name is looked up
        assert health(http_get("no.such.host.invalid", good, "/")) == [UNKNOWN]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EADDRNOTAVAIL])
def test_what_we_lack_ourselves_is_no_miss(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_words: object) -> socket.socket:
        raise OSError(number, "not for us")

    monkeypatch.setattr(socket, "socket", refuse)
    assert health(mcp_ping("127.0.0.1", 1)) == [UNKNOWN]


def test_a_machine_that_stood_still_blames_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    times_s = iter([0.0, 0.1, 60.0, 60.0, 60.0, 60.0])
    with socket.create_server(("127.0.0.1", 0)) as hung:
        clock_is(monkeypatch, times_s)
        (answer,) = ask_all([mcp_ping("127.0.0.1", hung.getsockname()[1])], LIMIT_S)
    assert (answer.health, answer.detail) == (UNKNOWN, "this machine stood still for 60 s")


def clock_is(monkeypatch: pytest.MonkeyPatch, times_s: Iterator[float]) -> None:
    """These are the times at which they who ask look at the clock; nobody else's clock is touched."""
    monkeypatch.setattr("hive_session.suite.probes.time", SimpleNamespace(monotonic=lambda: next(times_s)))


def test_an_answer_that_came_while_the_machine_stood_still_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "s")

    def times_s() -> Iterator[float]:
        yield from (0.0, 0.1)  # the question is sent
        with listener.accept()[0] as peer:
            peer.sendall(b"HTTP/1.1 200 OK\r\n")
            yield from repeat(60.0)

    with socket.socket(socket.AF_UNIX) as listener:  # what is sent there has arrived
        listener.bind(path)
        listener.listen()
        clock_is(monkeypatch, times_s())
        assert health(Question(path, path, b"GET /", judge_http), limit_s=LIMIT_S) == [OK]


def test_what_is_beside_is_seen_to_while_a_server_hangs() -> None:
    ours, theirs = socket.socketpair()
    heard: list[bytes] = []
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as hung:
        theirs.send(b"event")
        ask_all(
            [mcp_ping("127.0.0.1", hung.getsockname()[1])],
            LIMIT_S,
            Beside(ours.fileno(), lambda: heard.append(ours.recv(99))),
        )
    assert heard == [b"event"]


@pytest.mark.usefixtures("never_late")
def test_supervisord_that_is_not_there_is_told_from_one_that_hangs(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with pytest.raises(NotThere):
        Control(path).programs()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        with pytest.raises(NotThere):
            Control(path).programs()
        listener.listen()
        with pytest.raises(NoAnswer, match="no answer within 2 s") as raised:
            Control(path).programs()
        assert not isinstance(raised.value, NotThere)
