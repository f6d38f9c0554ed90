"""The series of which parts are missing because their sender sends them later, or never."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.pipeline.naming import stale, too_far
from bridge.pipeline.strand import Strand, Waits

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from bridge.messages import Observation, SeriesKey, Skip
    from bridge.pipeline.entries import Entry, Patience
    from bridge.pipeline.series import Chunk, Cut

LOOK = 1.0  # seconds after which what is waited for is looked at again, or a quarter of the shortest wait


class Strands:
    """Gives a series its strand when it needs one, and takes it away when one run of rows is all there is again.

    Args:
        patience: the bounds.
        lost: series that an earlier process knew, and this one does not.
    """

    def __init__(self, patience: Patience, lost: Container[SeriesKey]) -> None:
        self._patience = patience
        self._lost = lost
        self._entries: dict[SeriesKey, Entry] = {}
        self._look_at = float("-inf")

    def __len__(self) -> int:
        return len(self._entries)

    def take(
        self, entry: Entry, chunk: Chunk, seen: Observation, now: float
    ) -> tuple[Chunk | None, list[Cut], tuple[int, int] | None]:
        """Take rows of a series that has a strand, or gets one.

        Returns:
            The rows from the first new one on; the windows that became complete; rows given up before, inclusive.

        Raises:
            Refused: `malformed` for rows far beyond the known ones, `stale` where all that is not known was given up.
        """
        strand = self.strand(entry, now)
        live_from = None if seen.seq is None else seen.live_from
        if live_from is None:
            strand.check(chunk.first, chunk.end)
        elif entry.series.beyond_backlog(live_from):
            raise too_far(live_from, entry.series.next_row)
        late = strand.given.within(chunk.first, chunk.end)
        if late is not None and not strand.unknown(chunk.first, chunk.end):
            raise stale(late, chunk.first)
        entry.series.patient = seen.receipt
        strand.heard(now, promised=live_from is not None and live_from > entry.series.next_row)
        cuts = [] if live_from is None else strand.begin(live_from, now)
        added, more = strand.add(chunk, now)
        self.note(entry)
        return added, cuts + more, late

    def skip(self, entry: Entry, skip: Skip, now: float) -> tuple[int, list[Cut]]:
        """End the wait for rows that their sender gave up.

        Returns:
            How many rows that are; the windows that are complete without them.
        """
        strand = self.strand(entry, now)
        entry.series.patient = skip.receipt
        strand.heard(now, promised=True)
        rows = 0
        cuts: list[Cut] = []
        for first, last in skip.ranges:
            more, cut = strand.skip(first, last + 1, skip.why, now)
            rows += more
            cuts += cut
        self.note(entry)
        return rows, cuts

    def expire(self, now: float, overdue: Container[SeriesKey]) -> Iterator[tuple[Entry, list[Cut]]]:
        """Give up what was waited for long enough; looks only now and then, unless some are overdue for want of room.

        Yields:
            The series that went on, and the windows that are complete without what is missing. Who takes not all of
            them finds the others at the next call.
        """
        patience = self._patience
        if not self._entries or (now < self._look_at and not overdue):
            return
        for key, entry in list(self._entries.items()):
            gap = patience.gap_receipts if entry.series.patient else patience.gap
            waits = Waits(patience.gap if key in self._lost else gap, gap, patience.gap_backlog)
            cuts = self.strand(entry, now).expire(now, waits, forced=key in overdue)
            self.note(entry)
            if cuts is not None:
                yield entry, cuts
        self._look_at = now + min(LOOK, patience.gap / 4)

    def strand(self, entry: Entry, now: float) -> Strand:
        """The strand of a series, a new one if it has none."""
        if entry.strand is None:
            shape, patience = entry.route.manifest.input, self._patience
            entry.strand = Strand(
                entry.series, shape.rows, shape.hop, now, max_held=patience.held(shape), most=patience.segments
            )
            self._entries[entry.key] = entry  # before anything is refused: who has a strand is looked at for it
        return entry.strand

    def note(self, entry: Entry) -> None:
        """Take the strand away if it is not needed any more."""
        if entry.strand is not None and entry.strand.single:
            entry.strand = None
        if entry.strand is None:
            self._entries.pop(entry.key, None)
        else:
            self._entries[entry.key] = entry

    def forget(self, key: SeriesKey) -> None:
        """The series is not kept any more."""
        self._entries.pop(key, None)
