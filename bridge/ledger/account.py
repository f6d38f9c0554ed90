"""What the bridge, and what an agent, says of a series; as messages. Pure.

A bridge answers at `edge/v1/_bridge/{bridge}/ledger` with pages of accounts; an agent tells its part in its retained
status. All ranges of rows are inclusive. Windows are named by number: window k begins at row k · hop.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from bridge.errors import Refused
from bridge.messages import SeriesKey
from bridge.ranges import Range, count, union
from bridge.topics import is_name
from bridge.wire.fields import MAX_EPOCH, MAX_SEQ, MAX_TIME
from bridge.wire.formats import Format
from bridge.wire.parse import parse

FORGOTTEN = "forgotten"  # rule of rows that came before the bridge's journal was lost, or did not come
MODEL = "model"  # rule of rows that the bridge had when it was started with a model that takes other channels
# Rules by which a bridge itself gives rows up: waited for in vain ("": by earlier versions), or no room to wait on.
BRIDGE_RULES = frozenset({"", "gap", "held_rows", "segments", FORGOTTEN})
MOST_PARTS = 1_024  # numberings of one stream in a status
MOST_RANGES = 65_536

_T = TypeVar("_T")
_Row = Annotated[int, Meta(ge=0, le=MAX_SEQ)]
_Name = Annotated[str, Meta(max_length=MAX_EPOCH)]


class GivenUp(msgspec.Struct, frozen=True, array_like=True):
    """Rows, `first` to `last`, that are not waited for, by which rule: of `BRIDGE_RULES`, or their sender's word."""

    first: int
    last: int
    rule: str

    @property
    def by_bridge(self) -> bool:
        """Their sender knows nothing of it."""
        return self.rule in BRIDGE_RULES


