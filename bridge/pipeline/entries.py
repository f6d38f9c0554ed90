"""What the windower is told, keeps of a series, and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bridge.ledger.tally import Tally
from bridge.messages import SeriesKey, Window
from bridge.pipeline.chunk import most_rows
from bridge.pipeline.routes import Route
from bridge.pipeline.series import Chunk, Series
from bridge.pipeline.strand import Strand

if TYPE_CHECKING:
    from bridge.catalog.schema import Input


class Patience(msgspec.Struct, frozen=True):
    """How long and how much the windower keeps.

    Attributes:
        gap: seconds to wait for missing rows of a plain device.
        gap_receipts: seconds to wait for them where the sender keeps rows until receipted.
        gap_backlog: seconds to wait for rows that the sender said come in the backlog, while nothing is heard of them.
        held_rows: rows held beyond a gap, a series; fewer where they would give more windows than a message may.
        all_held_rows: the same over all series.
        series: series kept; one of the longest idle goes first.
        segments: parts of a series between which rows of the backlog are missing, besides the oldest.
        seen: ids of whole windows remembered at least; at most twice as many are.
        cut: bytes of windows after which the end of further waits waits for the next turn.
    """

    gap: float = 2.0
    gap_receipts: float = 60.0
    gap_backlog: float = 86_400.0
    held_rows: int = 8_192
    all_held_rows: int = 1_048_576
    series: int = 50_000
    segments: int = 16
    seen: int = 65_536
    cut: int = 1 << 23

    def held(self, shape: Input) -> int:
        """Rows held beyond a gap of a series of such windows."""
        return min(self.held_rows, most_rows(shape))


class Taken(msgspec.Struct, eq=False, gc=False):
    """What became of an Observation.

    Attributes:
        key: its series.
        first: row number of its first row.
        windows: windows it completed.
        chunk: its new rows, to be journalled until their windows are cut; None if it was known or a whole window.
        known: id of the whole window seen before; "" for known rows; None if it was new.
        late: rows of it, inclusive, that came after their gap had been given up; new rows follow them.
        entry: what is known of its series; None of a whole window's.
    """

    key: SeriesKey
    first: int
    windows: list[Window]
    chunk: Chunk | None = None
    known: str | None = None
    late: tuple[int, int] | None = None
    entry: Entry | None = None


class Entry(msgspec.Struct, eq=False, gc=False):
    """A series and what is known of it.

    Attributes:
        key: the series, as one object: what finds itself needs no comparison of names.
        series: its rows.
        route: route it came by; of windows that may hold rows of several, one as private as all of them.
        numbered: whether its sender numbers the rows.
        via: `Route.via` of its route, as the journal keeps it.
        used: number of its latest use; 0 once it was pushed out.
        strand: its parts, where one run of rows is not all that is known of it.
        turned: the route by which rows came last, and the row before which others may have come by another.
        pushed_out: seconds since 1970 at which rows of it were last given up for want of room; None: never.
        tally: the ledger's: what became of its windows; None: to be looked up there.
    """

    key: SeriesKey
    series: Series
    route: Route
    numbered: bool
    via: str = ""
    used: int = 0
    strand: Strand | None = None
    turned: tuple[Route, int] | None = None
    pushed_out: float | None = None
    tally: Tally | None = None


class Skipped(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What became of a Skip.

    Attributes:
        key: its series.
        rows: how many rows are not waited for any more.
        windows: windows that are complete without them.
        entry: what is known of its series; None where messages are whole windows.
    """

    key: SeriesKey
    rows: int = 0
    windows: list[Window] = []
    entry: Entry | None = None
