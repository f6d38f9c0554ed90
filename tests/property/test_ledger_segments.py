"""As `test_ledger.py`, of series in parts: backlogs, rows given up by their sender, restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import Refused
from bridge.ledger.book import Book
from bridge.ledger.proof import check_series
from bridge.ledger.source import running_account, take_up
from bridge.messages import Observation, Skip
from bridge.pipeline import restore
from bridge.pipeline.entries import Patience
from bridge.pipeline.routes import RouteTable
from bridge.pipeline.turn import Cut
from bridge.pipeline.window import Windower
from bridge.store.journal import Journal
from bridge.store.records import Changes
from tests.property.test_ledger import ROUTE, SHAPE, TOPIC
from tests.support.feeds import feed

if TYPE_CHECKING:
    from bridge.pipeline.chunk import Chunk
    from bridge.pipeline.entries import Entry

ROW = st.integers(0, 30).map(lambda n: n * 32) | st.integers(0, 900)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("live"), ROW, st.integers(1, 300)),
        st.tuples(st.just("backlog"), ROW, st.integers(1, 300)),
        st.tuples(st.just("live_from"), ROW, st.integers(1, 300)),
        st.tuples(st.just("skip"), ROW, st.integers(1, 300)),
        st.tuples(st.just("wait"), st.just(0), st.just(0)),
        st.tuples(st.just("die"), st.just(0), st.just(0)),
    ),
    min_size=1,
    max_size=14,
)


class Bridge:
    def __init__(self, path: Any) -> None:
        self.path = path
        self.now = 0.0
        self.begin()

    def begin(self) -> None:
        self.journal = Journal(self.path, print)
        saved = self.journal.load()
        self.windower = Windower(Patience(held_rows=1_000), lambda: "b")
        restore.take_up_series(saved, RouteTable([ROUTE]), self.windower, now=self.now)
        self.book = Book()
        take_up(self.book, self.windower.entries, saved, RouteTable([]))

    def die(self) -> None:
        self.journal.close()
        self.begin()

    def turn(self, windows: list[Any], touched: dict[Any, Entry], kept: list[tuple[Entry, Chunk]]) -> None:
        (entry,) = touched.values() or (None,)
        self.book.turn([Cut(one, ROUTE, None, entry=entry) for one in windows], touched, 1e9)
        for one in windows:
            self.book.answered(one.id)
        changes = Changes()
        restore.save(touched.values(), kept, changes)
        self.journal.commit(changes)

    def step(self, kind: str, first: int, rows: int) -> None:
        if kind == "die":
            self.die()
        elif kind == "wait":
            self.now += 1e3
            for key, windows in self.windower.expire(self.now):
                entry = self.windower.entry(key)
                assert entry is not None
                self.turn(windows, {key: entry}, [])
        elif kind == "skip":
            skipped = self.windower.skip(
                feed(self.windower, ROUTE, TOPIC), Skip([(first, first + rows - 1)], "age", "e1", True), self.now
            )
            touched = {} if skipped.entry is None else {skipped.key: skipped.entry}
            self.turn(skipped.windows, touched, [])
        else:
            self.take(kind, first, rows)

    def take(self, kind: str, first: int, rows: int) -> None:
        seen = Observation(
            np.zeros((rows, len(SHAPE.channels)), np.float32),
            seq=first,
            epoch="e1",
            receipt=True,
            lane="backlog" if kind == "backlog" else "live",
            live_from=first if kind == "live_from" else None,
        )
        try:
            taken = self.windower.take(feed(self.windower, ROUTE, TOPIC), seen, self.now, 1e9)
        except Refused:
            return
        assert taken.entry is not None
        kept = [] if taken.chunk is None else [(taken.entry, taken.chunk)]
        self.turn(taken.windows, {taken.key: taken.entry}, kept)

    def bad(self) -> list[Any]:
        found = []
        for entry in self.windower.entries:
            account = running_account(entry, self.book, self.book.waiting(), working=lambda _: True, kept=None)
            found += [one for one in check_series(account, bridge="") if not one.holds]
        return found


@settings(deadline=None, max_examples=150)
@given(steps=STEPS)
def test_it_adds_up(tmp_path_factory: Any, steps: list[tuple[str, int, int]]) -> None:
    bridge = Bridge(tmp_path_factory.mktemp("j") / "journal.db")
    try:
        for step in steps:
            bridge.step(*step)
            assert bridge.bad() == []
    finally:
        bridge.journal.close()
