"""What the bridge keeps, replays and answers by itself, over connections that come and go; and how long it waits for them."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_tcp.bridge.__main__ import BadUsage, address_from, parse_address, parse_words, token_from
from mcp_tcp.bridge.backoff import FIRST_S, LONGEST_S, backoff_s
from mcp_tcp.bridge.exchange import MAX_KEPT_BYTES, MAX_KEPT_LINES, OPEN, REPEATABLE, Exchange
from mcp_tcp.bridge.stdio import peer_name
from mcp_tcp.lines import LineSplitter

PEER = "127.0.0.1:9500"
LOST = f"the connection to {PEER} was lost before the answer came; it may or may not have been carried out"
INITIALIZE = {"id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}}}
AGREED = {"protocolVersion": "2025-11-25", "capabilities": {"resources": {"subscribe": True}}}
INITIALIZED = {"method": "notifications/initialized"}
SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"


def line(message: Any) -> bytes:
    if isinstance(message, dict):
        message = {"jsonrpc": "2.0", **message}
    return json.dumps(message).encode() + b"\n"


def request(request_id: Any, method: str = "tools/call", **params: Any) -> dict[str, Any]:
    return {"id": request_id, "method": method, "params": params}


class Talk:
    """An exchange, driven with messages; `heard` is what the server was sent, `told` what the client was."""

    def __init__(self, **options: Any) -> None:
        self.exchange = Exchange(PEER, nonce="n", **options)
        self.now_s = 100.0

    def client(self, *messages: Any) -> None:
        for message in messages:
            self.exchange.from_client(line(message), self.now_s)

    def server(self, *messages: Any) -> None:
        for message in messages:
            self.exchange.from_server(line(message))

    def heard_lines(self, limit: int = 10_000) -> list[bytes]:
        found: list[bytes] = []
        while len(found) < limit and (data := self.exchange.next_line()) is not None:
            found.append(data)
            self.exchange.line_begun()
        return found

    def heard(self) -> list[Any]:
        return [json.loads(data) for data in self.heard_lines()]

    def told(self) -> list[Any]:
        data = bytes(self.exchange.to_client)
        self.exchange.to_client.clear()
        return [json.loads(each) for each in data.splitlines()]

    def connect(self) -> list[Any]:
        self.exchange.connected()
        return self.heard()

    def set_up(self, *more: dict[str, Any]) -> None:
        """A legacy client whose handshake and whose further requests are done and answered."""
        self.connect()
        self.client(INITIALIZE)
        self.heard()
        self.server({"id": 0, "result": AGREED})
        self.client(INITIALIZED, *more)
        self.heard()
        self.server(*({"id": each["id"], "result": {}} for each in more))
        self.told()

    def reconnect(self) -> list[Any]:
        """Everything the next server is sent, where it agrees to the repeated `initialize`."""
        self.exchange.lost("closed by the server")
        first = self.connect()
        self.server({"id": first[0]["id"], "result": AGREED})
        return first + self.heard()


def errors(answers: list[Any]) -> dict[Any, str]:
    return {each["id"]: each["error"]["message"] for each in answers}


# -- sent, kept, lost --------------------------------------------------------------------------------------------------


def test_lines_pass_byte_for_byte_in_both_directions() -> None:
    talk = Talk()
    talk.exchange.connected()
    odd = b'{ "jsonrpc":"2.0",  "id":1e0,"method":"t/\\u0061","params":{"n":1.50,"b":99999999999999999999} }\r\n'
    answer = b'{"id":1.0, "result":{"x":1.10},"jsonrpc":"2.0"}\r\n'
    talk.exchange.from_client(odd, 0.0)
    assert talk.heard_lines() == [odd]
    talk.exchange.from_server(answer)
    assert bytes(talk.exchange.to_client) == answer


def test_what_is_no_json_passes_to_the_server_which_judges_it_and_is_dropped_on_its_way_back() -> None:
    talk = Talk()
    talk.exchange.connected()
    talk.exchange.from_client(b"{oh no\n", 0.0)
    assert talk.heard_lines() == [b"{oh no\n"]
    talk.server({"id": None, "error": {"code": -32700, "message": "no JSON"}})
    assert errors(talk.told()) == {None: "no JSON"}
    for bad in (b"Listening on 9500\n", b"12\n", b'{"torn":\n', b"\n"):
        talk.exchange.from_server(bad)
    assert talk.told() == []
    assert len(talk.exchange.notes) == 3  # the blank line is nothing to tell of


def test_what_was_not_sent_waits_for_the_connection_in_its_order() -> None:
    talk = Talk()
    first, second = request(1), {"method": "notifications/progress", "params": {"progress": 1}}
    talk.client(first, second, request("1"))
    talk.exchange.lost("refused")
    assert talk.told() == []
    assert talk.connect() == [json.loads(line(each)) for each in (first, second, request("1"))]


def test_what_was_sent_and_not_answered_is_answered_with_an_error_and_the_rest_is_kept() -> None:
    talk = Talk()
    talk.exchange.connected()
    talk.client(request(1), request("two"), request(3))
    talk.heard_lines(2)
    talk.server({"id": 1, "result": {}})
    assert [each["id"] for each in talk.told()] == [1]
    talk.exchange.lost("closed by the server")
    assert talk.told() == [{"jsonrpc": "2.0", "id": "two", "error": {"code": -32000, "message": LOST}}]
    assert [each["id"] for each in talk.connect()] == [3]


@pytest.mark.parametrize("method", sorted(REPEATABLE))
def test_what_changes_nothing_when_done_twice_is_sent_again_instead(method: str) -> None:
    talk = Talk()
    talk.exchange.connected()
    talk.client(request(1, method, uri="a:b"), request(2))
    talk.heard_lines(1)
    talk.exchange.lost("closed by the server")
    assert talk.told() == []
    assert [each["id"] for each in talk.connect()] == [1, 2]
    talk.server({"id": 1, "result": {}})
    assert [each["id"] for each in talk.told()] == [1]


def test_a_client_in_a_hurry_has_its_initialized_said_again_after_its_unanswered_initialize() -> None:
    talk = Talk()
    talk.client(INITIALIZE, INITIALIZED, request(1))
    talk.exchange.connected()
    assert len(talk.heard_lines(2)) == 2
    talk.exchange.lost("closed by the server")
    assert [each["method"] for each in talk.connect()] == ["initialize", "notifications/initialized", "tools/call"]
    talk = Talk()
    talk.client(INITIALIZE, INITIALIZED)
    talk.exchange.connected()
    talk.heard_lines(1)
    talk.exchange.lost("closed by the server")
    assert [each["method"] for each in talk.connect()] == ["initialize", "notifications/initialized"]


def test_a_request_waits_so_long_and_no_longer_for_a_connection() -> None:
    talk = Talk(wait_s=30.0)
    talk.client(request(1))
    talk.now_s += 10
    talk.client({"method": "notifications/progress"}, request(2))
    talk.exchange.lost("refused")
    assert talk.exchange.deadline_s() == 130.0
    talk.exchange.expire(129.9)
    assert talk.told() == []
    talk.exchange.expire(130.0)
    assert errors(talk.told()) == {1: f"no connection to {PEER}: refused; is mcp-tcp running?"}
    talk.exchange.expire(140.0)
    assert list(errors(talk.told())) == [2]
    assert talk.exchange.settled and talk.exchange.deadline_s() is None
    assert talk.connect() == []


def test_what_waits_for_a_slow_server_to_read_does_not_expire() -> None:
    talk = Talk(wait_s=30.0)
    talk.exchange.connected()
    talk.client(request(1))
    talk.exchange.expire(1e9)
    assert talk.exchange.deadline_s() is None and talk.told() == []


@pytest.mark.parametrize(("count", "size"), [(MAX_KEPT_LINES, 1), (7, MAX_KEPT_BYTES // 7 - 200)])
def test_in_an_outage_so_much_is_kept_and_more_is_answered_at_once(count: int, size: int) -> None:
    talk = Talk()
    talk.exchange.lost("refused")
    talk.client(*(request(i, text="x" * size) for i in range(count)))
    assert talk.told() == []
    talk.client(request("more", text="x" * size), {"method": "n", "params": {"text": "x" * size}})
    (answer,) = talk.told()
    assert answer["id"] == "more" and answer["error"]["code"] == -32000
    assert "1,000 requests or 8 MiB" in answer["error"]["message"]
    assert [each["id"] for each in talk.connect()] == list(range(count))
    talk.client(request("after"))
    assert [each["id"] for each in talk.heard()] == ["after"]


@pytest.mark.parametrize("token", ["", "secret"])
def test_nothing_is_turned_away_while_a_connection_is_being_made(token: str) -> None:
    talk = Talk(token=token)
    for connections in range(2):
        talk.client(*(request(i) for i in range(MAX_KEPT_LINES + 1)))
        assert talk.told() == [], f"after {connections} connections"
        talk.exchange.lost("refused")
        talk.exchange.give_up(5.0)
        talk.told()
        talk.exchange.connected()


def test_each_request_of_a_batch_gets_its_error_in_one_array() -> None:
    talk = Talk()
    talk.exchange.connected()
    talk.client([request(1), {"method": "notifications/progress"}, request("2"), request(3)])
    talk.heard()
    talk.server([{"id": 1, "result": {}}])
    talk.told()
    talk.exchange.lost("closed by the server")
    (batch,) = talk.told()
    assert errors(batch) == {"2": LOST, 3: LOST}


def test_what_is_cancelled_before_it_was_sent_is_never_sent() -> None:
    talk = Talk()
    cancel = {"method": "notifications/cancelled", "params": {"requestId": 1}}
    talk.client(request(1), request("1"), cancel)
    assert talk.exchange.kept_bytes == len(line(request("1")))
    assert [each["id"] for each in talk.connect()] == ["1"]
    assert talk.told() == [] and talk.exchange.kept_bytes == 0


def test_a_batch_is_sent_even_if_its_only_request_is_cancelled() -> None:
    talk = Talk()
    talk.client([request(1), {"method": "notifications/progress"}])
    talk.client({"method": "notifications/cancelled", "params": {"requestId": 1}})
    assert len(talk.connect()) == 1


def test_for_what_is_cancelled_after_it_was_sent_no_answer_is_due_any_more() -> None:
    talk = Talk()
    cancel = {"method": "notifications/cancelled", "params": {"requestId": 1}}
    talk.exchange.connected()
    talk.client(request(1))
    talk.heard()
    talk.client(cancel)
    assert [each["method"] for each in talk.heard()] == ["notifications/cancelled"]
    assert talk.exchange.settled
    talk.exchange.lost("closed by the server")
    talk.client(cancel)
    assert talk.told() == [] and talk.connect() == []


def test_an_answer_of_the_client_goes_to_no_other_connection_than_the_one_that_asked() -> None:
    talk = Talk()
    talk.exchange.connected()
    talk.server(request(7, "roots/list"), request(8, "roots/list"), request(9, "ping"))
    talk.client({"id": 7, "result": {"roots": []}})
    assert [each["id"] for each in talk.heard()] == [7]
    talk.client({"id": 8, "result": {"roots": []}})
    talk.exchange.lost("closed by the server")
    talk.client({"id": 9, "result": {}})
    assert talk.connect() == []


def test_at_the_end_everything_that_is_still_due_gets_an_error() -> None:
    talk = Talk()
    talk.exchange.connected()
    talk.client(request(1), request(2))
    talk.heard_lines(1)
    assert not talk.exchange.settled and not talk.exchange.all_sent
    talk.exchange.give_up(5.0)
    found = errors(talk.told())
    assert "within 5 s of the end of the input" in found[1] and "no connection" in found[2]
    assert talk.exchange.settled


@pytest.mark.parametrize(
    "nasty", [b'{"id":%b1%b,"method":"initialize","params":%b1%b}\n' % (b"[" * 400, b"]" * 400, b"[" * 400, b"]" * 400)]
)
def test_ids_and_params_that_cannot_be_repeated_break_nothing(nasty: bytes) -> None:
    talk = Talk()
    talk.exchange.connected()
    talk.exchange.from_client(nasty, 0.0)
    deep = b'{"id":5,"method":"initialize","params":{"x":%b1%b}}\n' % (b"[" * 400, b"]" * 400)
    talk.exchange.from_client(deep, 0.0)
    assert talk.heard_lines() == [nasty, deep]
    talk.server({"id": 5, "result": AGREED}, {"id": None, "error": {"code": -32600, "message": "bad id"}})
    talk.exchange.lost("closed by the server")
    assert talk.connect() == []


REQUESTS = st.lists(st.sampled_from(["client", "connect", "send", "answer", "lost", "expire"]), max_size=80)


@given(REQUESTS)
def test_every_request_is_answered_exactly_once_and_sent_at_most_once(steps: list[str]) -> None:
    talk = Talk(wait_s=5.0)
    asked, sent = 0, Counter[int]()
    due: list[int] = []
    for step in steps:
        talk.now_s += 1
        if step == "client":
            asked += 1
            talk.client(request(asked))
        elif step == "connect" and talk.exchange.phase != OPEN:
            talk.exchange.connected()
            due.clear()
        elif step == "send":
            now = [json.loads(data)["id"] for data in talk.heard_lines(1)]
            sent.update(now)
            due += now
        elif step == "answer" and talk.exchange.phase == OPEN and due:
            talk.server({"id": due.pop(0), "result": {}})
        elif step == "lost":
            talk.exchange.lost("closed by the server")
        elif step == "expire":
            talk.exchange.expire(talk.now_s)
        if talk.exchange.phase == OPEN:
            assert (talk.exchange.kept_bytes > 0) == (talk.exchange.next_line() is not None)
    talk.exchange.give_up(5.0)
    assert talk.exchange.kept_bytes == 0
    answered = Counter(each["id"] for each in talk.told())
    assert answered == Counter(range(1, asked + 1))
    assert set(sent.values()) <= {1}


@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([line(request(1)), line(INITIALIZE)])), max_size=20))
def test_whatever_either_side_says_nothing_raises_and_the_client_gets_whole_lines(pieces: list[bytes]) -> None:
    talk = Talk()
    for index, piece in enumerate(pieces):
        data = piece.replace(b"\n", b"") + b"\n"
        if index % 5 == 0:
            talk.exchange.connected()
        talk.exchange.from_client(data, 0.0)
        talk.heard_lines()
        talk.exchange.from_server(data)
        if index % 7 == 6:
            talk.exchange.lost("closed by the server")
    told = bytes(talk.exchange.to_client)
    assert not told or told.endswith(b"\n")
    assert all(isinstance(each, dict | list) for each in talk.told())


# -- the handshake of the legacy eras ----------------------------------------------------------------------------------


def test_after_a_reconnect_the_handshake_comes_before_all_else_and_its_answers_are_swallowed() -> None:
    talk = Talk()
    talk.set_up(
        request(1, "resources/subscribe", uri="hive://sessions"),
        request(2, "resources/subscribe", uri="hive://session/a"),
        request(3, "resources/unsubscribe", uri="hive://sessions"),
        request(4, "logging/setLevel", level="debug"),
    )
    talk.exchange.lost("closed by the server")
    talk.client(request(5))
    (again,) = talk.connect()
    assert again["method"] == "initialize" and again["params"] == INITIALIZE["params"]
    assert again["id"] != 0 and isinstance(again["id"], str)
    talk.server({"id": again["id"], "result": AGREED})
    rest = talk.heard()
    assert [each["method"] for each in rest] == [
        "notifications/initialized", "resources/subscribe", "logging/setLevel", "tools/call",
    ]  # fmt: skip
    assert rest[1]["params"] == {"uri": "hive://session/a"} and rest[2]["params"] == {"level": "debug"}
    assert len({json.dumps(each.get("id")) for each in [again, *rest]}) == 5
    assert talk.told() == []
    talk.server({"id": rest[1]["id"], "result": {}}, {"id": rest[2]["id"], "result": {}}, {"id": 5, "result": {}})
    updated, answer = talk.told()
    assert updated == {
        "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "hive://session/a"},
    }  # fmt: skip
    assert answer["id"] == 5


def test_a_subscription_whose_end_was_never_answered_stands_on_as_its_error_says() -> None:
    talk = Talk()
    talk.set_up(request(1, "resources/subscribe", uri="a:b"))
    talk.client(request(2, "resources/unsubscribe", uri="a:b"))
    talk.heard()
    assert [each["method"] for each in talk.reconnect()][1:] == ["notifications/initialized", "resources/subscribe"]
    assert errors(talk.told()) == {2: LOST}


def test_the_client_s_initialized_is_said_once_even_if_it_came_in_the_outage() -> None:
    talk = Talk()
    talk.connect()
    talk.client(INITIALIZE)
    talk.heard()
    talk.server({"id": 0, "result": AGREED})
    talk.exchange.lost("closed by the server")
    talk.client(INITIALIZED)
    assert [each["method"] for each in talk.reconnect()] == ["initialize", "notifications/initialized"]
    assert [each["method"] for each in talk.reconnect()] == ["initialize", "notifications/initialized"]


def test_the_ids_of_the_bridge_never_come_again() -> None:
    talk = Talk(token="secret")
    talk.client(INITIALIZE)
    seen = []
    for _ in range(4):
        (authenticate,) = talk.connect()
        talk.server({"id": authenticate["id"], "result": {"authenticated": True}})
        (again,) = talk.heard()
        talk.server({"id": again["id"], "result": AGREED})
        seen += [authenticate["id"], again["id"]]
        talk.exchange.lost("closed by the server")
    assert seen[1] == 0 and len(set(seen)) == 8


def test_lists_that_the_server_says_change_are_told_of_after_a_reconnect() -> None:
    talk = Talk()
    talk.set_up()
    talk.exchange.lost("closed by the server")
    (again,) = talk.connect()
    offers = {"tools": {"listChanged": True}, "prompts": {"listChanged": False}, "resources": {}}
    talk.server({"id": again["id"], "result": {**AGREED, "capabilities": offers}})
    assert [each["method"] for each in talk.told()] == ["notifications/tools/list_changed"]
    assert talk.exchange.notes == []


def test_another_protocol_version_after_a_reconnect_is_told_of_on_stderr() -> None:
    talk = Talk()
    talk.set_up()
    talk.exchange.lost("closed by the server")
    (again,) = talk.connect()
    talk.server({"id": again["id"], "result": {"protocolVersion": "2024-11-05"}})
    assert talk.exchange.notes == ["the server now speaks MCP 2024-11-05, and this client was told 2025-11-25"]
    assert talk.exchange.phase == OPEN


def test_a_server_that_refuses_the_repeated_initialize_is_left_and_the_requests_wait_on() -> None:
    talk = Talk()
    talk.set_up()
    talk.exchange.lost("closed by the server")
    talk.client(request(1))
    (again,) = talk.connect()
    talk.server({"id": again["id"], "error": {"code": -32000, "message": "Authentication\x1b required"}})
    assert talk.exchange.refusal == "it refused the client's initialize: Authentication? required"
    talk.exchange.lost("refused")
    assert talk.told() == [] and talk.exchange.why == "it refused the client's initialize: Authentication? required"
    assert not talk.exchange.settled


def test_an_initialize_that_failed_is_not_repeated() -> None:
    talk = Talk()
    talk.connect()
    talk.client(INITIALIZE)
    talk.heard()
    talk.server({"id": 0, "error": {"code": -32602, "message": "no"}})
    talk.exchange.lost("closed by the server")
    assert talk.connect() == []
    assert not talk.exchange.wants_connection


# -- 2026-07-28 --------------------------------------------------------------------------------------------------------


def acknowledged(request_id: Any, **honoured: Any) -> dict[str, Any]:
    params = {"_meta": {SUBSCRIPTION_ID: request_id}, "notifications": honoured}
    return {"method": "notifications/subscriptions/acknowledged", "params": params}


def test_an_open_subscription_is_sent_again_as_it_was_and_acknowledged_to_the_client_once() -> None:
    talk = Talk()
    listen = line(request("listen-1", "subscriptions/listen", notifications={"resourceSubscriptions": ["hive://a"]}))
    talk.exchange.connected()
    talk.exchange.from_client(listen, 0.0)
    assert talk.heard_lines() == [listen]
    honoured = {"resourceSubscriptions": ["hive://a"], "toolsListChanged": True}
    talk.server(acknowledged("listen-1", **honoured))
    assert [each["method"] for each in talk.told()] == ["notifications/subscriptions/acknowledged"]
    assert talk.exchange.settled  # an open subscription is no answer to wait for at the end
    for _ in range(2):
        talk.exchange.lost("closed by the server")
        assert talk.told() == [] and talk.exchange.wants_connection
        talk.exchange.connected()
        assert talk.heard_lines() == [listen]
        talk.server(acknowledged("listen-1", **honoured))
        meta = {SUBSCRIPTION_ID: "listen-1"}
        assert [(each["method"], each["params"]) for each in talk.told()] == [
            ("notifications/tools/list_changed", {"_meta": meta}),
            ("notifications/resources/updated", {"uri": "hive://a", "_meta": meta}),
        ]


def test_a_subscription_lost_before_it_was_acknowledged_has_its_acknowledgement_later() -> None:
    talk = Talk()
    talk.exchange.connected()
    talk.client(request(1, "subscriptions/listen"))
    talk.heard()
    talk.exchange.lost("closed by the server")
    assert [each["id"] for each in talk.connect()] == [1]
    talk.server(acknowledged(1), acknowledged("unknown"))
    assert [each["method"] for each in talk.told()] == ["notifications/subscriptions/acknowledged"] * 2


def test_an_id_may_be_used_again_for_another_subscription() -> None:
    talk = Talk()
    talk.exchange.connected()
    for _ in range(2):
        talk.client(request(1, "subscriptions/listen"))
        talk.heard()
        talk.server(acknowledged(1), {"id": 1, "result": {}})
        assert [each.get("method", "result") for each in talk.told()] == [
            "notifications/subscriptions/acknowledged", "result",
        ]  # fmt: skip


@pytest.mark.parametrize("ending", ["result", "error", "cancelled", "cancelled in the outage"])
def test_a_subscription_that_has_ended_is_not_sent_again(ending: str) -> None:
    talk = Talk()
    talk.exchange.connected()
    talk.client(request(1, "subscriptions/listen"))
    talk.heard()
    talk.server(acknowledged(1))
    cancel = {"method": "notifications/cancelled", "params": {"requestId": 1}}
    if ending == "cancelled in the outage":
        talk.exchange.lost("closed by the server")
        talk.client(cancel)
    elif ending == "cancelled":
        talk.client(cancel)
        assert [each["method"] for each in talk.heard()] == ["notifications/cancelled"]
    else:
        talk.server({"id": 1, ending: {"code": -32000, "message": "no"}})
        assert [each.get("id") for each in talk.told()] == [None, 1]
    if talk.exchange.phase == OPEN:
        talk.exchange.lost("closed by the server")
    assert not talk.exchange.wants_connection
    assert talk.connect() == []


def test_a_modern_client_without_a_subscription_needs_no_connection_until_it_asks() -> None:
    talk = Talk()
    talk.connect()
    talk.client(request(1, "server/discover"))
    talk.heard()
    talk.server({"id": 1, "result": {}})
    talk.exchange.lost("closed by the server")
    assert not talk.exchange.wants_connection
    talk.client(request(2))
    assert talk.exchange.wants_connection
    assert [each["id"] for each in talk.connect()] == [2]


# -- tokens and refusals -----------------------------------------------------------------------------------------------


def test_the_token_comes_first_and_nothing_is_said_before_its_answer() -> None:
    talk = Talk(token="secret")
    talk.client(INITIALIZE)
    (authenticate,) = talk.connect()
    assert authenticate["method"] == "authenticate" and authenticate["params"] == {"token": "secret"}
    talk.server({"id": authenticate["id"], "result": {"authenticated": True}})
    assert talk.told() == []
    assert [each["method"] for each in talk.heard()] == ["initialize"]


def test_a_refused_token_is_told_to_every_request_at_once() -> None:
    talk = Talk(token="wrong")
    talk.client(request(1), request(2))
    (authenticate,) = talk.connect()
    talk.server({"id": authenticate["id"], "error": {"code": -32000, "message": "Authentication failed"}})
    assert talk.exchange.refusal is not None
    talk.exchange.lost("refused")
    words = f"no connection to {PEER}: it refused the token in TCP_AUTH_TOKEN: Authentication failed"
    assert errors(talk.told()) == {1: words, 2: words}
    assert talk.exchange.settled


def test_a_refused_token_is_not_shown_again_before_the_client_asks_for_something() -> None:
    talk = Talk(token="secret")
    talk.client(INITIALIZE)
    (authenticate,) = talk.connect()
    talk.server({"id": authenticate["id"], "result": {}})
    talk.heard()
    talk.server({"id": 0, "result": AGREED})
    talk.exchange.lost("closed by the server")
    assert talk.exchange.wants_connection
    (authenticate,) = talk.connect()
    talk.server({"id": authenticate["id"], "error": {"code": -32000, "message": "Authentication failed"}})
    talk.exchange.lost("refused")
    assert not talk.exchange.wants_connection
    talk.client(request(1))
    assert talk.exchange.wants_connection


def test_a_request_that_waits_for_a_handshake_is_told_so() -> None:
    talk = Talk(token="secret", wait_s=30.0)
    talk.client(request(1))
    talk.connect()
    talk.exchange.expire(130.0)
    assert "it has not answered the handshake" in errors(talk.told())[1]


def test_a_server_that_knows_no_tokens_needs_none() -> None:
    talk = Talk(token="secret")
    talk.client(request(1))
    (authenticate,) = talk.connect()
    talk.server({"id": authenticate["id"], "error": {"code": -32601, "message": "Method not found"}})
    assert [each["id"] for each in talk.heard()] == [1]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"id": None, "error": {"code": -32000, "message": "50 clients are connected"}}, "50 clients are connected"),
        ({"error": "MCP not ready"}, "MCP not ready"),
        ({"error": {}}, "no reason given"),
    ],
)
def test_a_server_that_opens_with_an_error_is_full_and_the_requests_wait_on(said: Any, words: str) -> None:
    talk = Talk()
    talk.client(request(1))
    talk.exchange.connected()
    talk.server(said)
    assert talk.exchange.refusal == words
    talk.exchange.lost("refused")
    assert talk.told() == []
    assert [each["id"] for each in talk.connect()] == [1]
    talk.server({"method": "notifications/message"}, said)
    assert talk.exchange.refusal is None and len(talk.told()) == 2


@pytest.mark.parametrize("bad", [{"id": None, "method": "tools/list"}, [request(1)], {"id": {}, "method": "ping"}, 5])
def test_an_error_without_an_id_answers_what_had_none_or_cannot_be_answered_singly(bad: Any) -> None:
    talk = Talk()
    talk.exchange.connected()
    talk.client(bad)
    talk.heard()
    talk.server({"id": None, "error": {"code": -32600, "message": "no"}})
    assert talk.exchange.refusal is None and errors(talk.told()) == {None: "no"}


def test_what_an_earlier_connection_was_asked_is_answered_by_no_other() -> None:
    talk = Talk()
    talk.set_up()
    talk.exchange.lost("closed by the server")
    (old,) = talk.connect()
    talk.reconnect()
    talk.server({"id": old["id"], "result": {}})
    assert [each["id"] for each in talk.told()] == [old["id"]]


# -- lines, waiting, words ---------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=40).filter(lambda piece: b"\n" not in piece)), st.data())
def test_any_split_of_the_stream_gives_the_same_lines(lines: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(each + b"\n" for each in lines) + b"rest"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    splitter = LineSplitter(max_bytes=40)
    found = [each for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) for each in splitter.feed(whole[a:b])]
    assert found == [each + b"\n" for each in lines]
    assert splitter.rest() == b"rest" and splitter.rest() == b"" and splitter.too_long == 0


@given(st.integers(1, 50))
def test_a_line_that_is_too_long_is_dropped_and_counted_and_the_next_one_passes(step: int) -> None:
    splitter = LineSplitter(max_bytes=5)
    whole = b"12345\n123456\n\nok\n" + b"x" * 40 + b"\nend\n"
    found = [each for at in range(0, len(whole), step) for each in splitter.feed(whole[at : at + step])]
    assert found == [b"12345\n", b"\n", b"ok\n", b"end\n"]
    assert splitter.too_long == 2


def test_a_line_of_the_client_that_is_too_long_has_an_answer() -> None:
    talk = Talk()
    talk.exchange.line_too_long(5)
    (answer,) = talk.told()
    assert answer["id"] is None and answer["error"]["code"] == -32600


@given(st.integers(0, 10**9), st.integers(0, 2**53 - 1).map(lambda number: number / 2**53))  # as random.random() has it
def test_a_wait_is_never_negative_never_over_ten_seconds_and_doubles_at_most(failures: int, chance: float) -> None:
    wait_s = backoff_s(failures, chance)
    assert 0 <= wait_s <= min(LONGEST_S, FIRST_S * 2.0 ** min(failures, 60))
    assert wait_s <= backoff_s(failures + 1, chance) <= max(2 * wait_s, 0.0)


def test_the_waits_spread_over_all_of_0_1_to_10_seconds() -> None:
    assert [backoff_s(failures, 1.0) for failures in (0, 1, 2, 6, 7, 8)] == pytest.approx([0.1, 0.2, 0.4, 6.4, 10, 10])
    assert backoff_s(7, 0.0) == 0.0 and backoff_s(7, 0.5) == 5.0


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:9500", ("127.0.0.1", 9500)), ("hive:1", ("hive", 1)), ("[::1]:65535", ("::1", 65535))],
)
def test_an_address_is_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
    assert peer_name(address) == text


@pytest.mark.parametrize("text", ["", "9500", "localhost", ":9500", "h:", "h:0", "h:65536", "h:x", "h:-1", "h:1²"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadUsage, match="is no HOST:PORT"):
        parse_address(text)


def test_where_none_is_named_the_environment_says_which_server() -> None:
    assert parse_words([], {}) == (("127.0.0.1", 9500), 30.0)
    env = {"MCP_HOST": "hive", "MCP_TCP_PORT": "9510"}
    assert address_from(env) == ("hive", 9510)
    assert address_from({"MCP_HOST": "::1", "MCP_TCP_PORT": ""}) == ("::1", 9500)
    assert parse_words(["--wait-s", "1.5"], env) == (("hive", 9510), 1.5)
    assert (token_from({}), token_from({"TCP_AUTH_TOKEN": "sé"})) == ("", "sé")
    with pytest.raises(BadUsage, match="TCP_AUTH_TOKEN"):
        token_from({"TCP_AUTH_TOKEN": "\udcff"})
    assert parse_words(["h:1"], env) == (("h", 1), 30.0)
    with pytest.raises(BadUsage):
        address_from({"MCP_TCP_PORT": "many"})
    for bad in ("-1", "nan", "inf"):
        with pytest.raises(BadUsage, match="wait-s"):
            parse_words(["--wait-s", bad], {})
