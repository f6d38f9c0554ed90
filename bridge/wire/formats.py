"""Content negotiation: MQTT 5 Content Type, CoAP Content-Format, or the first byte."""

from __future__ import annotations

from enum import Enum

from bridge.errors import Refused


class Format(Enum):
    """An encoding of messages; the value is its MIME type."""

    JSON = "application/json"
    CBOR = "application/cbor"

    @property
    def coap(self) -> int:
        """CoAP Content-Format number (RFC 7252 section 12.3, RFC 8949 section 9.4)."""
        return 50 if self is Format.JSON else 60


_JSON, _CBOR = Format.JSON, Format.CBOR  # Python looks members up slowly, and each message asks


def of_payload(payload: bytes) -> Format:
    """Format of an unlabelled payload: JSON if it starts with `{` or `[`, else CBOR."""
    return _JSON if payload[:1] in {b"{", b"["} else _CBOR


def of_content_type(content_type: str | None, payload: bytes) -> Format:
    """Format named by an MQTT 5 Content Type; parameters such as `; charset=utf-8` are ignored.

    Raises:
        Refused: `unknown_format` for a type that is neither JSON nor CBOR.
    """
    if not content_type:
        return of_payload(payload)
    mime = content_type.partition(";")[0].strip().lower()
    for known in Format:
        if mime == known.value:
            return known
    raise Refused("unknown_format", f"Content Type {content_type[:80]!r}; give application/json or application/cbor")


def of_content_format(number: int | None, payload: bytes) -> Format:
    """Format named by a CoAP Content-Format number.

    Raises:
        Refused: `unknown_format` for a number that is neither 50 nor 60.
    """
    if number is None:
        return of_payload(payload)
    for known in Format:
        if number == known.coap:
            return known
    raise Refused("unknown_format", f"Content-Format {number}; give 50 (JSON) or 60 (CBOR)")
