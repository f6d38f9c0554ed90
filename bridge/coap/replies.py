"""aiocoap messages made from ours, and requests checked before anything looks at them."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from aiocoap import Message
from aiocoap.numbers import codes

from bridge.coap.blocks import LARGEST, cut
from bridge.coap.bounded import Bounded

if TYPE_CHECKING:
    from collections.abc import Hashable

    from bridge.coap.messages import CoapReply

CODES = {
    "changed": codes.CHANGED,
    "content": codes.CONTENT,
    "malformed": codes.BAD_REQUEST,
    "no_route": codes.NOT_FOUND,
    "too_large": codes.REQUEST_ENTITY_TOO_LARGE,
    "unknown_format": codes.UNSUPPORTED_CONTENT_FORMAT,
    "overload": codes.SERVICE_UNAVAILABLE,
    "incomplete": codes.REQUEST_ENTITY_INCOMPLETE,
}
"""Our names of the answers and CoAP's; "incomplete" occurs only between the blocks of a body."""

_URI_PATH, _URI_QUERY = 11, 15
_PROXY = frozenset({35, 39})
_UNDERSTOOD = frozenset({3, 7, _URI_PATH, _URI_QUERY, 17, 23, 27}) | _PROXY


def refusal(code: str, detail: str, *, size1: int | None = None) -> Message:
    """An error with a diagnostic payload for a person (RFC 7252 section 5.5.2)."""
    return Message(code=CODES[code], payload=detail.encode(), size1=size1)


def bad_option(request: Message) -> Message | None:
    """The answer to a critical option that we do not understand or that may not repeat; None if there is none.

    4.02 for a confirmable request; a non-confirmable one is ignored (RFC 7252 sections 5.4.1, 5.4.5).
    """
    seen: set[int] = set()
    for option in request.opt.option_list():
        number = int(option.number)
        repeated = number in seen and number not in {_URI_PATH, _URI_QUERY}
        if number & 1 and (number not in _UNDERSTOOD or repeated):
            # 26: no answer of any class (RFC 7967); aiocoap then sends nothing for a NON, an empty ACK for a CON
            silent = None if request.mtype is None or request.mtype == 0 else 26
            detail = f"option {number} is critical and {'repeated' if repeated else 'not understood'}"
            return Message(code=codes.BAD_OPTION, payload=detail.encode(), no_response=silent)
        seen.add(number)
    if seen & _PROXY:
        return Message(code=codes.PROXYING_NOT_SUPPORTED, payload=b"this is no proxy")
    return None


def cache_key(request: Message, *, path: str) -> Hashable:
    """Which requests belong to one block-wise transfer: peer, method, path, query and Request-Tag (RFC 9175)."""
    host, port, *_ = request.remote.sockaddr
    return host, port, int(request.code), path, request.opt.uri_query, request.opt.request_tag


class Representations:
    """Answers too large for one datagram, kept while their readers fetch the blocks (RFC 7959 section 2.4)."""

    def __init__(self, *, entries: int, size: int, age: float) -> None:
        self._kept: Bounded[Hashable, CoapReply] = Bounded(entries=entries, size=size, age=age)

    def first(self, key: Hashable, reply: CoapReply, request: Message, now: float) -> Message:
        """The answer, or its first block if it is larger than a datagram or than the block asked for."""
        asked = request.opt.block2
        exponent = LARGEST if asked is None else asked.size_exponent
        if exponent > LARGEST:
            return refusal("malformed", "Block2 size exponent 7 is reserved on UDP (RFC 7959 section 2.2)")
        if len(reply.payload) <= 16 << exponent:
            return whole(reply)
        self._kept.put(key, reply, len(reply.payload), now)
        return self._block(reply, 0, exponent)

    def later(self, key: Hashable, request: Message, now: float) -> Message:
        """A further block of an answer that was begun; 4.08 if it is not kept any more."""
        asked = request.opt.block2
        reply = self._kept.get(key, now)
        if reply is None:
            return refusal("incomplete", "nothing kept of this answer; ask for block 0 again")
        if asked.size_exponent > LARGEST:
            return refusal("malformed", "Block2 size exponent 7 is reserved on UDP (RFC 7959 section 2.2)")
        return self._block(reply, asked.block_number, asked.size_exponent)

    def _block(self, reply: CoapReply, number: int, exponent: int) -> Message:
        piece = cut(reply.payload, number, exponent)
        if piece is None:
            return refusal("malformed", f"the answer has {len(reply.payload)} bytes and no block {number}")
        message = whole(reply)
        message.payload, message.opt.block2 = piece
        message.opt.etag = hashlib.blake2b(reply.payload, digest_size=8).digest()
        if number == 0:
            message.opt.size2 = len(reply.payload)
        return message


def whole(reply: CoapReply) -> Message:
    """The answer in one piece."""
    return Message(
        code=CODES[reply.code],
        payload=reply.payload,
        content_format=reply.content_format if reply.payload else None,
        max_age=reply.max_age,
    )
