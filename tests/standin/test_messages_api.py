"""The stand-in speaks the Messages API, tells who asks, keeps sessions apart, and goes away cleanly."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.standin.capture import CAPTURES, FIXTURES, Capture, capture
from tests.standin.messages_api import MessagesApi
from tests.standin.scenarios import SCENARIOS, Json, scenario_named, slow

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 30.0  # of what takes milliseconds when all is well
TOOLS = [{"name": "Agent"}, {"name": "Bash"}]


def _body(*messages: Json, stream: bool = False, **more: Any) -> Json:
    plain: Json = {
        "model": "m",
        "max_tokens": 9,
        "stream": stream,
        "tools": TOOLS,
        "messages": list(messages),
    }
    return plain | more


def _user(*texts: str) -> Json:
    return {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}


def _tool_results(*calls: Json) -> Json:
    results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "done"} for call in calls]
    return {"role": "user", "content": results}


def _connect(api: MessagesApi) -> http.client.HTTPConnection:
    url = urlsplit(api.base_url)
    return http.client.HTTPConnection(str(url.hostname), url.port, timeout=TIMEOUT_S)


def _ask(
    api: MessagesApi,
    body: Json | None,
    *,
    method: str = "POST",
    path: str = "/v1/messages",
    session: str = "",
) -> tuple[int, dict[str, str], bytes]:
    connection = _connect(api)
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, path, payload, {"X-Claude-Code-Session-Id": session} if session else {})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def _message(api: MessagesApi, body: Json, *, session: str = "") -> Json:
    status, _, raw = _ask(api, body, session=session)
    assert status == 200, raw
    answer: Json = json.loads(raw)
    return answer


def _events(raw: bytes) -> list[Json]:
    """The events of a stream; each must be named by an `event:` line as the data says."""
    events = []
    for chunk in raw.decode().split("\n\n")[:-1]:
        name, data = chunk.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def _assemble(events: list[Json]) -> tuple[list[Json], str, Json]:
    """Content blocks, stop reason and usage, put together as a client does."""
    blocks: list[Json] = []
    partial = ""
    for event in events:
        if event["type"] == "content_block_start":
            blocks.append(dict(event["content_block"]))
            partial = ""
        elif event["type"] == "content_block_delta":
            kind, piece = event["delta"]["type"], event["delta"]
            if kind == "input_json_delta":
                partial += piece["partial_json"]
                blocks[-1]["input"] = json.loads(partial)
            else:
                blocks[-1][kind.removesuffix("_delta")] += piece[kind.removesuffix("_delta")]
    ending = next(event for event in events if event["type"] == "message_delta")
    return blocks, ending["delta"]["stop_reason"], ending["usage"]


def _calls(content: list[Json]) -> list[Json]:
    return [block for block in content if block["type"] == "tool_use"]


def _play(api: MessagesApi, body: Json, session: str) -> list[Json]:
    """Hold the conversation to its end as Claude Code does; every answer the model gave, workers' too."""
    said: list[Json] = []
    while True:
        answer = _message(api, body, session=session)
        said.append(answer)
        calls = _calls(answer["content"])
        if not calls:
            return said
        for call in calls:
            if call["name"] == "Agent":
                said += _play(api, _body(_user(call["input"]["prompt"])), session)
        body["messages"] += [{"role": "assistant", "content": answer["content"]}, _tool_results(*calls)]


def test_a_stream_has_the_events_of_the_api_in_order() -> None:
    with MessagesApi("answer") as api:
        _, headers, raw = _ask(api, _body(_user("ask"), stream=True))
    kinds = [event["type"] for event in _events(raw)]
    assert headers["content-type"] == "text/event-stream"
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


