"""A stdio server on a TCP port: what passes, who pays for whose death, and what is left of it, which is nothing."""

import json
import os
import re
import select
import signal
import socket
import stat
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.integration.hive import is_alive, read_bytes, stat_fields, until
from tests.integration.mcp_proxy import SERVER, STUBBORN, Client, Proxy, request

MAX_LINE_BYTES = 10 << 20

Start = Callable[..., Proxy]


def python(tmp_path: Path, code: str) -> list[str]:
    """The command that runs this program."""
    program = tmp_path / f"server-{len(list(tmp_path.glob('server-*')))}.py"
    program.write_text(code, encoding="utf-8")
    return [sys.executable, str(program)]


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    """A proxy in front of SERVER."""
    with Proxy(tmp_path, python(tmp_path, SERVER)) as proxy:
        yield proxy


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a proxy in front of a Python program, with options and environment variables."""
    with ExitStack() as proxies:

        def begin(code: str, *options: str, **env: str) -> Proxy:
            return proxies.enter_context(Proxy(tmp_path, python(tmp_path, code), *options, caller=None, **env))

        yield begin


# -- who is heard ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "GET", "OPTIONS"])
def test_a_web_page_cannot_reach_the_command(tmp_path: Path, start: Start, method: str) -> None:
    """Any page can have its reader's browser post to a port of this machine, with a body of its choice."""
    proxy = start(SERVER)
    written = tmp_path / "written"
    with proxy.client() as client:
        client.send(f"{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\r\n".encode())
        with suppress(ConnectionError):  # the proxy may have closed by now
            client.send(request(1, "write", path=str(written)))
        assert client.socket.makefile("rb").read().startswith(b"HTTP/1.1 400 ")
    with proxy.client() as client:
        assert client.ask(2)["id"] == 2
    assert not written.exists()


def test_without_trust_only_this_machine_is_served_whatever_the_servers_address_is(start: Start) -> None:
    assert "listening on 127.0.0.1:" in start(SERVER, HIVE_BIND="0.0.0.0").log
    trusting = start(SERVER, HIVE_BIND="0.0.0.0", HIVE_TRUST_NETWORK="true").log
    assert "listening on 0.0.0.0:" in trusting and "health on 0.0.0.0:" in trusting


# -- what passes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_id", [0, 1, "", "seven", 2**53, 1.5])
def test_a_request_gets_its_answer_whatever_kind_of_id_it_has(proxy: Proxy, request_id: object) -> None:
    with proxy.client() as client:
        assert client.ask(request_id)["result"]["got"]["id"] == request_id


def test_requests_pass_byte_for_byte_however_they_are_cut(proxy: Proxy) -> None:
    text = 'é 日本 👩‍👩‍👧 \u2028 \\ " {'
    stream = b"".join(request(number, text=text) for number in range(20))
    with proxy.client() as client:
        for piece in (stream[:1], stream[1:150], stream[150:151], stream[151:]):
            client.send(piece)
            select.select([], [], [], 0.02)  # so that the pieces are packets
        answers = [client.line() for _ in range(20)]
    assert [answer["id"] for answer in answers] == list(range(20))
    assert {answer["result"]["got"]["params"]["text"] for answer in answers} == {text}


def test_an_answer_passes_byte_for_byte_also_when_the_child_cuts_it(start: Start) -> None:
    line = b'{"jsonrpc":"2.0", "id": 1,\\t"result":{"odd":"\\\\ud800 \\u00e9"}} \\r\\n'.decode()
    cut = f"import sys, time\nsys.stdin.readline()\nfor part in ({line[:20]!r}, {line[20:]!r}):\n"
    proxy = start(cut.replace("\\\\", "\\") + "    sys.stdout.write(part); sys.stdout.flush(); time.sleep(0.05)\n")
    with proxy.client() as client:
        client.send(request(1))
        received = client.socket.recv(65536, socket.MSG_WAITALL)
    assert received.startswith(b'{"jsonrpc":"2.0", "id": 1,\t"result":{"odd":"\\ud800')
    assert received.endswith(b"}} \r\n")


