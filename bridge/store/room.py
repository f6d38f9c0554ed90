"""Giving up rows of an outbox: by the rule for a full one, by age, because of damage; the ledger knows of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.store.lost import DAMAGED
from bridge.store.pieces import Release
from bridge.store.thinning import Thinning

if TYPE_CHECKING:
    import sqlite3

    from bridge.store.blobs import Blobs
    from bridge.store.given_up import GivenUp
    from bridge.store.pieces import Limits


class Room:
    """Statements run in the transaction of the caller.

    Args:
        db: the outbox.
        limits: its rule.
        blobs: its rows.
        given_up: its ledger.
    """

    def __init__(self, db: sqlite3.Connection, limits: Limits, blobs: Blobs, given_up: GivenUp) -> None:
        self._limits = limits
        self._blobs = blobs
        self._given_up = given_up
        self._thinning = Thinning(db, limits.thin_rows)

    def give_up(self, series: int, first: int, last: int, rule: str, at: float) -> None:
        """Gives up what is still kept of these rows; `at` is in seconds since 1970, as everywhere here."""
        for start, stop in sorted(self._blobs.release(Release(series, first, last))):
            self._given_up.record(series, start, stop, rule, at)
        self.give_up_damaged(at)

    def give_up_damaged(self, at: float) -> None:
        """Gives up the blobs that were found damaged."""
        while self._blobs.rotten:
            series, first = self._blobs.rotten.pop()
            gone = self._blobs.discard(series, first)
            if gone is not None:
                self._given_up.record(series, *gone, DAMAGED, at)

    def make(self, at: float, size: int) -> None:
        """Gives up rows by the rule until so many bytes are free, or nothing is left."""
        wanted = max(0, self._blobs.bytes - size)
        thins = self._limits.when_full == "thin_out"
        while self._blobs.bytes > wanted:
            block = self._thinning.next(sum(self._blobs.counts.values())) if thins else None
            if block is not None:
                self.give_up(*block, "thin_out", at)
            elif not self.drop_oldest("thin_out" if thins else "size", at, 16):
                return

    def drop_oldest(self, rule: str, at: float, most: int, *, older_than: float | None = None) -> int:
        """Gives up the oldest blobs; returns how many."""
        gone = list(self._blobs.drop_oldest(most, older_than=older_than))
        for series, first, last in gone:
            self._given_up.record(series, first, last, rule, at)
        return len(gone)
