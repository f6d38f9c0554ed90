"""A short way for the commonest CBOR Observation: its bytes read by hand.

Taken is a definite map of at most 23 entries whose first key is `values`, holding tag 40 around
`[[rows, channels], tag 85 byte string]`. Behind it, in any order and each at most once: `seq` as an unsigned integer,
`epoch` and `lane` as definite text, `t` and `dt` as 64-bit floats, `receipt` as a boolean. That is what
`encode_observation` writes as float32.

A device sends the same form again and again: the same bytes but for the numbers, `seq`, `epoch`, `t` and `dt`. So the
form is found out once, byte by byte, and what is as long as it and has its bytes is read by it, in one go.

Nothing is refused here: None sends the payload the strict way (`parse`, then `observation_of`), which takes it or words
why not. So it suffices that whatever is taken here is taken there, and equal: every byte is compared with the one
encoding known here, or is argument or content of such an item.
"""

from __future__ import annotations

import struct
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bridge.wire.fields import LANES, good_observation

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.messages import Lane, Observation

LEVELS = 4  # of nesting: map, tag 40, array, dimensions or tag 85
MOST_FORMS, MOST_ALIKE = 256, 4  # lengths of forms that are remembered, and forms of one length: a fleet sends few

_OPENING = b"\x66values\xd8\x28\x82\x82"  # the key, tag 40, an array of two, the first of them an array of two
_FIRST, _LAST = 0xA1, 0xB7  # first byte of a definite map of 1 to 23 entries
_FLOAT32_LE = b"\xd8\x55"
_FLOAT32 = np.dtype("<f4")
_SEQ, _EPOCH, _LANE = b"\x63seq", b"\x65epoch", b"\x64lane"
_T_FLOAT64, _DT_FLOAT64 = b"\x61t\xfb", b"\x62dt\xfb"
_FALSE, _TRUE = b"\x67receipt\xf4", b"\x67receipt\xf5"
_UNSIGNED, _BYTES, _TEXT = 0x00, 0x40, 0x60  # major types, in the high three bits
_WIDTHS = {24: "B", 25: "H", 26: "I"}  # of an argument behind an item's first byte, by the low five bits of that

_uint16 = struct.Struct(">H").unpack_from
_uint32 = struct.Struct(">I").unpack_from
_isfinite = np.isfinite


class _NotPlain(Exception):
    """The payload goes the strict way."""


class _Form(NamedTuple):
    """What payloads of one length have in common.

    Attributes:
        head: all bytes before the rows.
        shape: (rows, channels).
        end: where the rows end.
        aligned: whether they are where they lie.
        unpack: takes what follows apart: by turns bytes that are always the same, and a field's content.
        fixed: the bytes that are always the same.
        pick: `seq`, `epoch`, `t` and `dt` from what was taken apart, followed by `None` and `seq`.
        seq: where it is one of the bytes that are always the same.
        lane: of all of them.
        receipt: of all of them.
    """

    head: bytes
    shape: tuple[int, int]
    end: int
    aligned: bool
    unpack: Callable[[bytes, int], tuple[Any, ...]]
    fixed: tuple[bytes, ...]
    pick: Callable[[tuple[Any, ...]], tuple[int | None, bytes | None, float | None, float | None]]
    seq: int | None
    lane: Lane
    receipt: bool


_NONE: list[_Form] = []
_forms: dict[int, list[_Form]] = {}  # by length of the payload: a fleet may have several


def plain_cbor(payload: bytes, depth: int) -> Observation | None:
    """The Observation of a plain payload; None for any other.

    Args:
        payload: untrusted bytes.
        depth: deepest nesting that is taken.

    Returns:
        Its values are a read-only view, shape (rows, channels).
    """
    if depth < LEVELS:
        return None
    for form in _forms.get(len(payload), _NONE):
        head, shape, end, aligned, unpack, fixed, pick, small, lane, receipt = form
        parts = unpack(payload, end)
        if parts[::2] == fixed and payload.startswith(head):
            break
    else:
        learned = _learn(payload)
        if learned is None:
            return None
        head, shape, end, aligned, unpack, fixed, pick, small, lane, receipt = learned
        parts = unpack(payload, end)
    start = len(head)
    # Where they are not aligned, of a copy: numpy takes three times as long else.
    values = np.ndarray(shape, _FLOAT32, payload if aligned else payload[start:end], start if aligned else 0)
    if 0 in _isfinite(values).tobytes():
        return None
    seq, name, t, dt = pick((*parts, None, small))
    try:
        epoch = None if name is None else name.decode()
    except UnicodeDecodeError:
        return None
    return good_observation(values, seq, epoch, t, dt, lane, receipt)


