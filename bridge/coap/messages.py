"""What a CoAP request and its answer look like to the rest of the product."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

import msgspec

from bridge.errors import REASONS

JSON = 50
"""Content-Format application/json (RFC 7252 section 12.3)."""
CBOR = 60
"""Content-Format application/cbor (RFC 8949 section 9.4)."""

ReplyCode: TypeAlias = Literal["changed", "content", "malformed", "no_route", "too_large", "unknown_format", "overload"]


REFUSALS: frozenset[ReplyCode] = frozenset({"malformed", "no_route", "too_large", "unknown_format"})
MOST_TEXT = 1_000  # bytes of a diagnostic text that are looked at


class CoapRequest(msgspec.Struct, frozen=True):
    """One whole message that a device posted; blocks are already put together.

    Attributes:
        path: `edge/v1/{site}/{device}/data/{stream}`, without the leading slash.
        payload: the whole body.
        content_format: number of the Content-Format option; None without one.
        wants_result: the query held `result`: the device wants the Result in the answer.
        peer: `host:port` it came from, for logs.
    """

    path: str
    payload: bytes
    content_format: int | None
    wants_result: bool
    peer: str


class CoapReply(msgspec.Struct, frozen=True):
    """What a request is answered with (docs/protocol.md: CoAP).

    Attributes:
        code: changed 2.04, content 2.05, malformed 4.00, no_route 4.04, too_large 4.13, unknown_format 4.15,
            overload 5.03.
        payload: a representation with "content"; with the error codes a text for a person that begins with the
            contract's reason, see `refusal`.
        content_format: of the payload, `JSON` or `CBOR`; None for a diagnostic text.
        max_age: with "overload", seconds after which to try again.
    """

    code: ReplyCode
    payload: bytes = b""
    content_format: int | None = None
    max_age: int | None = None

    @property
    def refusal(self) -> str | None:
        """What a bridge says of a message that it does not take: `reason: detail`, with a reason of the contract.

        None: it is taken, or whoever answered is no bridge; a 4.04 or 4.15 is every CoAP server's.
        """
        text = self.payload[:MOST_TEXT].decode(errors="replace")
        reason, colon, _ = text.partition(": ")
        return text if self.code in REFUSALS and colon and reason in REASONS else None


Handler: TypeAlias = Callable[[CoapRequest], Awaitable[CoapReply]]
"""Takes one whole message; the answer leaves when it is there, so 2.04 may mean "safe with the bridge".

One that returns a future has the message in the very call; one that is a coroutine, a turn of the event loop later.
"""
