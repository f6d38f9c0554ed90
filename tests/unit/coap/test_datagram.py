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