def test_each_connection_has_a_child_of_its_own(proxy: Proxy) -> None:
    with proxy.client() as one, proxy.client() as other:
        assert one.ask(1)["result"]["pid"] != other.ask(1)["result"]["pid"]
        assert one.ask(2)["result"]["got"]["id"] == 2
        assert proxy.health() == {"active_sessions": 2, "max_sessions": 10, "port": proxy.port}
    proxy.wait_for_no_session()


def test_a_child_leads_a_process_group_of_its_own(proxy: Proxy) -> None:
    with proxy.client() as client:
        pid = client.ask(1)["result"]["pid"]
        assert stat_fields(pid)[2:4] == [str(pid), str(pid)]  # group and session


def test_a_child_has_no_descriptor_but_its_own_three(proxy: Proxy) -> None:
    with proxy.client() as one, proxy.client() as other:
        one.ask(1)
        pid = other.ask(1)["result"]["pid"]
        links = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        assert len(links) == 3 and all(link.startswith("pipe:") for link in links), links
        (keeper,) = [p for p in proxy.processes() if p == int(stat_fields(pid)[1])]
        sockets = [fd for fd in os.listdir(f"/proc/{keeper}/fd") if "socket" in os.readlink(f"/proc/{keeper}/fd/{fd}")]
        assert len(sockets) == 1  # to the proxy: neither a client's nor the listening one


def test_half_close_delivers_what_is_still_answered_and_then_ends(proxy: Proxy) -> None:
    with proxy.client() as client:
        client.send(b"".join(map(request, range(100))))
        answers = client.finish()
    assert [answer["id"] for answer in answers] == list(range(100))
    proxy.wait_for_no_process()
    assert proxy.wait_for_log(r"\[1\] .* ended after .*: exit 0")


def test_half_close_waits_for_the_answers_of_a_child_that_ends_with_its_input(start: Start) -> None:
    hasty = """
import json, os, sys, threading, time
def answer(request_id):
    time.sleep(0.3)
    os.write(1, json.dumps({"jsonrpc": "2.0", "id": request_id, "result": {}}).encode() + b"\\n")  # print() is two writes
for line in sys.stdin:
    threading.Thread(target=answer, args=(json.loads(line)["id"],)).start()
os._exit(0)
"""
    with start(hasty).client() as client:
        client.send(request(1) + request(2))
        assert sorted(answer["id"] for answer in client.finish() if "result" in answer) == [1, 2]


def test_a_last_line_without_its_end_is_answered(proxy: Proxy) -> None:
    with proxy.client() as client:
        client.send(request(1).rstrip())
        assert [answer["id"] for answer in client.finish()] == [1]


def test_half_close_ends_a_child_that_does_not_heed_the_end_of_its_input(start: Start) -> None:
    proxy = start(STUBBORN)
    with proxy.client() as client:
        client.ask(1)
        proxy.wait_for_commands(3)
        assert client.finish() == []
    proxy.wait_for_no_process()


def test_who_only_looks_whether_the_port_is_open_starts_nothing_and_is_not_logged(proxy: Proxy) -> None:
    before = proxy.log
    for _ in range(5):
        proxy.client().close()
    with proxy.client() as client:
        assert client.finish() == []
    with proxy.client() as client:
        client.ask(1)
    proxy.wait_for_no_session()  # its child may answer before it is said that it began
    assert len(re.findall("began", proxy.log)) == 1
    assert proxy.log.startswith(before)


def test_what_is_no_json_is_the_servers_to_judge(proxy: Proxy) -> None:
    with proxy.client() as client:
        client.send(b"{nonsense\n")
        assert client.line()["error"]["code"] == -32700
        assert client.ask(2)["id"] == 2


# -- what does not pass ------------------------------------------------------------------------------------------------

JUNK = ["Starting server…", "[INFO] up", "{not json", "42", "null", "true", '"text"', "[]", "[1]", "NaN", '{"a":NaN}']


@pytest.mark.parametrize("line", JUNK)
def test_what_a_child_says_that_is_no_message_goes_to_the_log_alone(proxy: Proxy, line: str) -> None:
    with proxy.client() as client:
        assert client.ask(1, "junk", line=line)["id"] == 1
    proxy.wait_for_log(re.escape(f"[1] child: {line}\n"))