@pytest.mark.parametrize("thinking", ["adaptive", "disabled"])
def test_a_stream_adds_up_to_the_same_answer_as_no_stream(thinking: str) -> None:
    with MessagesApi("two_workers") as api:
        _, _, raw = _ask(api, _body(_user("ask"), stream=True, thinking={"type": thinking}))
        whole = _message(api, _body(_user("ask"), thinking={"type": thinking}))
    blocks, stop_reason, usage = _assemble(_events(raw))
    for block in (*blocks, *whole["content"]):
        block.pop("id", None)  # each answer has ids of its own
    assert blocks == whole["content"]
    assert (stop_reason, usage) == (whole["stop_reason"], whole["usage"])
    assert any(block["type"] == "thinking" for block in blocks) == (thinking == "adaptive")


def test_the_hive_plays_to_its_end_and_its_tokens_are_the_scripted_ones() -> None:
    with MessagesApi("two_workers") as api:
        said = _play(api, _body(_user("ask")), "s")
    assert [[c["name"] for c in _calls(m["content"])] for m in said] == [
        ["Agent", "Agent"],
        ["Bash"],
        [],
        ["Bash"],
        [],
        [],
    ]
    assert sum(message["usage"]["input_tokens"] for message in said) == 3246
    assert sum(message["usage"]["output_tokens"] for message in said) == 600


def test_an_older_client_gets_its_subagents_through_the_task_tool() -> None:
    with MessagesApi("hive") as api:
        answer = _message(api, _body(_user("ask"), tools=[{"name": "Task"}, {"name": "Bash"}]))
    assert [call["name"] for call in _calls(answer["content"])] == ["Task"]


def test_the_worker_writes_where_the_session_keeps_its_results(tmp_path: Path) -> None:
    with MessagesApi("hive") as api:
        call = _calls(_message(api, _body(_user("[hive worker 1/1] Write.")))["content"])[0]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HIVE_OUTPUT_DIR": str(tmp_path / "a b"),
        "HIVE_MIND_SESSION_ID": "s1",
    }
    subprocess.run(["sh", "-c", call["input"]["command"]], env=environment, check=True, cwd=tmp_path)
    assert (tmp_path / "a b" / "worker-1.txt").read_text(encoding="utf-8") == "worker 1 of session s1\n"
    subprocess.run(["sh", "-c", call["input"]["command"]], env={"PATH": "/usr/bin:/bin"}, check=True, cwd=tmp_path)
    assert (tmp_path / "worker-1.txt").read_text(encoding="utf-8") == "worker 1 of session none\n"


def test_who_asks_is_told_by_what_is_asked() -> None:
    reminder = "<system-reminder>\nContext.\n</system-reminder>"
    with MessagesApi("hive") as api:
        _message(api, _body(_user(reminder, "[hive worker 1/1] Write.")))
        _message(api, _body(_user(reminder, "A task that quotes [hive worker 1/1] in the middle")))
        _message(api, _body({"role": "user", "content": "Write a title"}, tools=[]))
        roles = [request.role for request in api.requests]
        assert [request.prompts for request in api.asked_by("side")] == [["Write a title"]]
    assert roles == ["worker", "queen", "side"]


def test_a_prompt_is_what_the_user_asked_and_nothing_that_the_client_put_in() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
    conversation = [
        _user("<system-reminder>\nx</system-reminder>", "First"),
        {"role": "system", "content": "Agent types"},
        {"role": "assistant", "content": [call]},
        _tool_results(call),
        {"role": "assistant", "content": "Done."},
        _user("<task-notification>\nover</task-notification>"),
        _user("  Second\n"),
    ]
    with MessagesApi("hive") as api:
        first_again = _message(api, _body(*conversation))
        _message(api, _body(*conversation[:-1]))
        resumed, notified = api.asked_by("queen")
    assert resumed.prompts == ["First", "  Second\n"]
    assert notified.prompts == ["First"]
    assert _calls(first_again["content"])  # a second prompt starts the scenario over


def test_a_notification_continues_the_conversation() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "Agent", "input": {}}
    with MessagesApi("background") as api:
        asked = [_user("ask"), {"role": "assistant", "content": [call]}, _tool_results(call)]
        told = [
            *asked,
            {"role": "assistant", "content": "ok"},
            _user("<task-notification>\n</task-notification>"),
        ]
        assert not _calls(_message(api, _body(*told))["content"])


