"""Any commits, refusing disks, kills and restarts: the journal holds what a plain model of it holds."""

from __future__ import annotations

import resource
import shutil
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from bridge.errors import StoreError
from bridge.messages import Answer, Result, SeriesKey
from bridge.store.journal import Journal
from bridge.store.records import (
    Changes,
    GivenUp,
    Saved,
    SavedResult,
    SavedRows,
    SavedSegment,
    SavedSeries,
    SavedTail,
    SavedWindow,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.store.index import Index

KEYS = [SeriesKey("s", device, "x", "e") for device in "abc"]
NAMES = st.sampled_from("pqrs")
NAMED = st.lists(NAMES, max_size=3, unique=True)
SPANS = st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 30), st.integers(1, 12)), max_size=4)
PARTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=2)
STEPS = st.dictionaries(
    st.sampled_from(KEYS), st.tuples(st.integers(0, 12), st.lists(st.integers(0, 9), max_size=2), PARTS)
)
TAILS = st.dictionaries(st.sampled_from(KEYS), st.tuples(st.integers(0, 12), st.integers(0, 9), st.integers(1, 12)))
Steps: TypeAlias = dict[SeriesKey, tuple[int, list[int], list[tuple[int, int]]]]


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def rows(key: SeriesKey, first: int, count: int, mark: int) -> SavedRows:
    return SavedRows(key, first, np.full((count, 2), mark, np.float32), float(mark), 0.5, "device", "live")


def question(name: str, mark: int) -> SavedWindow:
    local = Answer("sit", 0.5, "1", "small") if mark % 2 else None
    return SavedWindow(name, KEYS[0], mark, bytes(80), 2, 1.5, "bridge", 7.5, "m", "live", 2.0, local, "")


def result(name: str, mark: int) -> SavedResult:
    said = Result(name, "d", "x", mark, "e", 1.5, "m", "1", "sit", 0.5, "bridge", False, 0, 2.5, "why", "live")
    return SavedResult(said, 7.5, "topic")


class Model:
    """The journal as dictionaries."""

    def __init__(self) -> None:
        self.series: dict[SeriesKey, SavedSeries] = {}
        self.rows: dict[tuple[SeriesKey, int], SavedRows] = {}
        self.asked: dict[str, SavedWindow] = {}
        self.results: dict[str, SavedResult] = {}
        self.decided: dict[str, None] = {}

    def commit(self, changes: Changes) -> None:
        for key in changes.forgotten:
            self.series.pop(key, None)
            self.rows = {name: kept for name, kept in self.rows.items() if name[0] != key}
        for one in changes.series:
            self.series[one.key] = one
        for series, held in [tail.apart() for tail in changes.tails]:
            self.series[series.key] = series
            self.rows = {name: kept for name, kept in self.rows.items() if name[0] != series.key}
            self.rows[held.key, held.first] = held
        self.rows.update({(new.key, new.first): new for new in changes.rows if new.key in self.series})
        self.rows = {name: kept for name, kept in self.rows.items() if self.needed(self.series[kept.key], kept)}
        self.asked.update({window.id: window for window in changes.asked})
        self.results.update({saved.result.id: saved for saved in changes.results})
        for window in changes.answered:
            self.asked.pop(window, None)
        for taken in changes.taken:
            self.results.pop(taken, None)
        self.decided.update(dict.fromkeys(changes.decided))

    @staticmethod
    def needed(series: SavedSeries, kept: SavedRows) -> bool:
        wanted = set(range(kept.first, kept.first + len(kept.values))) - set(
            range(min(series.next_row, series.next_window))
        )
        cut = [set(range(part.keep, min(part.next_row, part.next_window))) for part in series.later]
        return bool(wanted) and not any(wanted <= rows for rows in cut)

    def check(self, saved: Saved) -> None:
        assert {one.key: one for one in saved.series} == self.series
        assert len(saved.series) == len(self.series)
        found = [(kept.key, kept.first, kept.t, kept.values.tolist()) for kept in saved.rows]
        assert sorted(found, key=str) == sorted(
            [(kept.key, kept.first, kept.t, kept.values.tolist()) for kept in self.rows.values()], key=str
        )
        assert [first for _, first, *_ in found] == sorted(first for _, first, *_ in found)
        assert sorted(saved.asked, key=str) == sorted(self.asked.values(), key=str)
        assert sorted(saved.results, key=str) == sorted(self.results.values(), key=str)
        assert saved.decided == list(self.decided)


def weights_of(index: Index) -> Counter[int]:
    """Weight of what is needed of each record, by what the index knows of series, questions and Results."""
    weights: Counter[int] = Counter()
    for series in index._series.values():
        weights[series.record] += series.weight + series.tail
        for _, _, record, weight in series.chunks:
            weights[record] += weight
    for record, weight in (*index._asked.values(), *index._results.values()):
        weights[record] += weight
    return weights


class JournalMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.small = patch.multiple("bridge.store.index", SLACK=0, SHARE=0)  # or hardly anything would ever be moved
        self.small.start()
        self.beside = patch.multiple("bridge.store.segments", LARGE=600, FULL=4_000)  # or everything would be small
        self.beside.start()
        self.settles = patch("bridge.store.journal.SETTLES", 3_000)
        self.settles.start()
        self.model = Model()
        self.mark = 0
        self.refused: Changes | None = None
        self.journal = Journal(self.folder / "journal.db", pytest.fail)

    def changes(
        self,
        steps: Steps,
        spans: list[tuple[SeriesKey, int, int]],
        tails: dict[SeriesKey, tuple[int, int, int]],
        names: tuple[list[str], ...],
        forgotten: list[SeriesKey],
    ) -> Changes:
        self.mark += 1
        asked, answered, results, taken, decided = names
        starts = {key: one.next_window for key, one in self.model.series.items() if key not in forgotten}
        moved = {key: starts.get(key, 0) + step for key, (step, _, _) in steps.items()}
        spots: dict[tuple[SeriesKey, int], int] = {name: len(kept.values) for name, kept in self.model.rows.items()}
        kept = []
        for key, first, count in spans:
            spot = (key, max(0, moved.get(key, starts.get(key, 0)) + first - 5))
            spots[spot] = max(count, spots.get(spot, 0))  # a copy is never the shorter one
            kept.append(rows(*spot, spots[spot], self.mark))
        return Changes(
            rows=kept,
            series=[
                SavedSeries(
                    key,
                    "m",
                    True,
                    moved[key],
                    moved[key],
                    tuple(GivenUp(first, first + self.mark, "age") for first in skipped),
                    self.mark,
                    self.mark,
                    self.later(moved[key] + 3, parts),
                )
                for key, (_, skipped, parts) in steps.items()
            ],
            tails=[
                self.tail(key, starts.get(key, 0) + step, ahead, count)
                for key, (step, ahead, count) in tails.items()
                if key not in steps and key not in {kept_key for kept_key, _, _ in spans}
            ],
            forgotten=forgotten,
            asked=[question(name, self.mark) for name in asked],
            answered=answered,
            results=[result(name, self.mark) for name in results],
            taken=taken,
            decided=decided,
        )

    def tail(self, key: SeriesKey, window: int, ahead: int, count: int) -> SavedTail:
        """Rows of one message from a little after the start of the next window on."""
        mark, first, data = self.mark, window + ahead, np.full((count, 2), self.mark, "<f4").tobytes()
        return SavedTail(
            key, "m", True, first + count, window, (), mark, 0, "via", first, data, 2, float(mark), 0.5, "device",
            "live",
        )  # fmt: skip

    @staticmethod
    def later(row: int, parts: list[tuple[int, int]]) -> tuple[SavedSegment, ...]:
        made = []
        for keep, cut in parts:
            made.append(SavedSegment(row, row + keep, row + keep + cut + 1 - cut % 3, row + keep + cut))
            row += keep + cut + 3
        return tuple(made)

    @rule(
        steps=STEPS,
        spans=SPANS,
        tails=TAILS,
        names=st.tuples(NAMED, NAMED, NAMED, NAMED, NAMED),
        forgotten=st.lists(st.sampled_from(KEYS), max_size=1),
        disk=st.none() | st.integers(1, 60_000),
    )
    def commit(
        self,
        steps: Steps,
        spans: list[tuple[SeriesKey, int, int]],
        tails: dict[SeriesKey, tuple[int, int, int]],
        names: tuple[list[str], ...],
        forgotten: list[SeriesKey],
        disk: int | None,
    ) -> None:
        self.take(self.changes(steps, spans, tails, names, forgotten), disk)

    @precondition(lambda self: self.refused is not None)
    @rule()
    def try_again(self) -> None:
        assert self.refused is not None
        self.take(self.refused, None)

    def take(self, changes: Changes, disk: int | None) -> None:
        try:
            if disk is None:
                self.journal.commit(changes)
            else:
                with disk_of(disk):
                    self.journal.commit(changes)
        except StoreError:
            assert disk is not None
            self.refused = changes
        else:
            self.model.commit(changes)
            self.refused = None

    @rule(read=st.booleans())
    def reopen(self, read: bool) -> None:
        self.journal.close()
        self.journal = Journal(self.folder / "journal.db", pytest.fail)
        if read:
            self.model.check(self.journal.load())

    @rule()
    def load(self) -> None:
        """What is known of the records is what reading them tells."""
        known = self.journal._index
        self.model.check(self.journal.load())
        read = self.journal._index
        assert read is not None
        if known is not None:
            assert (known._needed, known.needed) == (read._needed, read.needed)
            assert (+Counter(known._needed), known.needed) == ((weights := weights_of(known)), weights.total())

    @rule()
    def kill(self) -> None:
        """What the files hold now is what `kill -9` leaves."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for one in self.folder.glob("journal.db*"):
            shutil.copy(one, copy / one.name)
        killed = Journal(copy / "journal.db", pytest.fail)
        try:
            self.model.check(killed.load())
        finally:
            killed.close()

    def teardown(self) -> None:
        self.journal.close()
        self.small.stop()
        self.beside.stop()
        self.settles.stop()
        shutil.rmtree(self.folder)


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
