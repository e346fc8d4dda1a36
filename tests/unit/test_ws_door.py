"""Who is let in: tokens wherever they stand, pages by their origin, names that lead here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.datastructures import Headers

from ws_relay.door import Door, Refusal, answered_subprotocol, query_of, shown_path, tokens_given
from ws_relay.settings import Settings

TOKEN = "s3cret&of the=hive"
HERE = ("Host", "localhost:3002")


def judged(target: str = "/ws", /, *headers: tuple[str, str], **settings: object) -> Refusal | None:
    return Door(Settings(**settings)).judge(target, Headers(headers))  # type: ignore[arg-type]  # of every kind


def status(target: str = "/ws", /, *headers: tuple[str, str], **settings: object) -> int:
    found = judged(target, *headers, **settings)
    return found.status if found else 0


# -- tokens ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/", [("Authorization", f"Bearer {TOKEN}")]),
        ("/", [("authorization", f"bearer   {TOKEN} ")]),
        ("/", [("Authorization", TOKEN)]),
        ("/ws?token=s3cret%26of+the%3Dhive", []),
        ("/ws?a=b&token=s3cret%26of%20the%3Dhive&c", []),
        ("/ws?token=wrong&token=s3cret%26of%20the%3Dhive", []),
        ("/", [("Sec-WebSocket-Protocol", "hive, bearer.s3cret%26of%20the%3Dhive")]),
        ("/", [("Sec-WebSocket-Protocol", "hive"), ("Sec-WebSocket-Protocol", "bearer.s3cret%26of%20the%3Dhive")]),
        ("/?token=wrong", [("Authorization", f"Bearer {TOKEN}")]),
    ],
)
def test_the_token_lets_in_wherever_it_stands(target: str, headers: list[tuple[str, str]]) -> None:
    assert judged(target, *headers, token=TOKEN) is None
    refusal = judged(target, *headers, token="another")
    assert refusal and refusal.status == 401 and refusal.bad_token


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/ws", []),
        ("/ws?tokens=a", []),
        ("/ws", [("Sec-WebSocket-Protocol", "hive")]),
        ("/ws?" + "a=b&" * 100 + "token=s", []),  # more fields than anybody sends
    ],
)
def test_without_a_token_the_sentence_says_how_to_give_one(target: str, headers: list[tuple[str, str]]) -> None:
    refusal = judged(target, *headers, token=TOKEN)
    assert refusal and refusal.status == 401 and not refusal.bad_token
    assert "?token=" in refusal.sentence


@pytest.mark.parametrize("token", ["", "s3cret", "S3CRET&OF THE=HIVE", f"{TOKEN} {TOKEN}"])
def test_any_other_token_is_refused_and_never_repeated(token: str) -> None:
    refusal = judged("/", ("Authorization", f"Bearer {token}"), token=TOKEN)
    assert refusal and refusal.status == 401
    assert TOKEN not in refusal.sentence and (not token or token not in refusal.sentence)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1).filter(lambda text: "%" not in text))
def test_a_token_of_any_signs_comes_whole_out_of_a_header(token: str) -> None:
    assert token in set(tokens_given("/", Headers([("Authorization", f"Bearer {token}")])))


def test_a_subprotocol_is_answered_that_is_not_the_token() -> None:
    assert answered_subprotocol(["bearer.secret", "hive"]) == "hive"
    assert answered_subprotocol(["bearer.secret"]) is None
    assert answered_subprotocol([]) is None


# -- pages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:3002", "localhost:3002"),
        ("http://LOCALHOST:3002", "LocalHost:3002"),
        ("http://127.0.0.1", "127.0.0.1:80"),
        ("http://[::1]:3002", "[::1]:3002"),
        ("https://localhost", "localhost:443"),
        ("https://localhost", "localhost"),
        ("http://hive.localhost:3002", "hive.localhost:3002"),
    ],
)
def test_our_own_page_may_connect(origin: str, host: str) -> None:
    assert status("/ws", ("Host", host), ("Origin", origin)) == 0


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://localhost:3003",
        "http://localhost",
        "http://localhost:3002.evil.example",
        "http://evil.example/localhost:3002",
        "https://user@localhost:3002",
        "null",
        "",
        "localhost:3002",
        "://localhost:3002",
        "http://",
    ],
)
@pytest.mark.parametrize("token", ["", TOKEN])
def test_a_page_of_another_origin_may_not_even_with_the_token(origin: str, token: str) -> None:
    assert status("/ws", HERE, ("Origin", origin), ("Authorization", f"Bearer {TOKEN}"), token=token) == 403


def test_two_origins_at_once_must_both_be_ours() -> None:
    ours, foreign = ("Origin", "http://localhost:3002"), ("Origin", "http://evil.example")
    assert status("/ws", HERE, ours, foreign) == 403
    assert status("/ws", HERE, foreign, ours) == 403


def test_an_allowed_origin_may_connect_and_read() -> None:
    settings = {"allowed_origins": ("https://graph.example:8443",), "token": TOKEN}
    bearer = ("Authorization", f"Bearer {TOKEN}")
    assert status("/ws", HERE, ("Origin", "https://graph.example:8443"), bearer, **settings) == 0
    assert status("/ws", HERE, ("Origin", "https://graph.example"), bearer, **settings) == 403
    assert Door(Settings(**settings)).allows_reading("https://Graph.example:8443")  # type: ignore[arg-type]  # as above


def test_no_origin_is_no_browser_and_fine() -> None:
    assert status("/ws", HERE) == status("/ws") == 0


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example:3002", "evil.example", "localhost.evil.example", "127.evil.example", "10.0.0.1"]
)
def test_without_a_token_only_names_of_this_machine_are_answered(host: str) -> None:
    rebound = [("Host", host), ("Origin", f"http://{host}")]
    assert status("/ws", *rebound) == status("/ws", rebound[0]) == 403
    assert status("/ws", *rebound, trust_network=True) == 403  # a published port of a container is no other machine
    assert status("/ws", *rebound, insecure=True) == 0
    assert status("/ws", *rebound, ("Authorization", f"Bearer {TOKEN}"), token=TOKEN) == 0


def test_the_name_of_an_allowed_origin_is_answered() -> None:
    assert status("/ws", ("Host", "hive.example:3002"), allowed_origins=("http://hive.example",)) == 0


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1:3002", "127.1.2.3", "[::1]", "[::1]:3002"])
def test_every_name_of_this_machine_is_answered(host: str) -> None:
    assert status("/ws", ("Host", host)) == 0


# -- words -------------------------------------------------------------------------------------------------------------


def test_a_log_never_shows_a_query_and_no_sign_that_a_terminal_obeys() -> None:
    assert shown_path("/ws?token=secret") == "/ws"
    assert shown_path("/\x1b[31m\n" + "x" * 200) == "/\\x1b[31m\\n" + "x" * 73


@given(st.text())
def test_any_query_is_read_or_is_none(target: str) -> None:
    assert isinstance(query_of(target, "token"), list)


VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=126)).map(str.strip)


@given(st.lists(st.tuples(st.sampled_from(["Host", "Origin", "Authorization", "Sec-WebSocket-Protocol"]), VALUE)))
def test_any_head_is_judged(headers: list[tuple[str, str]]) -> None:
    found = judged("/ws", *headers, token=TOKEN)
    assert found is not None and found.status in (401, 403)