def test_each_session_is_refused_twice_and_then_answered() -> None:
    with MessagesApi("overloaded_then_ok") as api:
        asked = [_ask(api, _body(_user("ask")), session=name) for name in ("a", "b", "a", "b", "a", "b")]
    assert [status for status, _, _ in asked] == [529, 529, 529, 529, 200, 200]
    assert {headers["x-should-retry"] for status, headers, _ in asked if status == 529} == {"true"}
    assert json.loads(asked[0][2])["error"]["type"] == "overloaded_error"


def test_a_bad_key_is_refused_for_good() -> None:
    with MessagesApi("bad_key") as api:
        asked = [_ask(api, _body(_user("ask"))) for _ in range(4)]
    assert {(status, headers["x-should-retry"]) for status, headers, _ in asked} == {(401, "false")}


def test_ten_sessions_at_once_do_not_mix() -> None:
    def hold(number: int) -> list[Json]:
        return _play(api, _body(_user(f"task {number}")), f"session-{number}")

    with MessagesApi("hive") as api, ThreadPoolExecutor(10) as pool:
        conversations = list(pool.map(hold, range(10)))
        seen = {(request.session_id, request.prompts[0]) for request in api.asked_by("queen")}
    assert seen == {(f"session-{number}", f"task {number}") for number in range(10)}
    assert {len(said) for said in conversations} == {4}
    ids = [block["id"] for said in conversations for message in said for block in _calls(message["content"])]
    assert len(set(ids)) == len(ids) == 20


def test_a_gate_holds_answers_and_refusals_until_it_opens() -> None:
    gate = threading.Event()
    with MessagesApi("overloaded_then_ok", gate=gate) as api, ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(_ask, api, _body(_user("ask")), session="s") for _ in range(3)]
        while len(api.asked_by("queen")) < 3:
            assert not any(answer.done() for answer in asked)
            time.sleep(0.01)
        gate.set()
        assert sorted(answer.result()[0] for answer in asked) == [200, 529, 529]


def test_leaving_hangs_up_on_those_who_wait_at_the_gate() -> None:
    before = set(threading.enumerate())
    with MessagesApi("answer", gate=threading.Event()) as api:
        connection = _connect(api)
        connection.request("POST", "/v1/messages", json.dumps(_body(_user("ask"))))
        while not api.asked_by("queen"):
            time.sleep(0.01)
    with pytest.raises(http.client.RemoteDisconnected):
        connection.getresponse()
    connection.close()
    assert set(threading.enumerate()) <= before  # others may end meanwhile


def test_forever_calls_tools_without_end() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
    round_trip = [{"role": "assistant", "content": [call]}, _tool_results(call)]
    with MessagesApi("forever") as api:
        answer = _message(api, _body(_user("[hive worker 1/1] Write."), *(round_trip * 50)))
    assert answer["stop_reason"] == "tool_use"


def _read_until(stream: socket.SocketIO, wanted: bytes) -> None:
    seen = b""
    while wanted not in seen:
        piece = stream.read(4096)
        assert piece, f"the stream ended before {wanted!r}"
        seen += piece