def test_what_a_child_says_on_stderr_goes_to_the_log_in_one_safe_line(proxy: Proxy) -> None:
    with proxy.client() as client:
        client.ask(1, "junk", line="\x1b[31mred\x07 " + "y" * 2000, stderr=True)
    said = proxy.wait_for_log(r"\[1\] child: (.*)\n")[1]
    assert said.startswith("\\x1b[31mred\\x07 yyy") and said.endswith("y…")
    assert len(said) == 500


def test_a_child_that_never_stops_talking_neither_fills_the_log_nor_stops(start: Start) -> None:
    flood = "import sys, threading\ndef flood():\n    while True: sys.stderr.write('noise\\n' * 1000)\n"
    proxy = start(flood + "threading.Thread(target=flood, daemon=True).start()\n" + SERVER)
    with proxy.client() as client:
        for number in range(50):
            client.ask(number)
        client.ask(51, "junk", line="end")
    proxy.wait_for_log("lines left out")
    assert proxy.log.count("noise") < 1000


@pytest.mark.parametrize("method", ["exit", "kill"])
def test_a_childs_death_answers_everything_that_is_due_at_once(proxy: Proxy, method: str) -> None:
    batch = [{"jsonrpc": "2.0", "id": number, "method": "x"} for number in ("in a batch", 8)]
    with proxy.client() as client:
        client.ask(1)
        for request_id in (0, "a", 5):
            client.send(request(request_id, "sleep"))
        client.ask(6)  # it has read those
        client.send(request(7, method, code=7) + json.dumps(batch).encode() + b"\n")
        errors = client.rest()
    how = "exit 7" if method == "exit" else "signal SIGKILL"
    assert [error["id"] for error in errors] == [0, "a", 5, 7, "in a batch", 8]
    assert {error["error"]["code"] for error in errors} == {-32000}
    assert {error["error"]["message"] for error in errors} == {f"the command ended: {how}"}
    proxy.wait_for_log(rf"\[1\] .* ended after .*: {how}")


def test_errors_come_within_100_ms_of_the_death(proxy: Proxy) -> None:
    took_s = [_from_death_to_error_s(proxy) for _ in range(5)]
    assert statistics.median(took_s) < 0.1, took_s  # the machine may stand still once


def _from_death_to_error_s(proxy: Proxy) -> float:
    with proxy.client() as client:
        pid = client.ask(1)["result"]["pid"]
        client.send(request(2, "sleep"))
        client.ask(3)  # it has read that
        killed_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        assert client.line()["error"]["message"] == "the command ended: signal SIGKILL"
        return time.monotonic() - killed_s


def test_what_a_child_said_before_its_death_arrives_and_is_not_due_any_more(proxy: Proxy) -> None:
    last = json.dumps({"jsonrpc": "2.0", "id": 2, "result": "x" * 60_000}) + "\n"
    with proxy.client() as client:
        client.send(request(1, "sleep") + request(2, "raw", text=last) + request(3, "exit", code=0))
        answers = client.rest()
    assert [(answer["id"], "error" in answer) for answer in answers] == [(2, False), (1, True), (3, True)]


def test_a_cancelled_request_is_not_due(proxy: Proxy) -> None:
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    with proxy.client() as client:
        client.send(request(1, "sleep") + json.dumps(cancel).encode() + b"\n" + request(2, "exit", code=3))
        assert [error["id"] for error in client.rest()] == [2]


def test_a_crash_costs_nobody_else_anything(proxy: Proxy) -> None:
    with proxy.client() as other:
        other.ask(1)
        with proxy.client() as client:
            client.send(request(1, "kill"))
            assert len(client.rest()) == 1
        assert other.ask(2)["id"] == 2


@pytest.mark.parametrize("command", ["/nonexistent/server", "no-such-program-anywhere", "/etc/hostname"])
def test_a_command_that_cannot_be_started_is_an_error_for_the_first_request(tmp_path: Path, command: str) -> None:
    with Proxy(tmp_path, [command]) as proxy:
        for _ in range(2):
            with proxy.client() as client:
                client.send(b'{"jsonrpc":"2.0","method":"notifications/x"}\n' + request("first")[:10])
                select.select([], [], [], 0.1)
                client.send(request("first")[10:])
                (error,) = client.rest()
                assert (error["id"], error["error"]["code"]) == ("first", -32000)
                assert error["error"]["message"].startswith(f"the command cannot be started: {command}: ")
        proxy.wait_for_no_process()


