# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import contextlib

import pytest
from aiocoap import Message
from aiocoap.error import UnparsableMessage
from aiocoap.numbers import codes
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.coap.datagram import flaw, is_confirmable, reset
from bridge.coap.transport import _familiar

GET = b"\x40\x01\x12\x34"


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "header"),
        (b"\x40\x01\x12", "header"),
        (b"\x80\x01\x12\x34", "version"),
        (b"\x49\x01\x12\x34" + bytes(9), "token"),
        (b"\x44\x01\x12\x34ab", "token"),
        (b"\x40\x00\x12\x34\xff!", "empty message"),
        (GET + b"\xff", "payload marker"),
        (GET + b"\xb5ab", "cut off"),
        (GET + b"\xd0", "cut off"),
        (GET + b"\xf0", "cut off"),
        (GET + b"\xb2\xff\xfe", "UTF-8"),
        (GET + b"\xc3\x01\x02\x03", "too long"),  # a Content-Format of three bytes
        (GET + b"\x10" * 65, "too many"),
        (GET + b"\xe0\xff\xff", "too many"),  # option 65,804
    ],
)
def test_flaws(data: bytes, word: str) -> None:
    assert word in str(flaw(data))


def test_well_formed() -> None:
    assert flaw(GET) is None
    assert flaw(b"\x40\x00\x12\x34") is None  # a ping
    message = Message(code=codes.POST, payload=b"x", uri_path=["edge", "v1"], content_format=60, block1=(3, True, 6))
    message.mid, message.mtype = 7, 0
    assert flaw(message.encode()) is None


def test_reset_answers_the_message_id() -> None:
    assert is_confirmable(GET)
    assert not is_confirmable(b"\x50\x01\x12\x34")
    assert not is_confirmable(b"\x40\x01")
    assert reset(GET) == b"\x70\x00\x12\x34"


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda tail: GET + tail))
@example(GET + b"\xd1\xff\x00")
def test_what_passes_can_be_decoded_and_what_cannot_be_decoded_does_not_pass(data: bytes) -> None:
    if flaw(data) is None:
        message = Message.decode(data)
        assert message.opt.content_format is None or message.opt.content_format < 2**16
        _ = message.opt.uri_path, message.opt.uri_query, message.opt.block1, message.opt.observe
        return
    with contextlib.suppress(UnparsableMessage, UnicodeDecodeError):  # what we keep from aiocoap
        Message.decode(data)


POST = b"\x42\x02\x12\x34ab"
OPTIONS = Message(code=codes.POST, uri_path=["edge", "v1"], content_format=60).opt.encode()


@given(
    st.binary(max_size=40).map(lambda tail: POST + OPTIONS + tail)
    | st.binary(max_size=80).map(lambda tail: POST + tail)
)
@example(POST + OPTIONS + b"\xffbody")
@example(b"\x50\x03\x12\x34" + OPTIONS + b"\xff\xff\xff")
@example(POST + OPTIONS + b"\xff")
@example(POST + b"\xc1\xff\xffbody")  # a Content-Format of 255: the first 0xFF begins no payload
@example(POST + b"\xb2\xc3\x28\xffbody")  # no UTF-8
@example(b"\x42\x02\x12")
def test_what_is_familiar_is_well_formed_and_as_aiocoap_reads_it(data: bytes) -> None:
    for _ in range(2):  # the second time its options are known
        post = _familiar(data)
        if post is None:
            continue
        assert flaw(data) is None
        read = Message.decode(data)
        names = ("code", "mtype", "mid", "token", "payload", "opt", "direction")
        assert all(getattr(post, name) == getattr(read, name) for name in names)


def test_a_post_with_a_path_is_familiar_and_nothing_else_is() -> None:
    assert _familiar(POST + OPTIONS + b"\xffbody") is not None
    assert _familiar(b"\x42\x01\x12\x34ab" + OPTIONS + b"\xffbody") is None, "GET"
    assert _familiar(b"\x62\x02\x12\x34ab" + OPTIONS + b"\xffbody") is None, "ACK"
    assert _familiar(POST + bytes(200) + b"\xffbody") is None, "too many options"
    assert _familiar(POST + b"\xbd\xf3" + b"a" * 256 + b"\xffbody") is None, "longer than what is remembered"
