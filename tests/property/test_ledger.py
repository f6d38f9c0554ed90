"""Whatever comes, in whatever order: the series and the book agree; take one window away, and they do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bridge.assembly import route_table
from bridge.catalog import Catalog, default_directory
from bridge.config import BridgeSection, Config, RouteSection
from bridge.errors import Refused
from bridge.ledger.account import Part
from bridge.ledger.book import Book
from bridge.ledger.proof import Check, check_agent, check_series
from bridge.ledger.source import running_account
from bridge.messages import Observation
from bridge.pipeline.entries import Patience
from bridge.pipeline.turn import Cut
from bridge.pipeline.window import Windower
from bridge.ranges import both, count, minus, numbers, union
from bridge.topics import DataTopic
from tests.support.feeds import feed

if TYPE_CHECKING:
    from bridge.ledger.account import Account
    from bridge.messages import Window
    from bridge.pipeline.entries import Entry

steady = settings(deadline=None)
ROUTE = route_table(
    Config(BridgeSection(id="gw"), routes=(RouteSection(stream="wrist", model="activity"),)),
    {"activity": Catalog(default_directory())["activity"]},
).routes[0]
SHAPE = ROUTE.manifest.input
TOPIC = DataTopic("ward", "w1", "wrist")
OTHER = DataTopic("ward", "w2", "wrist")

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)
# a message of so many rows, so far from where the last one ended; or the wait for what is missing ends
STEPS = st.lists(st.tuples(st.integers(-300, 300), st.integers(1, 400)) | st.none(), min_size=1, max_size=12)


class Bridge:
    """A windower and a book; what it cuts waits in `open`."""

    def __init__(self) -> None:
        self.windower = Windower(Patience(held_rows=1_000, series=1), lambda: "b")
        self.book = Book()
        self.open: list[Window] = []
        self.entry: Entry | None = None
        self.now = 0.0

    def take(self, first: int, rows: int) -> None:
        seen = Observation(np.zeros((rows, len(SHAPE.channels)), np.float32), seq=first, epoch="e1")
        try:
            taken = self.windower.take(feed(self.windower, ROUTE, TOPIC), seen, self.now, 1e9)
        except Refused:
            return
        self.entry = taken.entry
        self.turn(taken.windows)

    def expire(self) -> None:
        self.now += 1e3
        for _, windows in self.windower.expire(self.now):
            self.turn(windows)

    def push_out(self) -> None:
        """Another series comes."""
        seen = Observation(np.zeros((1, len(SHAPE.channels)), np.float32), epoch="other")
        self.windower.take(feed(self.windower, ROUTE, OTHER), seen, self.now, 1e9)

    def turn(self, windows: list[Window]) -> None:
        assert self.entry is not None
        self.open += windows
        self.book.turn([Cut(one, ROUTE, None, entry=self.entry) for one in windows], {self.entry.key: self.entry}, 1e9)

    def account(self) -> Account:
        assert self.entry is not None
        working = {one.id for one in self.open}
        return running_account(self.entry, self.book, self.book.waiting(), working=working.__contains__, kept=None)

    def checks(self) -> list[Check]:
        return [one for one in check_series(self.account(), bridge="") if not one.holds]


@settings(steady, max_examples=200)
@given(STEPS, st.data())
def test_a_lost_window_is_named_and_nothing_else(steps: list[tuple[int, int] | None], data: st.DataObject) -> None:
    bridge, at = Bridge(), 0
    for step in steps:
        if step is None:
            bridge.expire()
            continue
        offset, rows = step
        bridge.take(max(0, at + offset), rows)
        at = max(0, at + offset) + rows
        bridge.open = data.draw(st.permutations(bridge.open))
        for _ in range(data.draw(st.integers(0, len(bridge.open)))):
            window = bridge.open.pop()
            if data.draw(st.integers(0, 9)):
                bridge.book.answered(window.id)
            else:
                bridge.book.refused(window.id, "shape")
    assume(bridge.entry is not None)
    assert bridge.checks() == []
    assume(bridge.open)
    lost = bridge.open.pop()
    its = [(lost.seq, lost.seq + SHAPE.rows - 1)]
    assert [(one.name, one.rows) for one in bridge.checks()] == [("work", its)]
    bridge.book._waiting.pop(lost.id)
    assert [(one.name, one.rows) for one in bridge.checks()] == [("answers", its)]


@settings(steady, max_examples=300)
@given(st.lists(st.tuples(st.integers(-100, 300), st.integers(1, 400)) | st.none() | st.just("other"), max_size=14))
def test_a_series_that_was_pushed_out_adds_up_and_every_row_of_it_is_known(
    steps: list[tuple[int, int] | str | None],
) -> None:
    bridge, at = Bridge(), 0
    sent: set[int] = set()
    for step in steps:
        if step is None:
            bridge.expire()
        elif isinstance(step, str):
            bridge.push_out()
        else:
            first, at = max(0, at + step[0]), max(0, at + step[0]) + step[1]
            bridge.take(first, step[1])
            sent.update(range(first, at))
    assume(bridge.entry is not None)
    account = bridge.account()
    found = check_series(account, bridge="")
    assert [one for one in found if one.holds is False] == []
    said = count(union([*account.came, *account.held, *((one.first, one.last) for one in account.given_up)]))
    assert account.unnamed or said >= len(sent)


@steady
@given(st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_the_proof_is_whole_where_rows_came_in_order_and_were_pushed_out(messages: list[int]) -> None:
    bridge, first = Bridge(), 0
    for rows in messages:
        bridge.take(first, rows)
        first += rows
        bridge.push_out()
    account = bridge.account()
    assert all(one.holds for one in check_series(account, bridge=""))
    assert {one.rule for one in account.given_up} <= {"series"}
    part = Part("e1", first, kept=0)
    assert check_agent(part, [account]).holds


@steady
@given(RANGES, RANGES)
def test_ranges_are_sets_of_rows(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    def rows(ranges: Any) -> set[int]:
        return {row for first, last in ranges for row in range(first, last + 1)}

    assert rows(union(one)) == rows(one)
    assert rows(minus(one, other)) == rows(one) - rows(other)
    assert rows(both(one, other)) == rows(one) & rows(other)
    assert count(union(one)) == len(rows(one))
    assert all(low - high > 1 for (_, high), (low, _) in zip(union(one), union(one)[1:], strict=False))


@steady
@given(RANGES, st.integers(1, 12), st.integers(1, 15))
def test_windows_that_fit_are_those_whose_rows_are_all_there(runs: list[tuple[int, int]], rows: int, hop: int) -> None:
    there = {row for first, last in runs for row in range(first, last + 1)}
    found = {number for first, last in numbers(runs, rows, hop) for number in range(first, last + 1)}
    assert found == {k for k in range(70) if there.issuperset(range(k * hop, k * hop + rows))}
