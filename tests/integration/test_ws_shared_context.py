"""The deflate context that a group shares, read by Node's `ws` and Python's `websockets`, which come late, go, and stall."""

import base64
import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory as Offer

from hive_session.ondisk.layout import SessionPaths
from tests.integration.hive import Hive, read_bytes, until
from tests.integration.mcp_disk import append, message_event, spawn_event
from tests.integration.ws_server import Json, RelayProcess
from tests.npm import WS_MODULES

pytestmark = [pytest.mark.npm, pytest.mark.timeout(180)]
END = "this is the end"
BURSTS = 160
PACE_S = 0.015  # between bursts: the context begins anew once a second at most, and is to do so some times


class Node:
    """Viewers by Node's `ws`."""

    def __enter__(self) -> Self:
        program = Path(__file__).with_name("ws_viewers.cjs")
        env = {**os.environ, "NODE_PATH": str(WS_MODULES)}
        self._process = subprocess.Popen(
            ["node", str(program)], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def obey(self, **command: Any) -> Json:
        """The answer to one command of ws_viewers.cjs."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        found: Json = json.loads(self._process.stdout.readline())
        return found


class NodeViewer:
    """One of them. `deflate` is what `ws` calls perMessageDeflate."""

    def __init__(self, node: Node, name: str, relay: RelayProcess, words: str, deflate: Any) -> None:
        self._node, self._name = node, name
        url = f"ws://127.0.0.1:{relay.port}/ws"
        extensions = node.obey(open=name, url=url, deflate=deflate, say=words)["extensions"]
        assert extensions == ("permessage-deflate" if deflate else "")
        self.texts: list[str] = []
        self.compressed = 0

    def read(self) -> None:
        """Take what has come by now. Raises: AssertionError where a frame was bad."""
        found = self._node.obey(tell=self._name)
        assert found["errors"] == []
        self.texts += found["texts"]
        self.compressed = found["compressed"]

    def command(self, verb: str) -> None:
        """pause, resume or close it."""
        self._node.obey(**{verb: self._name})


class PythonViewer:
    """One by `websockets`, which keeps what comes until it is read."""

    def __init__(self, stack: ExitStack, relay: RelayProcess, words: str, offer: Offer | None) -> None:
        extensions = None if offer is None else [offer]
        self._viewer = stack.enter_context(
            relay.connect(compression=None, extensions=extensions, max_queue=None, max_size=None, close_timeout=0.1)
        )
        self._viewer.send(words)
        self.texts: list[str] = []

    def read(self) -> None:
        """Take what has come by now. Raises: ConnectionClosed where a frame was bad."""
        try:
            while True:
                self.texts.append(str(self._viewer.recv(0)))
        except TimeoutError:
            return

    def close(self) -> None:
        self._viewer.close()


Viewer = NodeViewer | PythonViewer


@pytest.fixture
def hive(tmp_path: Path) -> Iterator[Hive]:
    with Hive(tmp_path / "hive", HOME=str(tmp_path)) as hive:
        yield hive


@pytest.fixture
def paths(hive: Hive) -> SessionPaths:
    return hive.paths(hive.create("rehearsal"))


@pytest.fixture
def relay(hive: Hive, paths: SessionPaths) -> Iterator[RelayProcess]:
    with RelayProcess(hive) as relay:
        yield relay
        assert "Traceback" not in relay.log, relay.log


@pytest.fixture
def node() -> Iterator[Node]:
    with Node() as node:
        yield node


def subscribe(paths: SessionPaths, **words: Any) -> str:
    """The words by which all are one group."""
    document = {"action": "subscribe", "session_id": paths.id, "events": True, "snapshot": False, **words}
    return json.dumps(document)


def figure(relay: RelayProcess, name: str) -> float:
    """One figure of /metrics."""
    found = dict(line.rsplit(" ", 1) for line in relay.get("/metrics")[2].decode().splitlines() if line[0] != "#")
    return float(found[f"hive_relay_{name}"])


def told_the_end(viewer: Viewer) -> bool:
    viewer.read()
    return bool(viewer.texts) and any(END in text for text in viewer.texts[-3:])


def told_of(viewer: Viewer, number: int) -> bool:
    """It was told of a burst, so that the next one comes in a message of its own."""
    viewer.read()
    return any(f'"text":"{number} ' in text for text in viewer.texts[-9:])


def news(viewer: Viewer) -> list[str]:
    """What it was told of the session, up to the end; the acknowledgement comes before all that."""
    kinds = [json.loads(text)["type"] for text in viewer.texts]
    assert kinds[0] == "subscribed" and kinds.count("subscribed") == 1 and "error" not in kinds
    last = max(number for number, text in enumerate(viewer.texts) if kinds[number] == "events" and END in text)
    return viewer.texts[1 : last + 1]


def burst(dice: random.Random, number: int) -> bytes:
    """Some lines; a new agent with some of them, so that the state changes too."""
    lines = [message_event(f"{number} {'again and again ' * dice.randrange(9)}{dice.random()}") for _ in range(9)]
    return b"".join(lines if number % 20 else [*lines, spawn_event(f"w{number}")])


OFFERS: dict[str, tuple[Any, Offer | None, bool]] = {  # what ws and websockets say, and whether the context is shared
    "the usual": (True, Offer(), True),
    "a window of 15 bits": ({"serverMaxWindowBits": 15}, Offer(server_max_window_bits=15), True),
    "a smaller window": ({"serverMaxWindowBits": 10}, Offer(server_max_window_bits=10), False),
    "no context takeover": ({"serverNoContextTakeover": True}, Offer(server_no_context_takeover=True), False),
    "no deflate": (False, None, False),
}


@pytest.mark.slow
def test_all_of_a_group_hear_the_same_from_when_they_join_whatever_they_agreed_on_and_whoever_goes(
    relay: RelayProcess, paths: SessionPaths, node: Node
) -> None:
    dice, words = random.Random(4), subscribe(paths)
    makers: list[tuple[str, bool, Callable[[ExitStack], Viewer]]] = []
    for name, (deflate, offer, shared) in [*OFFERS.items()] * 2:
        unique = f"{name} {len(makers)}"
        makers += [
            (unique, shared, lambda _, name=unique, deflate=deflate: NodeViewer(node, name, relay, words, deflate)),  # type: ignore[misc]  # mypy infers no lambda with defaults
            (unique, shared, lambda stack, offer=offer: PythonViewer(stack, relay, words, offer)),  # type: ignore[misc]  # as above
        ]
    dice.shuffle(makers)
    with ExitStack() as stack:
        first: Viewer = PythonViewer(stack, relay, words, None)
        until(lambda: first.read() or first.texts, "the first to be there")
        there: list[tuple[str, bool, Viewer]] = []
        gone = 0
        for number in range(BURSTS):
            append(paths.telemetry, burst(dice, number))
            until(lambda number=number: told_of(first, number), "the burst")  # type: ignore[misc]  # as above
            if number % 7 == 3 and makers:
                name, shared, make = makers.pop()
                there.append((name, shared, make(stack)))
            if number % 31 == 30:
                leave(there.pop(dice.randrange(len(there)))[2])
                gone += 1
            time.sleep(PACE_S)
        append(paths.telemetry, message_event(END))
        everybody = [first, *(viewer for *_, viewer in there)]
        for viewer in everybody:
            until(lambda viewer=viewer: told_the_end(viewer), "the end")  # type: ignore[misc]  # as above
        whole = news(first)
        assert len(whole) > BURSTS
        for name, shared, viewer in there:
            found = news(viewer)
            assert found and found == whole[-len(found) :], name
            if isinstance(viewer, NodeViewer):
                assert (viewer.compressed > len(found) / 3) is shared, (name, viewer.compressed, len(found))
    assert len(there) >= 15 and gone == 5
    assert figure(relay, "deflate_resets_total") >= 2
    assert figure(relay, "gaps_sent_total") == 0


def leave(viewer: Viewer) -> None:
    if isinstance(viewer, NodeViewer):
        viewer.command("close")
    else:
        viewer.close()


@pytest.mark.slow
def test_a_slow_one_leaves_the_context_and_comes_back_to_it_and_nobody_gets_a_bad_frame(
    relay: RelayProcess, paths: SessionPaths, node: Node
) -> None:
    dice, words = random.Random(5), subscribe(paths)
    with ExitStack() as stack:
        plain = PythonViewer(stack, relay, words, None)
        slow = [NodeViewer(node, f"slow {number}", relay, words, True) for number in range(3)]
        fast: list[Viewer] = [NodeViewer(node, "fast", relay, words, True), PythonViewer(stack, relay, words, Offer())]
        for lap in range(3):
            for viewer in slow[lap:]:
                viewer.command("pause")
            pour(paths, relay, "held_total", 3 - lap, lambda: base64.b64encode(dice.randbytes(75_000)).decode())
            for viewer in slow[lap:]:
                viewer.command("resume")
            pour(paths, relay, "deflate_resets_total", 1, lambda: "a little")
        in_context = [viewer.compressed for viewer in slow]
        append(paths.telemetry, message_event(END))
        for each in (plain, *slow, *fast):
            until(lambda each=each: told_the_end(each), "the end")  # type: ignore[misc]  # mypy infers no lambda with defaults
    documents = set(news(plain))
    for each in (*slow, *fast):
        assert covers_the_file(each, read_bytes(paths.telemetry))
        events = [text for text in news(each) if json.loads(text)["type"] == "events"]
        assert documents.issuperset(events)
    assert all(viewer.compressed > before for viewer, before in zip(slow, in_context, strict=True))


def pour(paths: SessionPaths, relay: RelayProcess, name: str, more: int, text: Callable[[], str]) -> None:
    """Write lines until a figure of the relay is so much higher."""
    goal = figure(relay, name) + more

    def is_reached() -> bool:
        words = text()
        lines = [message_event(words[at : at + 4000]) for at in range(0, len(words), 4000)]
        append(paths.telemetry, b"".join(lines))
        return figure(relay, name) >= goal

    until(is_reached, f"{name} to grow by {more}")


def covers_the_file(viewer: Viewer, whole: bytes) -> bool:
    """Events and gaps follow each other without a hole, and events are what stands there."""
    at = None
    for document in map(json.loads, news(viewer)):
        if document["type"] not in ("events", "gap"):
            continue
        assert at in (None, document["from"])
        at = document["to"]
        if document["type"] == "events":
            assert document["events"] == [json.loads(line) for line in whole[document["from"] : at].splitlines()]
    return at == len(whole)