def _open_stream(api: MessagesApi) -> socket.socket:
    """A raw connection in the middle of a worker's slow report."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
    asked = [_user("[hive worker 1/1] Write."), {"role": "assistant", "content": [call]}, _tool_results(call)]
    payload = json.dumps(_body(*asked, stream=True)).encode()
    url = urlsplit(api.base_url)
    connection = socket.create_connection((url.hostname, url.port), timeout=TIMEOUT_S)
    head = f"POST /v1/messages HTTP/1.1\r\nHost: standin\r\nContent-Length: {len(payload)}\r\n\r\n"
    connection.sendall(head.encode() + payload)
    with connection.makefile("rb", buffering=0) as stream:
        _read_until(stream, b"content_block_start")
    return connection


def test_leaving_cuts_a_slow_stream_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with MessagesApi(slow(3600)) as api:
        connection = _open_stream(api)
    with connection, connection.makefile("rb") as stream:
        assert b"message_stop" not in stream.read()
    assert set(threading.enumerate()) <= before


def test_leaving_hangs_up_on_an_idle_client_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with MessagesApi("answer") as api:
        connection = _connect(api)
        connection.request("HEAD", "/")
        assert connection.getresponse().read() == b""  # and the connection stays open
        idle = connection.sock
    with idle:
        assert idle.recv(1) == b""
    assert set(threading.enumerate()) <= before


def test_a_slow_report_takes_the_time_it_was_given() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
    asked = [_user("[hive worker 1/1] Write."), {"role": "assistant", "content": [call]}, _tool_results(call)]
    with MessagesApi("slow:0.5") as api:
        began = time.monotonic()
        _, _, raw = _ask(api, _body(*asked, stream=True))
        assert time.monotonic() - began >= 0.5
    assert _events(raw)[-1]["type"] == "message_stop"


def test_a_client_that_dies_in_the_middle_harms_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    with MessagesApi(slow(0.5)) as api:
        connection = _open_stream(api)
        linger_zero = b"\x01\0\0\0\0\0\0\0"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_zero)  # close with a reset, as a kill does
        connection.close()
        assert _message(api, _body(_user("ask")))["stop_reason"] == "tool_use"
    assert capfd.readouterr() == ("", "")


def test_the_other_requests_are_answered_as_the_api_does() -> None:
    with MessagesApi("answer") as api:
        assert _ask(api, None, method="HEAD", path="/")[0] == 200
        assert _ask(api, None, method="GET", path="/v1/organizations")[0] == 404
        assert _ask(api, _body(_user("ask")), path="/v1/complete")[0] == 404
        assert _ask(api, None)[0] == 400
        status, _, raw = _ask(api, _body(_user("ask")), path="/v1/messages/count_tokens?beta=true")
        assert status == 200 and json.loads(raw)["input_tokens"] > 0
        assert api.asked_by("queen") == []


@pytest.mark.parametrize("name", [*SCENARIOS, "slow:0"])
def test_every_scenario_has_turns_for_all_the_workers_it_sends(name: str) -> None:
    scenario = scenario_named(name)
    turns = [*scenario.queen, *(turn for worker in scenario.workers for turn in worker)]
    sent = [b for turn in turns for b in turn.blocks if getattr(b, "name", "") == "Agent"]
    assert len(sent) == len(scenario.workers)


@pytest.mark.parametrize("name", ["", "hives", "slow:", "slow:soon"])
def test_an_unknown_scenario_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        scenario_named(name)


def test_it_runs_by_hand_and_prints_its_url_alone() -> None:
    argv = [sys.executable, "-m", "tests.standin.messages_api", "--scenario", "answer", "--port", "0"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = urlsplit(server.stdout.readline().strip())
            connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=TIMEOUT_S)
            connection.request("HEAD", "/")
            assert connection.getresponse().status == 200
            connection.close()
            server.send_signal(signal.SIGINT)
            assert server.wait(TIMEOUT_S) == 0
            assert server.stdout.read() == ""
        finally:
            server.kill()


def _kinds(stream: bytes) -> set[tuple[str, str | None, bool]]:
    lines = map(json.loads, stream.splitlines())
    return {(line["type"], line.get("subtype"), line.get("parent_tool_use_id") is None) for line in lines}


@pytest.mark.npm
@pytest.mark.timeout(120)
@pytest.mark.parametrize("plan", [plan for plan in CAPTURES if plan.kill_after is None], ids=lambda plan: plan.name)
def test_the_real_claude_code_still_writes_the_kinds_of_lines_captured(plan: Capture, tmp_path: Path) -> None:
    session = tmp_path / "session"
    session.mkdir()
    stream, exit_code = capture(plan, session)
    assert exit_code == (1 if plan.name in ("bad_key", "not_logged_in") else 0)
    assert _kinds(stream) == _kinds((FIXTURES / f"{plan.name}.jsonl").read_bytes())