def test_a_line_over_the_limit_ends_the_connection_with_an_error_and_flat_memory(proxy: Proxy) -> None:
    def peak_kb() -> int:
        status = read_bytes(f"/proc/{proxy.process.pid}/status").decode()
        return int(re.findall(r"VmHWM:\s+(\d+)", status)[0])

    with proxy.client() as client:
        client.ask(1)
        before_kb = peak_kb()
        with suppress(OSError):  # once the proxy has closed
            for _ in range(64):
                client.send(b"x" * (1 << 20))
    assert peak_kb() - before_kb < 3 * MAX_LINE_BYTES >> 10
    proxy.wait_for_log(r"\[1\] .* ended after .*: a line of more than 10485760 bytes")
    proxy.wait_for_no_process()


def test_a_line_over_the_limit_is_answered_with_an_error(proxy: Proxy) -> None:
    with proxy.client() as client:
        client.ask(1)
        client.send(b"x" * (MAX_LINE_BYTES + 1))
        (error,) = client.rest()
    assert (error["id"], error["error"]["code"]) == (None, -32600)


def test_a_line_of_just_the_limit_passes(proxy: Proxy) -> None:
    size = len(request(1, "count", text=""))
    with proxy.client() as client:
        for more in (0, 1):  # the limit is without the line end
            text = "x" * (MAX_LINE_BYTES - size + more)
            assert client.ask(1, "count", text=text)["result"]["got"]["bytes"] == MAX_LINE_BYTES + more


def test_a_child_that_never_ends_its_line_ends_the_connection_with_an_error(start: Start) -> None:
    proxy = start("import sys\nsys.stdin.readline()\nwhile True: sys.stdout.write('{' * 65536)\n")
    with proxy.client() as client:
        client.send(request(1))
        (error,) = client.rest()
    assert error["id"] == 1 and "10485760 bytes in one line" in error["error"]["message"]
    proxy.wait_for_no_process()


# -- who reads slowly --------------------------------------------------------------------------------------------------


def rss_kb(pid: int) -> int:
    return int(re.findall(r"VmRSS:\s+(\d+)", read_bytes(f"/proc/{pid}/status").decode())[0])


def test_a_client_that_does_not_read_stops_its_child_and_costs_bounded_memory(proxy: Proxy) -> None:
    with proxy.client() as slow, proxy.client() as other:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        slow.ask("first")
        before_kb = rss_kb(proxy.process.pid)
        count = 200
        for number in range(count):
            slow.send(request(number, "big", bytes=500_000))
        other.ask(1)
        assert rss_kb(proxy.process.pid) - before_kb < 30_000  # of 100 MB
        answers = [slow.line() for _ in range(count)]
        assert [answer["id"] for answer in answers] == list(range(count))


def test_a_child_that_does_not_read_stops_its_client_and_costs_bounded_memory(start: Start) -> None:
    gate = 'import os, sys, time\nprint(\'{"jsonrpc":"2.0","method":"up"}\', flush=True)\n'
    wait = "while not os.path.exists(sys.argv[0] + '.go'): time.sleep(0.01)\n"
    proxy = start(gate + wait + SERVER)
    with proxy.client() as client:
        client.send(request("first"))
        assert client.line()["method"] == "up"
        before_kb = rss_kb(proxy.process.pid)
        client.socket.setblocking(False)
        line, sent, stream = 0, 0, b"".join(request(number, text="x" * 1000) for number in range(40_000))
        while select.select([], [client.socket], [], 0.5)[1]:
            sent += client.socket.send(stream[sent : sent + 65536])
        assert sent < len(stream)  # it was stopped
        assert rss_kb(proxy.process.pid) - before_kb < 30_000
        Path(f"{proxy.command[-1]}.go").touch()
        client.socket.settimeout(20)
        end = stream.rfind(b"\n", 0, sent) + 1
        line = stream.count(b"\n", 0, end)
        assert [client.line()["id"] for _ in range(line + 1)] == ["first", *range(line)]


