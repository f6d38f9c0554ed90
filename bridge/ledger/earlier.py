"""What earlier processes answered of whole windows, read from the kept Results once, in the background.

A whole window leaves nothing in the journal: what says after a restart that it was answered is its Result, which is on
the disk before its message is settled (`bridge/store/kept.py`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from bridge import topics
from bridge.errors import StoreError
from bridge.ledger.source import whole_rows
from bridge.messages import SeriesKey
from bridge.store.kept_file import Query

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.ledger.book import Book
    from bridge.pipeline.routes import RouteTable
    from bridge.store.kept import Kept
    from bridge.store.kept_file import Entry

log = logging.getLogger("bridge.ledger")

REST = 0.005  # seconds after each block of 131,072 bytes, half a millisecond of work: 256 MiB in some 15 seconds
RETRY = 5.0  # seconds after which a disk that refused is tried again
WATCH = 1.0  # seconds between two looks whether a whole window was refused
READING = "what it answered before its start is still being read"
INCOMPLETE = "not all that it answered before its start is kept any more"


class _Said(msgspec.Struct):
    """What is read of a Result."""

    device: str
    stream: str
    epoch: str
    seq: int
    provisional: bool = False


_decode = msgspec.json.Decoder(_Said).decode


class Earlier:
    """Fills the book with it; and takes care that the next process knows when that will not be all.

    A whole window that was refused leaves no Result: what is kept is not complete then, as if some had been dropped.

    Args:
        kept: the kept Results.
        table: the routes, which tell what is a whole window.
        book: to be filled.

    Attributes:
        unsure: why an earlier process may have answered more whole windows than the book knows; "": it did not.
    """

    def __init__(self, kept: Kept, table: RouteTable, book: Book) -> None:
        self._kept = kept
        self._table = table
        self._book = book
        self._damaged = False
        self.unsure = READING if any(route.windows == "whole" for route in table.routes) else ""

    async def run(self) -> None:
        """Read, as long as it takes; then watch for refusals, for ever."""
        while self.unsure == READING:
            try:
                await self._read()
            except StoreError as why:
                log.warning("%s; the ledger reads it later", why)
                await asyncio.sleep(RETRY)
            else:
                self.unsure = INCOMPLETE if self._damaged or self._kept.incomplete else ""
        while not self._book.whole_refused:  # noqa: ASYNC110 # once in the life of a bridge, if ever
            await asyncio.sleep(WATCH)
        while not self._kept.incomplete:
            try:
                await self._kept.note_incomplete()
            except StoreError:
                await asyncio.sleep(RETRY)
        await asyncio.Event().wait()

    async def _read(self) -> None:
        query = Query(until=await self._kept.newest())
        while (found := await self._kept.read(query)) is not None:
            entries, last = found
            self._damaged |= not note(entries, self._table, self._book)
            query = query._replace(after=last)
            await asyncio.sleep(REST)


def note(entries: Iterable[Entry], table: RouteTable, book: Book) -> bool:
    """Note in the book which rows kept Results of whole windows answer; returns whether all could be read."""
    complete = True
    found: dict[tuple[str, str, str, str], list[int]] = {}
    for entry in entries:
        try:
            said = _decode(entry.payload)
        except msgspec.DecodeError:
            complete = False
            continue
        if said.provisional:
            continue
        found.setdefault((entry.topic, said.device, said.stream, said.epoch), []).append(said.seq)
    for (topic, device, stream, epoch), seqs in found.items():
        place = topics.parse_result(topic)
        if place is None:
            complete = False
            continue
        key = SeriesKey(place.site, device, stream, epoch)
        if rows := whole_rows(table, key, place.model):
            book.ended_before(key, rows, [(seq, seq + rows - 1) for seq in seqs])
    return complete
