"""The thread that writes published Results.

What is handed over while a commit runs is committed together by the next one, so that the event loop pays for no thread
hop a Result, and hardly for one a turn. While the disk refuses, what waits is tried again every second, so that the
bridge goes on by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from bridge.errors import StoreError
from bridge.store.database import Broken
from bridge.store.kept_file import Written

if TYPE_CHECKING:
    from bridge.store.kept_file import KeptFile

log = logging.getLogger("bridge.store")

MOST_TOGETHER = 1_024  # Results of one record: what a reader holds at once is bounded by it
RETRY = 1.0  # seconds after which a disk that refused is tried again
BREATH = 5e-5  # seconds a Result that the thread rests after a commit: under load fewer, larger commits
LONGEST_BREATH = 0.008  # seconds at most; less than a lone acknowledgement's way through the network costs
LEAST_BREATH = 0.001  # seconds at least: else each of a lone sender's Results is a commit, beside its next message
PATIENCE = 10.0  # seconds that closing waits for the disk
IDLE = 60.0  # seconds without a record after which age is looked at

_T = TypeVar("_T")


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


class KeptWriter:
    """Writes records in the order in which they were handed over, and in that order does what else is to be done.

    Args:
        file: where to; nobody else touches it while the thread runs.
        written: called in the event loop with records that are on the disk.

    Attributes:
        queue: takes records of at most `MOST_TOGETHER` Results.
        refusing: the disk refuses.
    """

    def __init__(self, file: KeptFile, written: Callable[[list[Record]], None]) -> None:
        self._file = file
        self._written = written
        self.queue: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self.refusing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._broken = False

    def start(self) -> None:
        """Begin; callbacks come in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="kept", daemon=True)
        self._thread.start()

    async def ask(self, work: Callable[[], _T]) -> _T:
        """What `work` returns, done in the thread once all that was handed over before is written.

        Raises:
            StoreError: `work` did.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_T] = loop.create_future()

        def do() -> None:
            try:
                found = work()
            except StoreError as why:
                self._tell(_unless_done, answer.set_exception, answer, why)
            else:
                self._tell(_unless_done, answer.set_result, answer, found)

        self.queue.put(do)
        return await answer

    async def end(self) -> bool:
        """Write what waits, as far as the disk takes it.

        Returns:
            Whether the file may be closed: not while the disk hangs, which under a commit would crash the interpreter.
        """
        if self._thread is None:
            return True
        self._closing.set()
        self.queue.put(None)
        await asyncio.to_thread(self._thread.join, PATIENCE)
        if self._thread.is_alive():
            log.error("published Results that wait for the disk are given up: it does not answer")
            return False
        return True

    # ---- in the thread

    def _tell(self, call: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None  # noqa: S101 # `start` comes before the thread
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to be told
            self._loop.call_soon_threadsafe(call, *arguments)

    def _work(self) -> None:
        waiting = self.queue
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


def _unless_done(tell: Callable[[object], None], answer: asyncio.Future[object], what: object) -> None:
    """Whoever asked may have been cancelled meanwhile."""
    if not answer.done():
        tell(what)