def _learn(payload: bytes) -> _Form | None:
    """The form of a payload, remembered; None if it is not plain."""
    try:
        form = _form(payload)
    except (_NotPlain, IndexError, struct.error):
        return None
    if len(_forms) >= MOST_FORMS:
        _forms.clear()
    forms = _forms.setdefault(len(payload), [])
    if len(forms) == MOST_ALIKE:
        forms.clear()
    forms.append(form)
    return form


def _form(payload: bytes) -> _Form:
    """The form of a payload.

    Raises:
        _NotPlain: it is not plain.
        IndexError, struct.error: so, too.
    """
    if payload[1:12] != _OPENING or not _FIRST <= payload[0] <= _LAST:
        raise _NotPlain
    rows, at = _argument(payload, 12, _UNSIGNED)
    channels, at = _argument(payload, at, _UNSIGNED)
    if payload[at : at + 2] != _FLOAT32_LE:
        raise _NotPlain
    size, start = _argument(payload, at + 2, _BYTES)
    end = start + size
    if not 0 < size == rows * channels * 4 or end > len(payload):
        raise _NotPlain
    fields = _Fields(payload, end)
    for _ in range(payload[0] - _FIRST):
        fields.next()
    unpack = struct.Struct(fields.close()).unpack_from
    places = itemgetter(*(fields.places.get(name, -2) for name in ("seq", "epoch", "t", "dt")))
    fixed = unpack(payload, end)[::2]
    shape = (rows, channels)
    return _Form(
        payload[:start], shape, end, start % 4 == 0, unpack, fixed, places, fields.seq, fields.lane, fields.receipt
    )


def _argument(payload: bytes, at: int, major: int) -> tuple[int, int]:
    """Argument of the item at `at`, which must be of this major type, and where its content or the next item starts.

    RFC 8949 section 3: the low five bits of the first byte are the argument, or say how many bytes it has.
    """
    low = payload[at] - major
    if low == 26:
        return _uint32(payload, at + 1)[0], at + 5
    if low == 25:
        return _uint16(payload, at + 1)[0], at + 3
    if low == 24:
        return payload[at + 1], at + 2
    if 0 <= low < 24:
        return low, at + 1
    raise _NotPlain


class _Fields:
    """What follows the rows, read entry by entry.

    Attributes:
        places: of the fields' contents among what `struct` takes apart; -1 for a `seq` that is always the same.
        seq: that one.
        lane: the lane.
        receipt: whether one is wanted.
    """

    def __init__(self, payload: bytes, at: int) -> None:
        self._payload = payload
        self._at = at
        self._since = at  # of the bytes that are always the same
        self._format = [">"]
        self._seen: set[int] = set()
        self.places: dict[str, int] = {}
        self.seq: int | None = None
        self.lane: Lane = "live"
        self.receipt = False

    def next(self) -> None:
        """Read an entry."""
        payload, at = self._payload, self._at
        first = payload[at]  # of the key: how long it is, and so which it can be
        if first in self._seen:
            raise _NotPlain
        self._seen.add(first)
        if payload.startswith(_SEQ, at):
            self._row(at + len(_SEQ))
        elif payload.startswith(_EPOCH, at):
            length, start = _argument(payload, at + len(_EPOCH), _TEXT)
            if not length:
                raise _NotPlain
            self._content("epoch", start, f"{length}s", length)
        elif payload.startswith(_T_FLOAT64, at):
            self._content("t", at + len(_T_FLOAT64), "d", 8)
        elif payload.startswith(_DT_FLOAT64, at):
            self._content("dt", at + len(_DT_FLOAT64), "d", 8)
        elif payload.startswith((_FALSE, _TRUE), at):
            self._at = at + len(_TRUE)
            self.receipt = payload.startswith(_TRUE, at)
        elif payload.startswith(_LANE, at):
            length, start = _argument(payload, at + len(_LANE), _TEXT)
            self._at = start + length
            self.lane = _lane(payload[start : self._at])
        else:
            raise _NotPlain

    def close(self) -> str:
        """What `struct` is to take apart.

        Raises:
            _NotPlain: bytes are missing or left over.
        """
        if self._at != len(self._payload):
            raise _NotPlain
        return "".join((*self._format, f"{self._at - self._since}s"))

    def _row(self, at: int) -> None:
        value, end = _argument(self._payload, at, _UNSIGNED)
        width = _WIDTHS.get(self._payload[at])
        if width is None:
            self.seq, self._at, self.places["seq"] = value, end, -1
        else:
            self._content("seq", at + 1, width, end - at - 1)

    def _content(self, name: str, start: int, code: str, size: int) -> None:
        """A field's content, which other payloads have otherwise; before it are bytes that they have, too."""
        self.places[name] = len(self._format) * 2 - 1
        self._format.append(f"{start - self._since}s{code}")
        self._at = self._since = start + size


def _lane(text: bytes) -> Lane:
    for lane in LANES.values():
        if text == lane.encode():
            return lane
    raise _NotPlain
