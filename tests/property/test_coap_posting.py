"""A post whose options are written already is written as aiocoap would write it."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

from aiocoap import Message, Reliable
from aiocoap.numbers import codes
from aiocoap.numbers.types import CON, NON
from aiocoap.options import Options
from hypothesis import given
from hypothesis import strategies as st

from bridge.coap.exchanges import Posting


@given(
    st.sampled_from([CON, NON]),
    st.integers(0, 0xFFFF),
    st.binary(max_size=8),
    st.binary(max_size=1_024),
    st.lists(st.text("abc-1.", min_size=1, max_size=20), max_size=6),
)
def test_it_is_written_as_aiocoap_would(kind: object, mid: int, token: bytes, payload: bytes, path: list[str]) -> None:
    options = Options()
    options.uri_path = path
    options.content_format = 60
    posting = Posting(payload, options, None, Reliable())
    usual = Message(code=codes.POST, payload=payload)
    usual.opt = options
    for message in (posting, usual):
        message.mtype, message.mid, message.token = kind, mid, token
    assert posting.encode() == usual.encode()
