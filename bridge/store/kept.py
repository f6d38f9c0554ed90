"""Published Results, kept so that they can be published again: the broker lost them, or nobody was there to hear.

Publishing never waits for the disk; settling does (`Record.done`). A thread of its own writes: what is handed over
while a commit runs is committed together by the next one, so that the event loop pays for no thread hop a Result, and
hardly for one a turn. While the disk refuses, nothing new is published or settled (`full`); what waits is tried again
every second, so that the bridge goes on by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import msgspec

from bridge.errors import StoreError
from bridge.messages import SeriesKey
from bridge.store.database import Broken
from bridge.store.kept_file import Entry, KeptFile, Query, Written
from bridge.topics import parse_result

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("bridge.store")

MOST_WAITING = 1_280  # Results not committed yet above which no more are published: brokers queue 1,000 unsettled ones
MOST_TOGETHER = 1_024  # Results of one record: what a reader holds at once is bounded by it
MOST_IDS = 65_536  # of published Results that are read after a journal was lost
RETRY = 1.0  # seconds after which a disk that refused is tried again
BREATH = 5e-5  # seconds a Result that the thread rests after a commit: under load fewer, larger commits
LONGEST_BREATH = 0.008  # seconds at most; less than a lone acknowledgement's way through the network costs
LEAST_BREATH = 0.001  # seconds at least: else each of a lone sender's Results is a commit, beside its next message
PATIENCE = 10.0  # seconds that closing waits for the disk
IDLE = 60.0  # seconds without a record after which age is looked at

_K = TypeVar("_K")
_T = TypeVar("_T")


class _Named(msgspec.Struct):
    id: str
    device: str
    stream: str
    epoch: str
    provisional: bool = False


_name_of = msgspec.json.Decoder(_Named).decode


class Published(NamedTuple):
    """Which windows had a Result published, as far as it is kept.

    Attributes:
        final: ids of those with a final one, oldest first, each with the number of its record.
        provisional: ids of those with a provisional one only.
        series: whose windows they are.
    """

    final: dict[str, int]
    provisional: set[str]
    series: frozenset[SeriesKey] = frozenset()


class Record(msgspec.Struct, eq=False):
    """What one turn published.

    Attributes:
        t: seconds since 1970 of the publication.
        at: the same on the monotonic clock.
        done: called in the event loop once it is on the disk.
        items: topic and payload of each Result.
        whole: ids of whole windows among them.
        n: its number; 0 before `Kept.append`.
        kept: it is on the disk.
        early: for who made it: what is to be done once it is.
    """

    t: float
    at: float
    done: Callable[[Record], None]
    items: list[tuple[str, bytes]] = []
    whole: list[str] = []
    n: int = 0
    kept: bool = False
    early: list[Any] = []


_Work: TypeAlias = "Record | Callable[[], None] | None"


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
        refusing: the disk refuses; nothing is settled.
        settled: called in the event loop once what was written has been told to those who wait for it.

    Raises:
        StoreError: the file cannot be used.
    """

    def __init__(self, path: Path, tell: Callable[[str], None], *, age: float, size: int) -> None:
        self._file = KeptFile(path, tell, age=age, size=size, now=time.monotonic(), wall=time.time())
        self.whole = self._file.whole()
        self.latest, self.unheard = self._file.latest, self._file.unheard
        self.refusing = False
        self.settled: Callable[[], None] = _nothing
        self._last = self._file.last
        self._waiting = 0  # Results not committed yet
        self._queue: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._broken = False

    # ---- in the event loop

    def start(self) -> None:
        """Begin to write; callbacks come in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="kept", daemon=True)
        self._thread.start()

    @property
    def full(self) -> bool:
        """So much waits for the disk that no more Results are to be published."""
        return self.refusing or self._waiting >= MOST_WAITING

    @property
    def room(self) -> int:
        """How many more Results may be published until it is full; 0 while it is."""
        return 0 if self.refusing else max(0, MOST_WAITING - self._waiting)

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
        return await self._ask(lambda: self._file.read(query))

    async def published(self) -> Published:
        """The windows of the newest Results kept, at most `MOST_IDS` of either kind.

        Raises:
            StoreError: they cannot be read.
        """
        found: dict[str, int] = {}
        provisional: dict[str, None] = {}
        series: dict[SeriesKey, None] = {}
        query = Query()
        while (chunk := await self.read(query)) is not None:
            entries, last = chunk
            for entry in entries:
                name = _name_of(entry.payload)
                if (place := parse_result(entry.topic)) is not None:
                    series[SeriesKey(place.site, name.device, name.stream, name.epoch)] = None
                if name.provisional:
                    provisional[name.id] = None
                else:
                    found[name.id] = entry.n
                    provisional.pop(name.id, None)
            _keep_newest(found)
            _keep_newest(provisional)
            _keep_newest(series)
            query = query._replace(after=last)
        return Published(found, provisional.keys() - found.keys(), frozenset(series))

    async def newest(self) -> int:
        """Number of the newest record on the disk, once all that was handed over before is written.

        Neighbouring records that wait for the disk are joined there, under the number of the last of them.
        """
        return await self._ask(lambda: self._file.last)

    async def note_unheard(self, since: int | None) -> None:
        """Remember over a restart from which record on Results may have reached nobody.

        Raises:
            StoreError: the disk refused.
        """
        await self._ask(lambda: self._file.note_unheard(since))

    async def note_incomplete(self) -> None:
        """Remember over a restart that what is kept is not all that was answered.

        Raises:
            StoreError: the disk refused.
        """
        await self._ask(self._file.note_incomplete)

    async def flush(self) -> None:
        """Wait until all that was handed over is on the disk, and who waits for it was told."""
        await self._ask(lambda: None)

    async def close(self) -> None:
        """Write what waits, and close the file; while the disk refuses, what waits is not written.

        Raises:
            StoreError: the last checkpoint failed; what was committed is safe all the same.
        """
        if self._thread is not None:
            self._closing.set()
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join, PATIENCE)
            if self._thread.is_alive():  # the disk hangs: closing it under a commit would crash the interpreter
                log.error("published Results that wait for the disk are given up: it does not answer")
                return
        await asyncio.to_thread(self._file.close)

    async def _ask(self, work: Callable[[], _T]) -> _T:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_T] = loop.create_future()

        def do() -> None:
            try:
                found = work()
            except StoreError as why:
                self._tell(_unless_done, answer.set_exception, answer, why)
            else:
                self._tell(_unless_done, answer.set_result, answer, found)

        self._queue.put(do)
        return await answer

    def _written(self, records: list[Record]) -> None:
        for record in records:
            self._waiting -= len(record.items)
            record.kept = True
            record.done(record)
        self.settled()

    # ---- in the thread

    def _tell(self, call: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None  # noqa: S101 # `start` comes before the thread
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to be told
            self._loop.call_soon_threadsafe(call, *arguments)

    def _work(self) -> None:
        waiting = self._queue
        while True:
            try:
                batch = [waiting.get(timeout=IDLE)]
            except queue.Empty:
                with contextlib.suppress(StoreError):  # the next record meets it again
                    self._file.trim(time.monotonic())
                continue
            while not waiting.empty():
                batch.append(waiting.get_nowait())
            if not self._serve(batch):
                return

    def _serve(self, batch: list[_Work]) -> bool:
        """Do what came, in its order, neighbouring records together; False when it is the end."""
        records: list[Record] = []
        for one in batch:
            if isinstance(one, Record):
                records.append(one)
                continue
            self._keep(records)
            records = []
            if one is None:
                return False
            one()
        self._keep(records)
        return True

    def _keep(self, records: list[Record]) -> None:
        """Write the records; while the disk refuses, try again."""
        if not records:
            return
        rows = _joined(records)
        while not self._write(rows):
            if self._closing.wait(RETRY):
                return
        if self.refusing:
            log.warning("published Results can be kept again")
            self.refusing = False
        self._tell(self._written, records)
        results = sum(len(one.items) for one in rows)
        time.sleep(min(LONGEST_BREATH, max(LEAST_BREATH, results * BREATH)))

    def _write(self, rows: list[Written]) -> bool:
        """Whether they are on the disk; a damaged file is opened anew at the next attempt."""
        now = time.monotonic()
        try:
            if self._broken:
                self._file.reopen(now, time.time())
                self._broken = False
            self._file.write(rows, now)
        except StoreError as why:
            self._broken = self._broken or isinstance(why, Broken)
            if not self.refusing:
                log.error("%s; nothing is acknowledged until published Results can be kept", why)  # noqa: TRY400 # the message says it all
            self.refusing = True
            return False
        return True


def _nothing() -> None:
    """Nobody wants to know."""


def _joined(records: list[Record]) -> list[Written]:
    """Neighbouring records as one, while they are small: each statement hands Python's lock to and fro."""
    rows: list[Written] = []
    for one in records:
        last = rows[-1] if rows else None
        if last is not None and len(last.items) + len(one.items) <= MOST_TOGETHER:
            items, whole = [*last.items, *one.items], [*last.whole, *one.whole]
            rows[-1] = Written(one.n, max(last.t, one.t), one.at, whole, items)
        else:
            rows.append(Written(one.n, one.t, one.at, one.whole, one.items))
    return rows


def _keep_newest(named: dict[_K, _T]) -> None:
    for old in list(islice(named, max(0, len(named) - MOST_IDS))):
        del named[old]


def _unless_done(tell: Callable[[object], None], answer: asyncio.Future[object], what: object) -> None:
    """Whoever asked may have been cancelled meanwhile."""
    if not answer.done():
        tell(what)
