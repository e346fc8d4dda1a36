"""Which answers are due, from what passes both ways."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_tcp.proxy.due import MAX_DUE, MAX_ID_CHARS, Due


def ids(due: Due) -> list[Any]:
    """The ids that are due; afterwards none is."""
    return [json.loads(line)["id"] for line in due.take_errors("x").splitlines()]


def ask(*request_ids: object) -> bytes:
    """A request, or a batch of several."""
    batch = [{"jsonrpc": "2.0", "id": each, "method": "m"} for each in request_ids]
    return json.dumps(batch if len(batch) > 1 else batch[0]).encode()


def reply(request_id: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "result": {}}).encode()


@pytest.mark.parametrize("request_id", [0, 1, -1, "", "a", 1.5, 2**63, "1"])
def test_a_request_is_due_until_its_answer(request_id: object) -> None:
    due = Due()
    due.sent(ask(request_id))
    assert due.heard(reply("other")) and len(due) == 1
    assert due.heard(reply(request_id)) and len(due) == 0


def test_text_and_number_are_two_ids_but_1_and_1_0_one() -> None:
    due = Due()
    due.sent(ask(1))
    due.heard(reply("1"))
    assert len(due) == 1
    due.heard(b'{"id":1.0,"result":0}')
    assert len(due) == 0


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" \r",
        b"nonsense",
        b"\xff",
        b"[",
        b"1",
        b"null",
        b"[]",
        b"[1,null]",
        b'{"id":1}',
        b'{"id":1,"result":{}}',
        b'{"method":"notification"}',
        b'{"id":null,"method":"m"}',
        b'{"id":true,"method":"m"}',
        b'{"id":[1],"method":"m"}',
        b'{"id":{},"method":"m"}',
        b'{"method":"notifications/cancelled"}',
        b'{"method":"notifications/cancelled","params":[]}',
        b'{"method":"notifications/cancelled","params":{"requestId":[]}}',
    ],
)
def test_nothing_else_is_due(line: bytes) -> None:
    due = Due()
    due.sent(line)
    assert len(due) == 0


def test_each_request_of_a_batch_is_due_in_its_order_until_it_is_answered() -> None:
    due = Due()
    due.sent(ask(3, "b", 1))
    assert due.heard(b"[" + reply("b") + b"]")
    assert ids(due) == [3, 1]


def test_what_the_server_asks_answers_nothing() -> None:
    due = Due()
    due.sent(ask(1))
    assert due.heard(ask(1))
    assert ids(due) == [1]


def test_a_cancelled_request_is_not_due() -> None:
    due = Due()
    due.sent(ask(1, 2))
    due.sent(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}')
    assert ids(due) == [2]


def test_an_error_says_why_and_is_said_once() -> None:
    due = Due()
    due.sent(ask("é"))
    expected = {"jsonrpc": "2.0", "id": "é", "error": {"code": -32000, "message": "the command ended: exit 7"}}
    assert json.loads(due.take_errors("the command ended: exit 7")) == expected
    assert due.take_errors("again") == b""


def test_what_is_remembered_is_bounded() -> None:
    due = Due()
    due.sent(ask("x" * (MAX_ID_CHARS + 1)))
    assert len(due) == 0
    due.sent(ask(*range(MAX_DUE + 5)))
    assert len(due) == MAX_DUE
    assert due.heard(reply(MAX_DUE + 1)) and len(due) == MAX_DUE


@pytest.mark.parametrize("line", [b'{"a":"\\ud800"}\n', b'[{"x":1}]', b" {} \r\n", b'{"a":' * 999 + b"1" + b"}" * 999])
def test_objects_and_batches_are_messages(line: bytes) -> None:
    assert Due().heard(line)


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"",
            b"\n",
            b"up",
            b"1",
            b"null",
            b'"x"',
            b"[]",
            b"[1]",
            b'[{"x":1},2]',
            b'{"a":NaN}',
            b"{a}",
            b'{"a":"\xff"}',
        ),
        *(b"[" * 100_000, b"[INFO] up", b'{} {"id":1}', b"[NaN]"),
    ],
)
def test_nothing_else_is_a_message(line: bytes) -> None:
    assert not Due().heard(line)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["method", "id", "notifications/cancelled"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "method", "params"]), inner),
    max_leaves=8,
)


@given(st.lists(st.tuples(st.booleans(), JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20))))
def test_no_bytes_upset_it(lines: list[tuple[bool, bytes]]) -> None:
    due = Due()
    for is_sent, line in lines:
        if is_sent:
            due.sent(line)
        else:
            due.heard(line)
    count = len(due)
    assert len(ids(due)) == count


@given(st.lists(st.integers(0, 5) | st.sampled_from("ab")), st.lists(st.integers(0, 5) | st.sampled_from("ab")))
def test_due_is_what_was_asked_less_what_was_answered(asked: list[Any], answered: list[Any]) -> None:
    due = Due()
    for each in asked:
        due.sent(ask(each))
    for each in answered:
        due.heard(reply(each))
    assert ids(due) == [each for each in dict.fromkeys(asked) if each not in answered]
