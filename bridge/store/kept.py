"""Published Results, kept so that they can be published again: the broker lost them, or nobody was there to hear.

Publishing never waits for the disk; settling does (`Record.done`). A thread of its own writes (`KeptWriter`). While the
disk refuses, nothing new is published or settled (`full`).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bridge.store.kept_file import KeptFile
from bridge.store.kept_writer import MOST_TOGETHER, KeptWriter, Record
from bridge.store.published import Published, read_published

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bridge.store.kept_file import Entry, Query

__all__ = ["MOST_TOGETHER", "MOST_WAITING", "Kept", "Published", "Record"]

MOST_WAITING = 1_280  # Results not committed yet above which no more are published: brokers queue 1,000 unsettled ones


class Kept:
    """The log of published Results. Opening it blocks: do it in a worker thread.

    Args:
        path: the file.
        tell: takes a sentence for the owner when a damaged file was set aside.
        age: seconds for which Results are kept.
        size: bytes of Results that are kept.

    Attributes:
        whole: ids of whole windows kept by earlier processes, oldest first, each with the number of its record.
        latest: monotonic seconds at which their newest record was made; now if there is none.
        unheard: number of their first record of which Results may have reached nobody; None if there is none.
        settled: called in the event loop once what was written has been told to those who wait for it.

    Raises:
        StoreError: the file cannot be used.
    """

    def __init__(self, path: Path, tell: Callable[[str], None], *, age: float, size: int) -> None:
        self._file = KeptFile(path, tell, age=age, size=size, now=time.monotonic(), wall=time.time())
        self.whole = self._file.whole()
        self.latest, self.unheard = self._file.latest, self._file.unheard
        self.settled: Callable[[], None] = _nothing
        self._last = self._file.last
        self._waiting = 0  # Results not committed yet
        self._writer = KeptWriter(self._file, self._written)
        self._queue = self._writer.queue

    def start(self) -> None:
        """Begin to write; callbacks come in the running event loop."""
        self._writer.start()

    @property
    def refusing(self) -> bool:
        """The disk refuses; nothing is settled."""
        return self._writer.refusing

    @property
    def full(self) -> bool:
        """So much waits for the disk that no more Results are to be published."""
        return self._writer.refusing or self._waiting >= MOST_WAITING

    @property
    def room(self) -> int:
        """How many more Results may be published until it is full; 0 while it is."""
        return 0 if self._writer.refusing else max(0, MOST_WAITING - self._waiting)

    @property
    def incomplete(self) -> bool:
        """Results that were kept once are not any more: by age, by size, or because of damage."""
        return self._file.incomplete

    def append(self, record: Record) -> None:
        """Hand over a record of at most `MOST_TOGETHER` Results, and give it its number."""
        self._last += 1
        record.n = self._last
        self._waiting += len(record.items)
        self._queue.put(record)

    async def read(self, query: Query) -> tuple[list[Entry], int] | None:
        """Results of the next block that may have some, once all that was handed over before is written.

        Returns:
            The Results, oldest first, and the number to go on after; None when there are no more.

        Raises:
            StoreError: it cannot be read.
        """
        return await self._writer.ask(lambda: self._file.read(query))

    async def published(self) -> Published:
        """The windows of the newest Results kept.

        Raises:
            StoreError: they cannot be read.
        """
        return await read_published(self.read)

    async def newest(self) -> int:
        """Number of the newest record on the disk, once all that was handed over before is written.

        Neighbouring records that wait for the disk are joined there, under the number of the last of them.
        """
        return await self._writer.ask(lambda: self._file.last)

    async def note_unheard(self, since: int | None) -> None:
        """Remember over a restart from which record on Results may have reached nobody.

        Raises:
            StoreError: the disk refused.
        """
        await self._writer.ask(lambda: self._file.note_unheard(since))

    async def note_incomplete(self) -> None:
        """Remember over a restart that what is kept is not all that was answered.

        Raises:
            StoreError: the disk refused.
        """
        await self._writer.ask(self._file.note_incomplete)

    async def flush(self) -> None:
        """Wait until all that was handed over is on the disk, and who waits for it was told."""
        await self._writer.ask(lambda: None)

    async def close(self) -> None:
        """Write what waits, and close the file; while the disk refuses, what waits is not written.

        Raises:
            StoreError: the last checkpoint failed; what was committed is safe all the same.
        """
        if await self._writer.end():
            await asyncio.to_thread(self._file.close)

    def _written(self, records: list[Record]) -> None:
        for record in records:
            self._waiting -= len(record.items)
            record.kept = True
            record.done(record)
        self.settled()


def _nothing() -> None:
    """Nobody wants to know."""
