"""Which datagrams may be shown to aiocoap.

aiocoap 0.4.17 remembers every Content-Format and option number it ever decodes (`ExtensibleIntEnum._missing_`), of
any length, so a stranger's datagrams could fill the memory; and a Uri-Path that is no UTF-8 leaves its decoder as a
bare UnicodeDecodeError, a traceback on stderr for each. So the lengths of RFC 7252 table 4 are checked first.
"""

from __future__ import annotations

_MAX_OPTIONS = 64
_MAX_NUMBER = 0xFFFF
_PAYLOAD = 0xFF
_CON = 0

# Longest values in bytes: RFC 7252 table 4, RFC 7641 section 2, RFC 7959 table 1 and section 4, RFC 7967, RFC 9175.
_LONGEST = {
    1: 8, 3: 255, 4: 8, 5: 0, 6: 3, 7: 2, 8: 255, 11: 255, 12: 2, 14: 4, 15: 255, 17: 2, 20: 255, 23: 3, 27: 3, 28: 4,
    35: 1034, 39: 255, 60: 4, 252: 40, 258: 1, 292: 8,
}  # fmt: skip
_TEXTS = frozenset({3, 8, 11, 15, 20, 35, 39})


def is_confirmable(data: bytes) -> bool:
    """Whether at least the header says CON, version 1: such a message may be answered with a Reset."""
    return len(data) >= 4 and data[0] >> 6 == 1 and (data[0] >> 4) & 0b11 == _CON


def reset(data: bytes) -> bytes:
    """The Reset (RFC 7252 section 4.2) that rejects a message whose header is readable."""
    return b"\x70\x00" + data[2:4]


def flaw(data: bytes) -> str | None:
    """What is wrong with a datagram; None if it is a well-formed CoAP message (RFC 7252 section 3).

    Args:
        data: the datagram.

    Returns:
        A phrase for a log, or None.
    """
    if len(data) < 4:
        return "shorter than a CoAP header"
    if data[0] >> 6 != 1:
        return "not CoAP version 1"
    token = data[0] & 0x0F
    if token > 8:
        return "token longer than 8 bytes"
    if data[1] == 0 and len(data) > 4:
        return "an empty message with content"
    if len(data) < 4 + token:
        return "token cut off"
    return option_flaw(data, 4 + token)


def option_flaw(data: bytes, at: int = 0) -> str | None:
    """As `flaw`, of the options and the payload that begin at this byte."""
    number = count = 0
    while at < len(data):
        if data[at] == _PAYLOAD:
            return None if at + 1 < len(data) else "payload marker without a payload"
        try:
            delta, length, at = _option_header(data, at)
        except IndexError:
            return "option cut off"
        number += delta
        count += 1
        problem = _value_flaw(number, count, data[at : at + length], length)
        if problem is not None:
            return problem
        at += length
    return None


def _option_header(data: bytes, at: int) -> tuple[int, int, int]:
    first = data[at]
    delta, at = _extended(data, first >> 4, at + 1)
    length, at = _extended(data, first & 0x0F, at)
    return delta, length, at


def _extended(data: bytes, nibble: int, at: int) -> tuple[int, int]:
    if nibble < 13:
        return nibble, at
    if nibble == 13:
        return data[at] + 13, at + 1
    if nibble == 14:
        return (data[at] << 8) + data[at + 1] + 269, at + 2
    raise IndexError


def _value_flaw(number: int, count: int, value: bytes, length: int) -> str | None:
    if count > _MAX_OPTIONS or number > _MAX_NUMBER:
        return "too many options"
    if len(value) < length:
        return "option cut off"
    if length > _LONGEST.get(number, 1034):
        return f"option {number} too long"
    if number in _TEXTS:
        try:
            value.decode()
        except UnicodeDecodeError:
            return f"option {number} is not UTF-8"
    return None