def test_a_client_that_vanishes_while_its_child_does_not_read_is_noticed(start: Start) -> None:
    proxy = start("import time\ntime.sleep(600)")
    client = proxy.client()
    client.send(request(0))
    until(proxy.commands, "a child")
    client.socket.setblocking(False)
    while select.select([], [client.socket], [], 0.3)[1]:
        client.socket.send(request(1, text="x" * 60_000))
    client.reset()
    proxy.wait_for_no_process()


# -- what is left ------------------------------------------------------------------------------------------------------


def test_50_abrupt_disconnects_leave_no_process(start: Start) -> None:
    proxy = start(SERVER, "--max-sessions", "51")
    for number in range(50):
        client = proxy.client()
        client.send(request(1, "sleep") if number % 2 else request(1, "sleep")[:20])
        if number % 3 == 0:
            until(proxy.commands, "a child")
        client.reset()
    with proxy.client() as last:
        last.ask(1)  # by its answer the proxy has seen all of them
    proxy.wait_for_no_process()
    proxy.wait_for_no_session()
    until(lambda: not proxy.zombies(), "no zombie")


def test_a_reset_ends_a_stubborn_child_and_all_it_started(start: Start) -> None:
    proxy = start(STUBBORN)
    client = proxy.client()
    client.ask(1)
    proxy.wait_for_commands(3)
    client.reset()
    proxy.wait_for_no_process()
    until(lambda: not proxy.zombies(), "no zombie")
    proxy.wait_for_log(r"ended after .* s: the client .*: signal SIGKILL")


def test_what_a_child_leaves_behind_at_its_own_end_is_ended(start: Start) -> None:
    orphan = "import subprocess, sys\nsys.stdin.readline()\nsubprocess.Popen(['setsid', 'sleep', '600'])\n"
    proxy = start(orphan)
    with proxy.client() as client:
        client.send(request(1))
        assert client.line()["error"]["message"] == "the command ended: exit 0"
    proxy.wait_for_no_process()


def test_kill_9_of_the_proxy_leaves_no_process_within_2_s(start: Start, tmp_path: Path) -> None:
    directories = tmp_path / "each"
    proxy = start(STUBBORN, "--cwd-each", str(directories))
    clients = [proxy.client() for _ in range(3)]
    for client in clients:
        client.ask(1)
    proxy.wait_for_commands(9)
    proxy.process.kill()
    proxy.process.wait()
    proxy.wait_for_no_process(2)
    assert list(directories.iterdir()) == []
    for client in clients:
        client.close()


