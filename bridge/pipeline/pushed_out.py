"""What bounded memory pushes out: which series goes, and what is remembered of it without its rows.

A series has nearly always rows that windows not complete yet need, and whose sender was told that they are safe. When
it goes, they are given up by the rule `series`; what else is known of it stays, bounded, too, so that the ledger can
tell and a sender that comes back goes on where it stopped.
"""

from __future__ import annotations

import logging
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.messages import SeriesKey
    from bridge.pipeline.entries import Entry

log = logging.getLogger("bridge.pipeline")

RULE = "series"  # by which rows are given up for want of room: `[limits] series`
REMEMBERED = 4_096  # series remembered without their rows; the one pushed out first goes first
QUIET = 60.0  # seconds between two warnings
_SHARE = 16  # the longest idle are looked for rarely: this part of all series at a time


class Idle:
    """The series to be pushed out next.

    Args:
        most: how many series there may be.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._next: list[tuple[int, Entry]] = []  # the longest idle when last looked for; the last goes first

    def pop(self, entries: Iterable[Entry]) -> Entry:
        """One of the longest idle: if possible one that no rows are lost with, and of these the longest idle."""
        while True:
            if not self._next:
                longest = sorted(entries, key=attrgetter("used"))[: 1 + self._most // _SHARE]
                longest.sort(key=unfinished)
                self._next = [(entry.used, entry) for entry in reversed(longest)]
            used, entry = self._next.pop()
            if entry.used == used:  # else it was used since; what remains there is idle for longer than any other
                return entry


class PushedOut:
    """Series that were pushed out, without their rows: the latest.

    Attributes:
        gone: series forgotten altogether, until the pipeline has noted it.
        lost: series whose rows were given up, and how many, likewise.
    """

    def __init__(self) -> None:
        self._entries: dict[SeriesKey, Entry] = {}
        self._lost_rows = 0
        self._quiet_until = float("-inf")
        self.gone: list[SeriesKey] = []
        self.lost: list[tuple[Entry, int]] = []

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def keys(self) -> list[SeriesKey]:
        """Of all that are remembered."""
        return list(self._entries)

    def get(self, key: SeriesKey) -> Entry | None:
        """What is known of a series that was pushed out."""
        return self._entries.get(key)

    def take(self, key: SeriesKey, model: str) -> Entry | None:
        """A series that goes on, now forgotten here; None if it was not remembered, or begins for another model."""
        entry = self._entries.pop(key, None)
        if entry is not None and entry.route.model != model:
            _empty(entry)
            return None
        return entry

    def add(self, entry: Entry) -> None:
        """Give up the rows of a series, and remember the rest."""
        rows = give_up(entry, RULE)
        if rows:
            self.lost.append((entry, rows))
        self._entries.pop(entry.key, None)
        self._entries[entry.key] = entry
        if len(self._entries) > REMEMBERED:
            oldest = next(iter(self._entries))
            _empty(self._entries.pop(oldest))
            self.gone.append(oldest)

    def warn(self, now: float) -> None:
        """Tell the owner of rows given up, now and then.

        Args:
            now: monotonic seconds.
        """
        self._lost_rows += sum([rows for _, rows in self.lost])
        if not self.lost or now < self._quiet_until:
            return
        self._quiet_until = now + QUIET
        key = self.lost[-1][0].key
        log.warning(
            "more series than [limits] series: the longest idle are pushed out, %d rows given up since the start whose "
            "windows were not complete, the latest of %s/%s/%s, epoch %r; see the ledger, rule %s",
            self._lost_rows, key.site, key.device, key.stream, key.epoch, RULE,
        )  # fmt: skip


def _empty(entry: Entry) -> None:
    """Let go what is known of a series that never comes back: its topic may remember it until the next message."""
    entry.series.given = entry.strand = entry.tally = None


def give_up(entry: Entry, why: str) -> int:
    """Give up the rows of a series that windows not complete yet need, or that wait for others.

    Args:
        entry: the series.
        why: the rule.

    Returns:
        How many rows that are.
    """
    before = 0 if entry.series.given is None else entry.series.given.rows
    for part in [entry.series, *(() if entry.strand is None else entry.strand.later)]:
        part.give_up_all(why)
    given = entry.series.given
    if given is None:
        return 0
    given.trim(entry.series.next_row)
    return given.rows - before


def unfinished(entry: Entry) -> bool:
    """Whether it has rows that windows not complete yet need, or that wait for others."""
    series = entry.series
    return entry.strand is not None or series.held_rows > 0 or series.next_row > series.next_window