class Windows(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of windows, since the bridge was started.

    Attributes:
        answered: those whose final Result the broker took.
        provisional: those whose provisional Result it took.
        refused: those that get no Result, by reason.
        waiting: those that are on their way to a Result.
        astray: first rows of those among them that nobody works at; None: not looked for.
    """

    answered: int = 0
    provisional: int = 0
    refused: dict[str, int] = {}
    waiting: int = 0
    astray: list[int] | None = None


class Account(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one bridge says of one series of rows.

    Attributes:
        key: the series.
        came: ranges of rows that came, as far as windows are cut of them.
        held: ranges of rows that came beyond a gap and wait for it; not among `came`.
        given_up: ranges that are not waited for; the latest, where there are many.
        given_up_rows: how many rows those are, also the ones no longer listed.
        window: rows of a window.
        hop: rows from one window to the next.
        cut: windows cut, each counted when it was cut; kept with the series over restarts.
        before: windows that had been cut when this bridge started, as ranges of numbers.
        opened: those of them that still waited for an answer then.
        ended: windows that were answered or refused since, as ranges of numbers.
        ended_all: `ended` says so of each; False: there were too many ranges.
        waiting: windows on their way, as ranges of numbers.
        windows: how many, since the start; None: the bridge does not run.
        kept: Results of this series among those that are kept for a replay; None: not known.
        seen: seconds since 1970 of the latest message; None: none since the start.
        pushed_out: seconds since 1970 at which rows of it were given up by the rule `series`; None: not since.
    """

    key: SeriesKey
    came: list[Range]
    window: int
    hop: int
    cut: int
    held: list[Range] = []
    given_up: list[GivenUp] = []
    given_up_rows: int = 0
    before: list[Range] = []
    opened: list[Range] = []
    ended: list[Range] = []
    ended_all: bool = True
    waiting: list[Range] = []
    windows: Windows | None = None
    kept: int | None = None
    seen: float | None = None
    pushed_out: float | None = None

    @property
    def unnamed(self) -> int:
        """Rows given up so long ago that their ranges are forgotten; by ranges alone they seem to have come."""
        return self.given_up_rows - count((one.first, one.last) for one in self.given_up)


class StreamAccount(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one bridge counted of one stream, whatever the numbering, since it was started.

    Attributes:
        site: site of the device.
        device: the device.
        stream: the stream.
        duplicates: messages of which all was known.
        refused: messages refused, by reason; `stale` are those that came too late.
        whole: windows of a stream whose messages are whole windows; None for rows.
        seen: seconds since 1970 of the latest message noted here; None: none.
        epochs_forgotten: numberings of whole windows that the bridge knows no more.
    """

    site: str
    device: str
    stream: str
    duplicates: int = 0
    refused: dict[str, int] = {}
    whole: Windows | None = None
    seen: float | None = None
    epochs_forgotten: int = 0


class WholeAccount(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one bridge says of one numbering of a stream whose messages are whole windows.

    Attributes:
        key: the series.
        rows: rows of a window.
        ended: rows of the windows whose Result the broker took or that were refused since the start, and of those whose
            Result an earlier process kept.
        ended_all: `ended` says so of each; False: there were too many ranges.
        waiting: rows of the windows on their way.
        seen: seconds since 1970 of the latest message; None: none since the start.
    """

    key: SeriesKey
    rows: int
    ended: list[Range]
    ended_all: bool = True
    waiting: list[Range] = []
    seen: float | None = None


class Page(msgspec.Struct, frozen=True, omit_defaults=True):
    """Part of a bridge's answer.

    Attributes:
        bridge: who answers.
        t: seconds since 1970 at which it was written.
        started: the same of the bridge's start; None: it does not run, this is what its state folder holds.
        page: number of this page, from 0.
        more: another one follows.
        series: accounts of series of rows.
        streams: accounts of streams.
        forgotten: streams whose figures were dropped since the start, for there were too many.
        wholes: accounts of numberings of whole windows.
        unsure: why an earlier process may have answered more of them; "": it did not.
    """

    bridge: str
    t: float
    started: float | None
    page: int = 0
    more: bool = False
    series: list[Account] = []
    streams: list[StreamAccount] = []
    forgotten: int = 0
    wholes: list[WholeAccount] = []
    unsure: str = ""


class Question(msgspec.Struct, frozen=True):
    """What an operator asks a bridge for: its accounts of one device, or of all."""

    device: str | None = None


class Dropped(msgspec.Struct, frozen=True, array_like=True):
    """Rows, `first` to `last`, that an agent gave up by a rule of its owner."""

    first: _Row
    last: _Row
    rule: str


class Part(msgspec.Struct, frozen=True):
    """What an agent says of one numbering of one of its streams.

    Attributes:
        epoch: name of the numbering.
        accepted: row after the last one it accepted.
        kept: rows that no bridge has receipted yet: their ranges, or only how many.
        dropped: ranges given up by rule, the newest.
        dropped_rows: how many rows were given up, also in ranges not listed any more; None: all are listed.
    """

    epoch: _Name
    accepted: _Row
    kept: Annotated[int, Meta(ge=0)] | Annotated[list[tuple[_Row, _Row]], Meta(max_length=MOST_RANGES)] = 0
    dropped: Annotated[list[Dropped], Meta(max_length=MOST_RANGES)] = []
    dropped_rows: Annotated[int, Meta(ge=0)] | None = None

    @property
    def unlisted(self) -> int:
        """Rows given up by rule whose ranges are not listed any more."""
        listed = count(union((one.first, one.last) for one in self.dropped))
        return max(0, (self.dropped_rows or 0) - listed)


class AgentStatus(msgspec.Struct, frozen=True):
    """An agent's retained status, as far as the ledger reads it.

    Attributes:
        online: whether it is there.
        t: seconds since 1970, by its clock, at which it said so; of a will, at which it connected.
        streams: its parts, by stream; None: it does not tell them (a will does not).
    """

    online: bool
    t: Annotated[float, Meta(ge=0, lt=MAX_TIME)] | None = None
    streams: dict[str, Annotated[list[Part], Meta(max_length=MOST_PARTS)]] | None = None


def encode_page(page: Page) -> bytes:
    """JSON of a page."""
    return msgspec.json.encode(page)


def decode_page(payload: bytes) -> Page:
    """The page that JSON bytes encode.

    Raises:
        Refused: `malformed`, or what `parse` refuses.
    """
    return _convert(parse(payload, Format.JSON), Page)


def question_of(request: object) -> Question:
    """The question that a parsed request stands for.

    Raises:
        Refused: `malformed`.
    """
    question = _convert(request, Question)
    if question.device is not None and not is_name(question.device):
        raise Refused("malformed", f"device: {question.device[:80]!r} is no name of a device")
    return question


def decode_agent_status(payload: bytes) -> AgentStatus:
    """The status that JSON bytes encode.

    Raises:
        Refused: `malformed`, or what `parse` refuses.
    """
    return _convert(parse(payload, Format.JSON), AgentStatus)


def _convert(value: object, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as why:
        raise Refused("malformed", f"not a {kind.__name__}: {why}") from why