def test_kill_9_of_a_keeper_leaves_no_process(start: Start) -> None:
    proxy = start(STUBBORN)
    with proxy.client() as client, proxy.client() as other:
        client.ask(1)
        other.ask(1)
        proxy.wait_for_commands(6)
        before = len(proxy.processes())
        child = int(proxy.wait_for_log(r"\[1\] .* began: child (\d+)")[1])
        os.kill(int(stat_fields(child)[1]), signal.SIGKILL)
        assert client.rest() == []
        until(lambda: len(proxy.processes()) == before // 2, "the end of one half")
        assert other.ask(2)["id"] == 2
    until(lambda: not proxy.zombies(), "no zombie")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_proxy_with_0_within_5_s_and_answers_what_is_due(
    start: Start, number: signal.Signals
) -> None:
    proxy = start(STUBBORN)
    with proxy.client() as client, proxy.client() as silent:
        client.ask(1)
        os.kill(max(proxy.commands()), signal.SIGSTOP)
        client.send(b'{"jsonrpc":"2.0","id":2,"method":"x"}\n' * 2000)
        proxy.process.send_signal(number)
        assert proxy.ends_within(5) == 0
        assert proxy.processes() == []
        messages = client.rest()
        assert silent.rest() == []
    assert messages[-1]["id"] == 2
    assert messages[-1].get("error", {}).get("message", "the proxy is stopping") == "the proxy is stopping"
    assert f"ends by {number.name}" in proxy.log


def test_a_signal_to_the_whole_group_is_as_good(tmp_path: Path) -> None:
    with Proxy(tmp_path, python(tmp_path, SERVER)) as proxy, proxy.client() as client:
        client.ask(1)
        for pid in [proxy.process.pid, *proxy.processes()]:  # as supervisord's stopasgroup and more
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        assert proxy.ends_within(5) == 0
        assert proxy.processes() == []


# -- limits, places, environment ---------------------------------------------------------------------------------------


def test_one_more_than_the_most_is_told_so_and_closed_until_one_has_ended(start: Start) -> None:
    proxy = start(SERVER, CLAUDE_FLOW_MAX_SESSIONS="2")
    with proxy.client() as one, proxy.client() as two:
        one.ask(1)
        two.ask(1)
        with proxy.client() as third:
            third.send(request(1))  # what nobody reads must not cost it the answer
            assert third.rest() == [
                {
                    "jsonrpc": "2.0",
                    "id": None,
                    "error": {
                        "code": -32000,
                        "message": "Maximum concurrent sessions reached (2); try again when one has ended",
                    },
                }
            ]
        assert proxy.health() == {"active_sessions": 2, "max_sessions": 2, "port": proxy.port}
    proxy.wait_for_no_session()
    with proxy.client() as client:
        client.ask(1)


def test_200_at_once_are_all_turned_away_or_served(start: Start) -> None:
    proxy = start(SERVER, "--max-sessions", "1")
    with proxy.client() as first:
        first.ask(1)
        crowd = [proxy.client() for _ in range(200)]
        for client in crowd:
            client.close()
        assert first.ask(2)["id"] == 2
    assert proxy.log.count("turned away") == 1


def test_each_child_has_a_directory_of_its_own_which_goes_with_it(start: Start, tmp_path: Path) -> None:
    directories = tmp_path / "new" / "each"
    proxy = start(SERVER, "--cwd-each", str(directories))
    with proxy.client() as one, proxy.client() as other:
        places = [Path(client.ask(1, "write", path="mine")["result"]["cwd"]) for client in (one, other)]
        assert sorted(directories.iterdir()) == sorted(places)
        for place, client in zip(places, (one, other), strict=True):
            assert stat.S_IMODE(place.stat().st_mode) == 0o700
            assert (place / "mine").exists()
            env = client.ask(2)["result"]["env"]
            assert (env["PWD"], env["TMPDIR"], env["HOME"]) == (str(place), f"{place}/tmp", os.environ["HOME"])
            assert Path(env["TMPDIR"]).is_dir()
    until(lambda: not list(directories.iterdir()), "no directory")


def test_without_directories_of_their_own_children_work_where_the_proxy_does(proxy: Proxy) -> None:
    with proxy.client() as client:
        assert client.ask(1)["result"]["cwd"] == os.getcwd()


def test_directories_that_nobody_removed_go_at_the_next_start_and_others_stay(start: Start, tmp_path: Path) -> None:
    directories = tmp_path / "each"
    proxy = start(SERVER, "--cwd-each", str(directories))
    with proxy.client() as client:
        in_use = Path(client.ask(1)["result"]["cwd"])
        stale, foreign = directories / "stale", directories / "foreign"
        for place in (stale, foreign):
            (place / "sub").mkdir(parents=True)
        (stale / ".mcp-tcp-proxy").touch()
        start(SERVER, "--cwd-each", str(directories))
        assert sorted(directories.iterdir()) == sorted([in_use, foreign])
        assert client.ask(2)["result"]["cwd"] == str(in_use)


def test_no_child_gets_the_suites_tokens_nor_what_would_move_claude_flows_state(start: Start, tmp_path: Path) -> None:
    secrets = {"TCP_AUTH_TOKEN": "s3", "WS_AUTH_TOKEN": "s3", "CLAUDECODE": "1"}
    moves = {"CLAUDE_FLOW_CWD": "/x", "CLAUDE_FLOW_DB_PATH": "/x", "CLAUDE_FLOW_MEMORY_PATH": "/x"}
    proxy = start(SERVER, "--cwd-each", str(tmp_path / "each"), **secrets, **moves, OTHER="kept")
    with proxy.client() as client:
        env = client.ask(1)["result"]["env"]
    assert not env.keys() & {*secrets, *moves}
    assert env["OTHER"] == "kept"


def test_connections_are_kept_alive_so_that_dead_peers_are_noticed(proxy: Proxy) -> None:
    with proxy.client() as client:
        client.ask(1)
        local = f":{proxy.port:04X} ".encode()
        wanted = b":%04X " % client.socket.getsockname()[1]

        def timer() -> bytes:
            rows = [row for row in read_bytes("/proc/net/tcp").splitlines() if local in row and wanted in row]
            return next(row.split()[5] for row in rows if row.split()[1].endswith(local.strip()))

        until(lambda: timer().startswith(b"02:"), "its timer to be that of keepalive")


# -- starting ----------------------------------------------------------------------------------------------------------


def refused(*words: str, **env: str) -> tuple[int, str]:
    """The exit code and the one line of a proxy that does not start."""
    argv = [sys.executable, "-m", "mcp_tcp.proxy", *words]
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, **env}, timeout=20)
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("mcp-tcp-proxy: ") and "; " in done.stderr
    return done.returncode, done.stderr


