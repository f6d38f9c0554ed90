"""Several questions in one message: maps that are encoded already, joined and divided. Pure, on bytes alone."""

from __future__ import annotations

from typing import TypeVar

import cbor2

FRAME = 16  # bytes around questions and ids, at most

_ASK, _CANCEL = cbor2.dumps("ask"), cbor2.dumps("cancel")
_T = TypeVar("_T")


def joined(questions: list[bytes], cancel: list[str]) -> bytes:
    """The map around questions that are encoded already: CBOR's containers are a head and their items in a row."""
    parts = [_head(5, bool(questions) + bool(cancel))]
    if questions:
        parts += [_ASK, _head(4, len(questions)), *questions]
    if cancel:
        parts += [_CANCEL, cbor2.dumps(cancel)]
    return b"".join(parts)


def _head(major: int, count: int) -> bytes:
    """Head of an array (major type 4) or a map (5) of fewer than 256 items (RFC 8949 section 3)."""
    return bytes([major << 5 | count]) if count < 24 else bytes([major << 5 | 24, count])


def divided(encoded: list[tuple[_T, bytes]], room: int, most: int) -> list[list[tuple[_T, bytes]]]:
    """Questions with their CBOR, in parts of at most `most` of them and `room` bytes; one that has more is alone."""
    groups: list[list[tuple[_T, bytes]]] = []
    left = 0
    for pair in encoded:
        if not groups or len(pair[1]) > left or len(groups[-1]) == most:
            groups.append([])
            left = room
        groups[-1].append(pair)
        left -= len(pair[1])
    return groups
