"""What the bridge counts of windows and messages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from bridge.ledger import book as books
from bridge.ledger import tally as tallies
from bridge.ledger.account import Windows
from bridge.ledger.book import Book, windows_of
from bridge.messages import SeriesKey
from bridge.topics import DataTopic

if TYPE_CHECKING:
    import pytest

    from bridge.ledger.tally import Tally


KEY = SeriesKey("s", "d", "w", "e")


ROUTE: Any = SimpleNamespace(manifest=SimpleNamespace(input=SimpleNamespace(rows=4, hop=2)))


def series(*, used: int = 1) -> Any:
    return SimpleNamespace(route=ROUTE, tally=None, used=used)


def cuts(*seqs: int, key: SeriesKey = KEY, entry: Any = None) -> list[Any]:
    route = SimpleNamespace(windows="rows")
    windows = [SimpleNamespace(id=f"{key.epoch}{seq}", key=key, seq=seq) for seq in seqs]
    return [SimpleNamespace(window=window, route=route, entry=entry) for window in windows]


def begun(*seqs: int) -> tuple[Book, Tally]:
    """A book in which these windows were cut."""
    book, entry = Book(), series()
    book.turn(cuts(*seqs, entry=entry), {KEY: entry}, 5.0)
    tally = book.tally(KEY)
    assert tally is entry.tally is not None
    return book, tally


def totals(book: Book) -> dict[str, Any]:
    """Those that are not nought."""
    return {name: value for name, value in book.totals().items() if value}


def test_windows_end_in_any_order() -> None:
    book, tally = begun(0, 2, 4, 6, 8)
    assert tally.ended == []
    for window in ("e0", "e2", "e8", "e4"):
        book.answered(window)
    assert tally.ended == [(0, 2), (4, 4)]
    book.refused("e6", "stale")
    assert tally.ended == [(0, 4)]
    book.turn(cuts(10), {}, 6.0)
    book.answered("e10")
    assert tally.ended == [(0, 5)]
    assert (tally.answered, tally.refused, tally.seen) == (5, {"stale": 1}, 6.0)
    assert totals(book) == {"windows": 6, "answered": 5, "refused": {"stale": 1}}


def test_a_window_ends_once() -> None:
    book, tally = begun(0, 2)
    book.answered("e0")
    book.answered("e0")
    book.refused("e0", "stale")
    book.provisional("e0")
    book.provisional("e2")
    assert totals(book) == {"windows": 2, "answered": 1, "provisional": 1, "in_flight": 1, "repeats": 1}
    assert windows_of(tally, book.waiting()[tally], None) == Windows(1, 1, {}, 1, None)
    book.refused("e2", "shape")
    book.refused("e2", "shape")
    assert totals(book)["refused"] == {"shape": 1}


def test_too_many_holes_are_forgotten_and_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "RANGES", 2)
    book, tally = begun(*range(0, 20, 2))
    for seq in (0, 4, 8):
        book.answered(f"e{seq}")
    assert (tally.ended, tally.ended_all) == ([(0, 0), (2, 2), (4, 4)], True)
    book.answered("e12")
    assert (tally.ended, tally.ended_all) == ([(2, 2), (4, 4), (6, 6)], False)


def test_windows_of_an_earlier_life() -> None:
    book, whole = Book(), SeriesKey("s", "d", "far", "e")
    book.restored(KEY, 2, [(0, 4)])
    for seq in (6, 8):
        book.reopened(KEY, f"e{seq}", seq)
    book.reopened(whole, "far7", 7)
    tally = book.tally(KEY)
    assert tally is not None
    assert (tally.before, tally.opened) == ([(0, 4)], [6, 8])
    book.answered("e8")
    book.answered("far7")
    assert (tally.ended, totals(book)["in_flight"]) == ([(4, 4)], 1)
    account = book.stream(("s", "d", "far"), book.waiting(), lambda _: True)
    assert account is not None
    assert account.whole == Windows(1, astray=[])


def test_windows_of_no_series_are_counted_by_stream() -> None:
    book = Book()
    for epoch in ("a", "b"):
        book.turn(cuts(3, 90, key=SeriesKey("s", "d", "far", epoch)), {}, 7.0)
    book.answered("a3")
    account = book.stream(("s", "d", "far"), book.waiting(), lambda window: window != "b90")
    assert account is not None
    assert account.whole == Windows(1, waiting=3, astray=[90])
    assert account.seen == 7.0


def test_a_turn_tells_windows_whose_sender_asks_from_those_whose_sender_does_not() -> None:
    book = Book()
    plain, asked, other = cuts(0, 4, 8)
    for cut, receipt in ((plain, False), (asked, True), (other, False)):
        cut.route, cut.ticket = SimpleNamespace(windows="whole"), SimpleNamespace(receipt=receipt)
        cut.window.values = range(4)
    again = cuts(12)
    book.turn([plain, *again, asked, other], {}, 5.0)
    book.turn(cuts(16, key=SeriesKey("s", "d", "w", "f")), {}, 6.0)
    account = book.stream(("s", "d", "w"), book.waiting(), None)
    assert account is not None
    assert account.whole is not None
    assert (account.whole.waiting, account.seen) == (5, 6.0)
    (numbered,) = book.wholes(("s", "d", "w"), book.waiting())
    assert (numbered.key, numbered.waiting) == (KEY, [(4, 11)])  # from the first that asks on
    for window in ("e0", "e4", "e8", "e12", "f16"):
        book.answered(window)
    assert totals(book) == {"windows": 5, "answered": 5}
    (numbered,) = book.wholes(("s", "d", "w"), book.waiting())
    assert numbered.ended == [(4, 11)]


def test_an_evicted_series_is_forgotten_and_what_waits_of_it_ends() -> None:
    book, _ = begun(0)
    book.evicted([KEY, KEY])
    assert book.tally(KEY) is None
    book.answered("e0")
    assert totals(book) == {"windows": 1, "answered": 1}


def test_messages_that_give_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "STREAMS", 2)
    book = Book()
    book.known(KEY, 5.0)
    book.refusal(DataTopic("s", "d", "w"), "stale", 6.0)
    book.refusal(DataTopic("s", "d", "w"), "shape", 7.0, 3)
    book.refusal(None, "stale", 8.0)
    account = book.stream(("s", "d", "w"), {}, None)
    assert account is not None
    assert (account.duplicates, account.refused, account.seen) == (1, {"stale": 1, "shape": 3}, 7.0)
    assert totals(book) == {"duplicates": 1, "late": 2}
    book.known(SeriesKey("s", "d2", "w", "e"), 9.0)
    book.known(SeriesKey("s", "d3", "w", "e"), 9.0)
    assert (book.forgotten, book.stream(("s", "d", "w"), {}, None)) == (1, None)
    assert book.streams() == [("s", "d2", "w"), ("s", "d3", "w")]


def test_a_series_counts_on_where_it_is_known_already() -> None:
    book, entry = Book(), series()
    book.restored(KEY, 2, [(0, 4)])
    book.turn(cuts(10, entry=entry), {KEY: entry}, 5.0)
    book.turn(cuts(12, entry=entry), {KEY: entry}, 6.0)
    for window in ("e10", "e12"):
        book.answered(window)
    tally = book.tally(KEY)
    assert tally is entry.tally is not None
    assert (tally.before, tally.ended, tally.answered, tally.seen) == ([(0, 4)], [(5, 6)], 2, 6.0)


def test_windows_of_a_series_pushed_out_in_its_turn_are_counted_once() -> None:
    book, entry = Book(), series()
    book.turn(cuts(0, entry=entry), {KEY: entry}, 5.0)
    entry.used = 0
    book.evicted([KEY])
    book.turn(cuts(2, entry=entry), {}, 6.0)
    for window in ("e0", "e2"):
        book.answered(window)
    assert totals(book) == {"windows": 2, "answered": 2}
    assert book.tally(KEY) is None
    stream = book.stream(("s", "d", "w"), {}, None)
    assert stream is not None
    assert stream.whole == Windows(answered=1, astray=None)


def test_what_is_counted_of_whole_windows_is_not_kept_with_a_series_of_rows() -> None:
    book, entry = Book(), series()
    book.reopened(KEY, "whole", 0, rows=4)
    book.turn(cuts(10, entry=entry), {KEY: entry}, 5.0)
    assert book.tally(KEY) is not None
    assert entry.tally is None
