"""Which rows of whole windows were answered: counted while the bridge runs, read from what it kept after it died."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, cast

import pytest

from bridge.errors import StoreError
from bridge.ledger import book as books
from bridge.ledger import earlier as earliers
from bridge.ledger import tally as tallies
from bridge.ledger.account import AgentStatus, Page, Part, WholeAccount, Windows
from bridge.ledger.book import Book
from bridge.ledger.earlier import INCOMPLETE, READING, Earlier, note
from bridge.ledger.statement import Statement, state
from bridge.ledger.tally import Tally
from bridge.messages import SeriesKey
from bridge.pipeline.routes import RouteTable
from bridge.store.kept import Kept
from bridge.store.kept_file import Entry
from bridge.topics import AgentTopic
from tests.support.engines import ROWS, HeldEngine, until
from tests.support.ledger import whole_cuts
from tests.support.lives import ROUTES, Life

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KEY = SeriesKey("s", "d", "w", "e")
WHOLE = ("s", "d", "w")


def whole(*seqs: int, epoch: str = "e", answer: bool = True, book: Book | None = None) -> Book:
    """A book in which these whole windows, of 4 rows, were cut, and answered."""
    book = book or Book()
    key = SeriesKey(*WHOLE, epoch)
    book.turn(whole_cuts(*seqs, key=key), {}, 7.0)
    for seq in seqs if answer else ():
        book.answered(f"{epoch}{seq}")
    return book


def wholes(book: Book) -> list[WholeAccount]:
    return book.wholes(WHOLE, book.waiting())


def test_rows_of_whole_windows_are_merged() -> None:
    book = whole(3, 7, 11)
    assert wholes(book) == [WholeAccount(KEY, 4, [(3, 14)], seen=7.0)]
    whole(23, 90, book=book)
    whole(15, 19, answer=False, book=book)
    (found,) = wholes(book)
    assert (found.ended, found.waiting) == ([(3, 14), (23, 26), (90, 93)], [(15, 22)])
    book.refused("e15", "shape")
    book.refused("e19", "shape")
    (found,) = wholes(book)
    assert (found.ended, found.waiting) == ([(3, 26), (90, 93)], [])
    account = book.stream(WHOLE, book.waiting(), lambda _: True)
    assert account is not None
    assert (account.whole, account.seen) == (Windows(5, refused={"shape": 2}, astray=[]), 7.0)


def test_whole_windows_that_overlap_and_come_twice() -> None:
    book = whole(0, 2, 4)
    whole(2, 4, 6, book=book)
    assert wholes(book)[0].ended == [(0, 9)]


def test_too_many_holes_between_whole_windows_are_forgotten_and_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "RANGES", 1)
    book = whole(0, 10)
    assert [(one.ended, one.ended_all) for one in wholes(book)] == [([(0, 3), (10, 13)], True)]
    whole(20, book=book)
    whole(14, book=book)
    assert [(one.ended, one.ended_all) for one in wholes(book)] == [([(10, 17), (20, 23)], False)]


def test_whole_windows_that_earlier_processes_answered() -> None:
    book = Book()
    book.ended_before(KEY, 4, [(0, 3), (4, 7)])
    book.ended_before(KEY, 4, [(8, 11), (20, 23)])
    assert wholes(book) == [WholeAccount(KEY, 4, [(0, 11), (20, 23)])]
    book.reopened(KEY, "e12", 12, rows=4)
    book.reopened(KEY, "e30", 30, rows=4)
    (found,) = wholes(book)
    assert (found.ended, found.waiting) == ([(0, 11), (20, 23)], [(12, 15), (30, 33)])
    book.answered("e12")
    assert wholes(book)[0].ended == [(0, 15), (20, 23)]
    rows = Book()
    rows.restored(KEY, 2, [])
    rows.ended_before(KEY, 4, [(0, 3)])  # a series of rows says itself what came
    assert rows.wholes(WHOLE, {}) == []


def test_the_ranges_of_earlier_processes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "RANGES", 1)
    book = Book()
    book.ended_before(KEY, 4, [(0, 3), (10, 13), (20, 23)])
    assert wholes(book) == [WholeAccount(KEY, 4, [(10, 13), (20, 23)], ended_all=False)]


def test_numberings_are_forgotten_one_by_one_and_with_their_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "EPOCHS", 2)
    monkeypatch.setattr(books, "STREAMS", 1)
    book = whole(0, epoch="a")
    whole(4, epoch="a", answer=False, book=book)
    for epoch in ("b", "c", "d"):
        whole(0, epoch=epoch, book=book)
    book.refused("d0", "shape")
    assert [one.key.epoch for one in wholes(book)] == ["c", "d"]
    account = book.stream(WHOLE, book.waiting(), None)
    assert account is not None
    assert (account.whole, account.epochs_forgotten) == (Windows(4), 2)
    book.known(SeriesKey("s", "d2", "w", "e"), 9.0)
    assert (wholes(book), book.tally(SeriesKey(*WHOLE, "d")), book.forgotten) == ([], None, 1)


def test_counts_of_tallies_are_added() -> None:
    one, other = Tally(0), Tally(0)
    for tally, reason in ((one, "shape"), (other, "shape"), (other, "stale")):
        tally.refused = {**(tally.refused or {}), reason: 2}
    one.add(other)
    one.add(Tally(0))
    assert (one.refused, one.seen) == ({"shape": 4, "stale": 2}, None)


# ---- over a restart, with the pipeline

TABLE = RouteTable(ROUTES)
QUICK = SeriesKey("s", "d", "quick", "e")


def keeping(folder: Path, *, size: int = 1 << 28) -> Kept:
    kept = Kept(folder / "results.db", pytest.fail, age=3_600.0, size=size)
    kept.start()
    return kept


@contextlib.asynccontextmanager
async def living(folder: Path, *, size: int = 1 << 28) -> AsyncIterator[tuple[Life, Kept]]:
    """A bridge, until it crashes."""
    kept = keeping(folder, size=size)
    life = Life(folder / "journal.db", HeldEngine("slow"), ROUTES, kept)
    yield life, kept
    await kept.flush()
    await life.crash()
    await kept.close()


async def read(kept: Kept, book: Book, table: RouteTable = TABLE) -> Earlier:
    """Until all is read."""
    earlier = Earlier(kept, table, book)
    running = asyncio.create_task(earlier.run())
    await until(lambda: earlier.unsure != READING)
    running.cancel()
    await asyncio.wait([running])
    return earlier


async def answer(life: Life, kept: Kept, *firsts: int) -> None:
    """Messages that are answered and settled."""
    numbers = {life.deliver("quick", first, receipt=True) for first in firsts}
    await until(lambda: life.has_answered(len(firsts)))
    life.take_all()
    await kept.flush()
    await until(lambda: numbers <= set(life.verdicts))


def told(book: Book, accepted: int, *, unsure: str = "") -> Statement:
    """The ledger of a device whose agent keeps nothing any more."""
    names = ("s", "d", "quick")
    page = Page("gw-1", 1.0, 0.0, wholes=book.wholes(names, book.waiting()), unsure=unsure)
    return state([page], {AgentTopic("s", "d"): AgentStatus(True, 1.0, {"quick": [Part("e", accepted)]})})


async def test_what_was_answered_before_a_crash_is_known_after_it(tmp_path: Path) -> None:
    async with living(tmp_path) as (life, kept):
        await answer(life, kept, 0, ROWS, 3 * ROWS)
        assert told(life.pipeline._out.book, 2 * ROWS).adds_up is True
    async with living(tmp_path) as (life, kept):
        book = life.pipeline._out.book
        assert (await read(kept, book)).unsure == ""
        assert book.wholes(("s", "d", "quick"), {}) == [WholeAccount(QUICK, ROWS, [(0, 7), (12, 15)])]
        await answer(life, kept, 4 * ROWS)
        (line,) = told(book, 5 * ROWS).series
        assert (line.adds_up, line.checks[0].rows) == (False, [(8, 11)])
        await answer_more(life, kept, 2 * ROWS)
        assert told(book, 5 * ROWS).adds_up is True


async def answer_more(life: Life, kept: Kept, first: int) -> None:
    life.sent.clear()
    await answer(life, kept, first)


async def test_what_goes_from_the_log_is_told_over_restarts(tmp_path: Path) -> None:
    async with living(tmp_path, size=1) as (life, kept):
        await answer(life, kept, 0)
        assert told(life.pipeline._out.book, ROWS).adds_up is True
        await answer_more(life, kept, ROWS)
        assert told(life.pipeline._out.book, 2 * ROWS).adds_up is True, "while it runs it knows"
    async with living(tmp_path) as (life, kept):
        book = life.pipeline._out.book
        unsure = (await read(kept, book)).unsure
        assert unsure == INCOMPLETE
        (line,) = told(book, 2 * ROWS, unsure=unsure).series
        assert (line.adds_up, line.checks[0].rows) == (None, [(0, 3)])


async def test_a_disk_that_refuses_is_read_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earliers, "RETRY", 0.0)
    async with living(tmp_path) as (life, kept):
        await answer(life, kept, 0)
        attempts: list[Any] = []
        newest = kept.newest

        async def refusing() -> int:
            attempts.append(1)
            if len(attempts) < 3:
                raise StoreError("refused")
            return await newest()

        monkeypatch.setattr(kept, "newest", refusing)
        book = Book()
        assert (await read(kept, book)).unsure == ""
        assert [one.ended for one in book.wholes(("s", "d", "quick"), {})] == [[(0, 3)]]


async def test_that_a_window_was_refused_is_known_over_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earliers, "WATCH", 0.0)
    monkeypatch.setattr(earliers, "RETRY", 0.0)
    async with living(tmp_path) as (_, kept):
        book = whole(0, answer=False)
        running = asyncio.create_task(Earlier(kept, TABLE, book).run())
        book.refused("e0", "shape")
        note_incomplete = kept.note_incomplete
        attempts: list[Any] = []

        async def refusing() -> None:
            attempts.append(1)
            if len(attempts) < 3:
                raise StoreError("refused")
            await note_incomplete()

        monkeypatch.setattr(kept, "note_incomplete", refusing)
        await until(lambda: kept.incomplete)
        running.cancel()
        await asyncio.wait([running])
    async with living(tmp_path) as (life, kept):
        assert (await read(kept, life.pipeline._out.book)).unsure == INCOMPLETE


async def test_a_bridge_without_whole_windows_reads_nothing() -> None:
    nothing = cast("Kept", None)
    rows = RouteTable([one for one in ROUTES if one.windows == "rows"])
    assert (await read(nothing, Book(), rows)).unsure == ""


def entry(topic: str, payload: bytes) -> Entry:
    return Entry(1, 0.0, topic, payload)


def said(stream: str, seq: int, *, device: str = "d") -> bytes:
    return f'{{"device":"{device}","stream":"{stream}","epoch":"e","seq":{seq}}}'.encode()


def test_results_of_rows_and_what_cannot_be_read_are_left_out() -> None:
    book = Book()
    topic = "edge/v1/s/d/result/fast"
    assert note([entry(topic, said("quick", 0)), entry(topic, said("rows", 0))], TABLE, book)
    assert note([entry("edge/v1/s/d/result/slow", said("rows", 4))], TABLE, book)
    assert note([entry(topic, said("quick", 9, device="_infer"))], TABLE, book)
    assert book.streams() == [("s", "d", "quick")]
    damaged = [entry(topic, b"{"), entry("elsewhere", said("quick", 4)), entry(topic, said("quick", 8))]
    assert not note(damaged, TABLE, book)
    assert [one.ended for one in book.wholes(("s", "d", "quick"), {})] == [[(0, 3), (8, 11)]]
