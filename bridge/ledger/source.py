"""The bridge's series as accounts: those of a bridge that runs, and those that its state folder holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from bridge import topics
from bridge.ledger.account import Account, GivenUp
from bridge.ledger.book import windows_of
from bridge.ledger.tally import Tally
from bridge.messages import SeriesKey
from bridge.ranges import Range, minus, numbers, union

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.ledger.book import Book
    from bridge.pipeline.entries import Entry
    from bridge.pipeline.routes import RouteTable
    from bridge.store.records import Saved, SavedResult


class Accountable(Protocol):
    """What the ledger reads of a series of rows. All ranges are of row numbers, inclusive.

    Attributes:
        windows: windows cut, each counted when it was cut, over all lives of the series.
        given_up_rows: rows given up, also those whose ranges are forgotten.
    """

    windows: int
    given_up_rows: int

    def came(self) -> list[Range]:
        """Rows that came and that windows are cut of."""

    def held(self) -> list[Range]:
        """Rows that came beyond a gap and wait for it."""

    def given_up(self) -> list[tuple[int, int, str]]:
        """Rows that are not waited for, with the rule."""


class Facts:
    """What is known of a series, in all its parts."""

    def __init__(self, entry: Entry) -> None:
        series, strand = entry.series, entry.strand
        later = [] if strand is None else strand.later
        self._parts = [(0, series), *((part.begin, part) for part in later)]
        self._given = [] if series.given is None else series.given.ranges
        self.windows = series.windows if strand is None else strand.windows
        self.given_up_rows = 0 if series.given is None else series.given.rows

    def came(self) -> list[Range]:
        """Rows that came and that windows are cut of."""
        known = [(begin, part.next_row - 1) for begin, part in self._parts]
        return minus(known, [(one.first, one.end - 1) for one in self._given])

    def held(self) -> list[Range]:
        """Rows that came beyond a gap and wait for it."""
        return [(chunk.first, chunk.end - 1) for _, part in self._parts for chunk in part.contents()[1].values()]

    def given_up(self) -> list[tuple[int, int, str]]:
        """Rows that are not waited for, with the rule."""
        return [(one.first, one.end - 1, one.why) for one in self._given]


def facts_of(entry: Entry) -> Accountable:
    """What is known of a series."""
    return Facts(entry)


def account_of(key: SeriesKey, series: Accountable, *, window: int, hop: int) -> Account:
    """What a series says of itself.

    Args:
        key: whose rows they are.
        series: the series.
        window: rows of a window.
        hop: rows from one window to the next.
    """
    return Account(
        key, series.came(), window, hop, series.windows,
        held=union(series.held()),
        given_up=[GivenUp(*one) for one in series.given_up()],
        given_up_rows=series.given_up_rows,
    )  # fmt: skip


def running_account(
    entry: Entry,
    book: Book,
    waiting: dict[Tally, list[tuple[int, str]]],
    *,
    working: Callable[[str], bool] | None,
    kept: int | None,
) -> Account:
    """The account of a series of a bridge that runs.

    Args:
        entry: the series.
        book: what was counted.
        waiting: windows on their way, from the book.
        working: whether somebody works at a window, by its id; None: cannot be said now.
        kept: Results of it that are kept for a replay; None: not known.
    """
    shape = entry.route.manifest.input
    account = account_of(entry.key, facts_of(entry), window=shape.rows, hop=shape.hop)
    tally = book.tally(entry.key) or Tally(shape.hop)
    mine = waiting.get(tally, [])
    return msgspec.structs.replace(
        account,
        before=tally.before,
        opened=_numbers(tally.opened or (), shape.hop),
        ended=tally.ended,
        ended_all=tally.ended_all,
        waiting=_numbers((seq for seq, _ in mine), shape.hop),
        windows=windows_of(tally, mine, working),
        kept=kept,
        seen=tally.seen,
        pushed_out=entry.pushed_out,
    )


def _numbers(seqs: Iterable[int], hop: int) -> list[Range]:
    return union((seq // hop, seq // hop) for seq in seqs)


def take_up(book: Book, entries: Iterable[Entry], saved: Saved, table: RouteTable) -> None:
    """Begin the book with what an earlier life left behind.

    Args:
        book: to be filled.
        entries: series, taken up.
        saved: what the journal holds.
        table: the routes, which tell what is a whole window.
    """
    for entry in entries:
        shape = entry.route.manifest.input
        book.restored(entry.key, shape.hop, numbers(facts_of(entry).came(), shape.rows, shape.hop))
    for window in saved.asked:
        book.reopened(window.key, window.id, window.seq, rows=whole_rows(table, window.key, window.model))
    for result in saved.results:
        key, one = key_of(result), result.result
        book.reopened(key, one.id, one.seq, rows=whole_rows(table, key, one.model))


def whole_rows(table: RouteTable, key: SeriesKey, model: str) -> int:
    """Rows of a whole window of this series, for that model; 0 where it is cut of rows, or nobody numbers it."""
    if "_infer" in {key.site, key.device}:
        return 0
    fitting = [route for route in table.routes if route.model == model]
    named = [route for route in fitting if route.stream == key.stream]
    others = [route for route in fitting if route.stream == "*" or "{" in route.stream]
    route = next(iter(named or others), None)
    return route.manifest.input.rows if route is not None and route.windows == "whole" else 0


def key_of(saved: SavedResult) -> SeriesKey:
    """The series of a journalled Result."""
    result, place = saved.result, topics.parse_result(saved.topic)
    return SeriesKey("_infer" if place is None else place.site, result.device, result.stream, result.epoch)


def saved_accounts(entries: Iterable[Entry], saved: Saved) -> list[Account]:
    """Accounts of the series in a state folder: what still waits there, and no more can be said of answers.

    Args:
        entries: its series, taken up.
        saved: what the journal holds.
    """
    waiting: dict[SeriesKey, list[int]] = {}
    for window in saved.asked:
        waiting.setdefault(window.key, []).append(window.seq)
    for result in saved.results:
        waiting.setdefault(key_of(result), []).append(result.result.seq)
    found = []
    for entry in entries:
        shape = entry.route.manifest.input
        account = account_of(entry.key, facts_of(entry), window=shape.rows, hop=shape.hop)
        found.append(msgspec.structs.replace(account, waiting=_numbers(waiting.get(entry.key, ()), shape.hop)))
    return found