def test_a_wrong_call_exits_2_with_one_line() -> None:
    assert refused("--port", "1") == (2, "mcp-tcp-proxy: there is no command; put it last, after --\n")
    for words in (["--port", "x"], ["--port", "65536"], ["--max-sessions", "0"], ["--nonsense"], ["cat"], ["--port"]):
        assert refused(*words, "--", "cat")[0] == 2


def test_a_wrong_variable_exits_78_naming_it() -> None:
    code, line = refused("--", "cat", CLAUDE_FLOW_TCP_PORT="many")
    assert code == 78 and "CLAUDE_FLOW_TCP_PORT: 'many'" in line
    assert refused("--port", "0", "--bind", "192.0.2.1", "--", "cat")[0] == 78


def test_a_port_that_is_taken_exits_75(proxy: Proxy) -> None:
    for words in (["--port", str(proxy.port)], ["--port", "0", "--health-port", str(proxy.port)]):
        code, line = refused(*words, "--", "cat")
        assert code == 75 and f"127.0.0.1:{proxy.port}: the port is taken" in line


def test_a_directory_that_cannot_be_made_exits_73(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refused("--port", "0", "--cwd-each", str(tmp_path / "file" / "x"), "--", "cat")[0] == 73


def test_help_says_what_the_options_are() -> None:
    done = subprocess.run([sys.executable, "-m", "mcp_tcp.proxy", "--help"], capture_output=True, text=True, check=True)
    assert all(
        option in done.stdout for option in ("--port", "--health-port", "--bind", "--cwd-each", "--max-sessions")
    )


def test_the_log_tells_where_the_proxy_is_and_of_each_connection_once(proxy: Proxy) -> None:
    with proxy.client() as client:
        address = "{}:{}".format(*client.socket.getsockname())
        pid = client.ask(1)["result"]["pid"]
        assert client.finish() == []  # so that the child has the time to end by itself
    ended = proxy.wait_for_log(r"ended after .*\n")[0]
    lines = proxy.log.splitlines()
    assert f"listening on 127.0.0.1:{proxy.port}, health on 127.0.0.1:{proxy.health_port}, at most 10" in lines[0]
    assert lines[1].endswith(f" mcp-tcp-proxy: [1] {address} began: child {pid}")
    assert lines[2].endswith(f"[1] {address} {ended.strip()}") and f"the client closed; child {pid}: exit 0" in ended
    assert len(lines) == 3
    assert not is_alive(pid)


def test_clients_that_come_and_go_leave_the_proxy_as_small_as_it_was(proxy: Proxy) -> None:
    def visit(times: int) -> None:
        for number in range(times):
            with Client(proxy.port) as client:
                client.ask(number)
        proxy.wait_for_no_process()

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{proxy.process.pid}/fd"))

    visit(5)
    proxy.wait_for_no_session()
    before, before_kb = descriptors(), rss_kb(proxy.process.pid)
    visit(30)
    until(lambda: descriptors() <= before, "no descriptor more than before")
    assert rss_kb(proxy.process.pid) - before_kb < 2_000
