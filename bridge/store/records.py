"""What the journal keeps: rows, how far series were cut, questions, Results; what one turn changes of it, as bytes."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from bridge.messages import Answer, Lane, Result, Rows, SeriesKey


class SavedRows(msgspec.Struct, frozen=True, eq=False, array_like=True, gc=False):
    """Rows of one message that unfinished windows need.

    Attributes:
        key: their series.
        first: row number of the first row.
        values: float32, shape (rows, channels).
        t: seconds since 1970 of the first row.
        dt: seconds between rows.
        t_source: who stamped t.
        lane: lane of the message.
    """

    key: SeriesKey
    first: int
    values: Rows
    t: float
    dt: float
    t_source: Literal["device", "bridge"]
    lane: Lane


class GivenUp(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Rows of a series that nobody waits for.

    Attributes:
        first: the first of them.
        end: row after the last.
        why: by which rule: "gap" (or "", of earlier versions) when waited for in vain, the name of the limit that was
            reached, or what their sender said.
    """

    first: int
    end: int
    why: str = ""


class SavedSegment(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A later part of a series, beyond rows that come in the backlog.

    Attributes:
        begin: its first row.
        keep: rows from `begin` to before this one are for windows that begin before it.
        next_row: rows from `begin` to before this one are known.
        next_window: first row of the next window.
    """

    begin: int
    keep: int
    next_row: int
    next_window: int


class SavedSeries(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How far a series was cut.

    Attributes:
        key: the series.
        model: model its windows were cut for.
        numbered: whether its sender numbers the rows.
        next_row: rows below are known.
        next_window: first row of the next window.
        skipped: ranges given up, as far as remembered.
        windows: how many windows were cut; counts begin with the first version that kept them.
        given_up: how many rows were given up.
        later: what is known of it beyond rows that come in the backlog, by rows.
        via: topic filter of the route that its rows came by; "": several, or an earlier version did not keep it.
    """

    key: SeriesKey
    model: str
    numbered: bool
    next_row: int
    next_window: int
    skipped: tuple[GivenUp, ...] = ()
    windows: int = 0
    given_up: int = 0
    later: tuple[SavedSegment, ...] = ()
    via: str = ""

    @property
    def rows(self) -> int:
        """How many rows are known, without those given up; what is held beyond a gap is not known yet."""
        known = [(0, self.next_row), *[(one.begin, one.next_row) for one in self.later]]
        passed = self.given_up - sum([one.end - one.first for one in self.skipped])
        for low, high in known:
            passed += sum([max(0, min(high, one.end) - max(low, one.first)) for one in self.skipped])
        return sum([high - low for low, high in known]) - passed


class SavedTail(msgspec.Struct, frozen=True, eq=False, array_like=True, gc=False):
    """How far a series was cut, and all rows that it needs, which came in one message.

    `SavedSeries` without later parts and `SavedRows` in one entry; so it is with nearly every message that completes a
    window.

    Attributes:
        key: as of `SavedSeries`; so are those up to `via`.
        first: as of `SavedRows`; so are those that follow.
        data: the rows, float32 little-endian, row by row.
        channels: channels of a row.
    """

    key: SeriesKey
    model: str
    numbered: bool
    next_row: int
    next_window: int
    skipped: tuple[GivenUp, ...]
    windows: int
    given_up: int
    via: str
    first: int
    data: bytes
    channels: int
    t: float
    dt: float
    t_source: Literal["device", "bridge"]
    lane: Lane

    def apart(self) -> tuple[SavedSeries, SavedRows]:
        """The same as two entries.

        Raises:
            ValueError: its bytes are no rows.
        """
        values = np.frombuffer(self.data, _FLOAT32).reshape(-1, self.channels)
        return SavedSeries(
            self.key, self.model, self.numbered, self.next_row, self.next_window, self.skipped, self.windows,
            self.given_up, (), self.via,
        ), SavedRows(self.key, self.first, values, self.t, self.dt, self.t_source, self.lane)  # fmt: skip


def needed(first: int, end: int, start: int, later: tuple[SavedSegment, ...]) -> bool:
    """Whether any of these rows is needed, `end` being the row after the last; by windows, or to be known to have come.

    Args:
        first: the first of them.
        end: row after the last.
        start: rows of the series from that one on are needed: of `next_row` and `next_window` the lower.
        later: its later parts.
    """
    if end <= start:
        return False
    return not any(part.keep <= first and end <= min(part.next_row, part.next_window) for part in later)


class SavedWindow(msgspec.Struct, frozen=True):
    """A window that waits for an answer: the cloud's, or that of the bridge's own engine where it is slow.

    Attributes:
        id: the window's id.
        key: its series.
        seq: row number of its first row.
        data: its values, float32 little-endian, row by row.
        channels: channels of a row.
        t: seconds since 1970 of its first row.
        t_source: who stamped t.
        arrived: seconds since 1970 at which its last row arrived.
        model: model asked.
        lane: its lane.
        patience: seconds for which an answer helped when it arrived; of a provisional one, until its final Result.
        local: the bridge's own answer; None while its own engine is waited for, not the cloud.
        why: why the cloud was asked; "" while the own engine is waited for.
        reply_to: where `_infer` wants its answer.
        correlation: to repeat in that answer.
        provisional: a provisional Result was, or was about to be, published; earlier versions knew none.
        via: topic filter of the route that it came by; "": several, or an earlier version did not keep it.
    """

    id: str
    key: SeriesKey
    seq: int
    data: bytes
    channels: int
    t: float
    t_source: Literal["device", "bridge"]
    arrived: float
    model: str
    lane: Lane
    patience: float
    local: Answer | None
    why: str
    reply_to: str | None = None
    correlation: bytes | None = None
    provisional: bool = False
    via: str = ""


class SavedResult(msgspec.Struct, frozen=True):
    """A Result that the broker has not taken yet.

    Attributes:
        result: the Result; its latency is set when it is published.
        arrived: seconds since 1970 at which the window's last row arrived.
        topic: where to publish it.
        correlation: correlation data of `_infer`.
    """

    result: Result
    arrived: float
    topic: str
    correlation: bytes | None = None


class Changes(msgspec.Struct, omit_defaults=True):
    """What one turn of the pipeline changes on disk.

    Attributes:
        rows: rows to keep; they replace those with the same first row, than which they are not fewer.
        series: series to bring up to date; each says all that is known, and rows that it does not need go.
        tails: series likewise, with all the rows that they need; what was kept of a series before goes.
        forgotten: series to drop whole.
        asked: windows that wait for an answer from now on.
        answered: ids of such windows that are decided now.
        results: Results to be published.
        taken: ids of Results that the broker took.
        decided: ids of whole windows whose answer depends on more than their rows: a copy that comes after a restart
            must not be decided anew.
    """

    rows: list[SavedRows] = []
    series: list[SavedSeries] = []
    tails: list[SavedTail] = []
    forgotten: list[SeriesKey] = []
    asked: list[SavedWindow] = []
    answered: list[str] = []
    results: list[SavedResult] = []
    taken: list[str] = []
    decided: list[str] = []

    def __bool__(self) -> bool:
        return bool(
            self.rows or self.series or self.tails or self.forgotten or self.asked or self.answered or self.results
            or self.taken or self.decided
        )  # fmt: skip


class Saved(msgspec.Struct):
    """All that the journal holds at start.

    Attributes:
        series: as kept.
        rows: as kept, in order.
        asked: windows without an answer.
        results: Results not taken.
        decided: ids of whole windows that must not be decided anew, oldest first.
    """

    series: list[SavedSeries]
    rows: list[SavedRows]
    asked: list[SavedWindow]
    results: list[SavedResult]
    decided: list[str]


_FLOAT32 = np.dtype("<f4")


def packed(values: Rows) -> bytes:
    """Rows as float32 little-endian, row by row."""
    return (values if values.dtype is _FLOAT32 else values.astype(_FLOAT32)).tobytes()


def _to_wire(values: Rows) -> tuple[int, bytes]:
    return values.shape[1], packed(values)


def _from_wire(_type: type, found: tuple[int, bytes]) -> Rows:
    channels, data = found
    return np.frombuffer(data, _FLOAT32).reshape(-1, channels)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_to_wire)
_DECODER = msgspec.msgpack.Decoder(Changes, dec_hook=_from_wire)


def encode(changes: Changes) -> bytes:
    """Changes as MessagePack: a map of what there is, rows as the number of channels and float32 little-endian."""
    return _ENCODER.encode(changes)


def decode(body: bytes) -> Changes:
    """The reverse of `encode`.

    Raises:
        msgspec.DecodeError: the bytes are not what `encode` makes.
        ValueError: the bytes of a tail are no rows.
    """
    found = _DECODER.decode(body)
    for one in found.tails:
        one.apart()
    return found
