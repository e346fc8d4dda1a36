"""Many servers asked at once: one that hangs delays none, and what we could not ask is no miss of anybody's."""

import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from hive_session.suite.control import Control, NoAnswer, NotThere
from hive_session.suite.probes import FULL, OK, SILENT, UNKNOWN, Beside, Question, ask_all, http_get, mcp_ping
from tests.integration.hive import Hive
from tests.integration.listener import free_ports
from tests.integration.mcp_server import DataPlane
from tests.integration.ws_server import RelayProcess

LIMIT_S = 0.5
SLACK_S = 1.0  # for a busy machine


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


def health(*asked: Question) -> list[str]:
    return [answer.health for answer in ask_all(asked, LIMIT_S)]


def test_the_real_servers_answer(tmp_path: Path) -> None:
    with Hive(tmp_path / "hive") as hive, DataPlane(hive) as plane, RelayProcess(hive) as relay:
        assert health(mcp_ping("127.0.0.1", plane.port)) == [OK]
        assert ask_all([http_get("127.0.0.1", relay.port, "/readyz")], 5.0)[0].health in (OK, "loading")
        assert health(http_get("127.0.0.1", relay.port, "/nothing")) == [SILENT]
        assert health(http_get("127.0.0.1", plane.port, "/readyz")) == [SILENT]  # the wrong port


def test_those_that_hang_are_waited_for_together_and_delay_no_other() -> None:
    with ExitStack() as stack:
        hung = [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(20)]
        good = stack.enter_context(answering(b"HTTP/1.1 200 OK\r\n\r\n"))
        asked = [mcp_ping("127.0.0.1", port) for port in hung]
        began = time.monotonic()
        assert (
            health(*asked[:10], http_get("127.0.0.1", good, "/"), *asked[10:]) == [SILENT] * 10 + [OK] + [SILENT] * 10
        )
        assert LIMIT_S <= time.monotonic() - began < LIMIT_S + SLACK_S


def test_an_answer_that_comes_drop_by_drop_has_no_more_time_than_others() -> None:
    with answering(*[b"H"] * 20, pause_s=0.05) as port:
        began = time.monotonic()
        (answer,) = ask_all([http_get("127.0.0.1", port, "/")], LIMIT_S)
        assert time.monotonic() - began < LIMIT_S + SLACK_S
        assert (answer.health, answer.detail) == (SILENT, "no answer within 0.5 s")


def test_one_that_never_ends_is_not_read_for_ever() -> None:
    with answering(*[b"x" * 65_536] * 2) as port:
        assert health(mcp_ping("127.0.0.1", port)) == [SILENT]


def test_each_way_not_to_answer_has_its_words() -> None:
    (nobody,) = free_ports(1)
    with answering() as mute, answering(b"HTTP/1.1 200 OK\r\n", pause_s=0.05) as good:
        answers = ask_all(
            [mcp_ping("127.0.0.1", nobody), mcp_ping("127.0.0.1", mute), http_get("127.0.0.1", mute, "/")], 2.0
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
        monkeypatch.setattr(time, "monotonic", lambda: next(times_s))
        (answer,) = ask_all([mcp_ping("127.0.0.1", hung.getsockname()[1])], LIMIT_S)
    assert (answer.health, answer.detail) == (UNKNOWN, "this machine stood still for 60 s")


def test_an_answer_that_came_while_the_machine_stood_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n", pause_s=0.2) as port:
        question = http_get("127.0.0.1", port, "/")
        times_s = iter([0.0, *[0.1] * 4, *[60.0] * 9])
        monkeypatch.setattr("hive_session.suite.probes.time.monotonic", lambda: next(times_s))
        assert [each.health for each in ask_all([question], LIMIT_S)] == [OK]


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
