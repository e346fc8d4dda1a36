"""Frames are those of RFC 6455, and a shared compressor can be read by everybody who got each frame since it began."""

import zlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.relays import Client, frames
from ws_relay.frame import WORTH_DEFLATING_BYTES, SharedDeflate, deflated_frame, lone_frame, text_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 200_000])
def test_a_text_frame_of_any_length_has_the_head_of_the_rfc(size: int) -> None:
    payload = b"x" * size
    assert list(frames(text_frame(payload))) == [(False, payload)]


def test_the_example_of_the_rfc_comes_out() -> None:
    assert text_frame(b"Hello") == bytes.fromhex("810548656c6c6f")  # RFC 6455, 5.7
    # RFC 7692, 7.2.3.1: this is the block of fixed codes, which zlib chooses for so short a text as well
    assert deflated_frame(b"Hello") == bytes.fromhex("c107f248cdc9c90700")


@given(st.binary(max_size=5000))
def test_a_frame_compressed_by_itself_is_read_by_an_inflater_that_knows_nothing(payload: bytes) -> None:
    ((deflated, body),) = frames(deflated_frame(payload))
    assert deflated
    assert zlib.decompressobj(-15).decompress(body + b"\x00\x00\xff\xff") == payload


def test_what_is_short_or_for_a_client_without_deflate_goes_plain() -> None:
    long = b"x" * WORTH_DEFLATING_BYTES
    assert lone_frame(long, False) == text_frame(long)
    assert lone_frame(long[1:], True) == text_frame(long[1:])
    assert lone_frame(long, True) == deflated_frame(long)


def line(number: int) -> bytes:
    return b'{"number":%d,"text":"the same again and again"}' % number


def lines(*numbers: int) -> bytes:
    return b"[%b]" % b",".join(map(line, numbers))


def test_a_shared_context_pays() -> None:
    shared = SharedDeflate()
    first, *rest = (shared.compress(line(number)) for number in range(100))
    assert max(map(len, rest)) < len(line(0)) / 3 < len(first)


@given(st.data(), st.integers(1, 60))
def test_clients_that_join_where_the_context_begins_anew_read_every_frame(data: st.DataObject, count: int) -> None:
    """Staggered joins, some after frames of their own: nobody ever reads a bad frame."""
    shared = SharedDeflate()
    clients = [Client()]
    for number in range(count):
        for _ in range(data.draw(st.integers(0, 2), label="joiners")):
            shared.fresh()
            clients.append(Client())
            if data.draw(st.booleans(), label="had a frame of its own"):
                clients[-1].read(deflated_frame(lines(*range(40))))
        frame = shared.compress(lines(*range(number, number + data.draw(st.integers(1, 20)))))
        expected = orjson.loads(lines(*range(number, number + len(clients[0].read(frame)[0]))))
        for client in clients[1:]:
            assert client.read(frame) == [expected]


def test_a_client_that_missed_a_frame_cannot_read_on() -> None:
    """Why members that miss one have to leave: this is what happens to those who stay."""
    shared, client = SharedDeflate(), Client()
    client.read(shared.compress(line(1)))
    shared.compress(b'{"a":"missed by this client alone"}')
    frame = shared.compress(b'{"a":"missed by this client alone, and referred to"}')
    with pytest.raises((zlib.error, ValueError, AssertionError)):
        assert client.read(frame) == [{"a": "missed by this client alone, and referred to"}]
