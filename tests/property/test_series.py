"""However rows are packed, ordered, repeated and interrupted: the same rows give the same windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bridge.pipeline.series import Chunk, Series

if TYPE_CHECKING:
    from bridge.messages import Rows
    from bridge.pipeline.series import Cut

steady = settings(deadline=None)
T0, DT = 1_000.0, 0.5

Span = tuple[int, int]
Windows = list[tuple[int, list[float], float]]


def values_of(first: int, end: int) -> Rows:
    """Row r of the recording says r, so that a window tells which rows it holds."""
    return np.arange(first, end, dtype=np.float32).reshape(-1, 1)


def chunk_of(span: Span, now: float = 0.0) -> Chunk:
    return Chunk(span[0], values_of(*span), T0 + span[0] * DT, DT, "device", now, "live")


def told(cuts: list[Cut]) -> Windows:
    return [(cut.seq, cut.values[:, 0].tolist(), cut.t) for cut in cuts]


def expected(rows: set[int], length: int, hop: int) -> Windows:
    """All windows whose rows are there: what the contract says, row by row."""
    starts = range(0, max(rows, default=0) + 1, hop)
    return [
        (start, [float(row) for row in range(start, start + length)], T0 + start * DT)
        for start in starts
        if rows.issuperset(range(start, start + length))
    ]


class Shape(NamedTuple):
    length: int
    hop: int


SHAPES = st.builds(Shape, st.integers(1, 12), st.integers(1, 15))  # hop = 1, = length, > length: all of them
OVERLAPPING = SHAPES.filter(lambda shape: shape.hop <= shape.length)  # what a manifest may say


@st.composite
def packings(draw: st.DrawFn, total: int) -> list[Span]:
    """The rows 0…total in messages of 1 to 200 rows, some of which reach back into the one before."""
    spans, at = [], 0
    while at < total:
        end = min(total, at + draw(st.integers(1, 200) | st.integers(1, 9)))
        spans.append((max(0, at - draw(st.integers(0, 6) | st.just(0))), end))
        at = end
    return spans


@st.composite
def deliveries(draw: st.DrawFn, total: int) -> list[Span]:
    """Two packings of the same rows, in any order, each message any number of times."""
    spans = draw(packings(total))
    spans += draw(st.just([]) | packings(total))
    spans += draw(st.lists(st.sampled_from(spans), max_size=6))
    return draw(st.permutations(spans) | st.just(spans))


@settings(steady, max_examples=300)
@given(st.integers(1, 400).flatmap(deliveries), SHAPES)
def test_any_packing_order_and_repetition_gives_the_windows_of_one_big_message(spans: list[Span], shape: Shape) -> None:
    total = max(end for _, end in spans)
    whole = Series(*shape)
    _, cuts = whole.add(chunk_of((0, total)), 0.0)
    series = Series(*shape)
    pieces: list[Cut] = []
    for span in spans:
        pieces += series.add(chunk_of(span), 0.0)[1]
    assert told(pieces) == told(cuts) == expected(set(range(total)), *shape)
    assert (series.next_row, series.next_window, series.gap_since) == (total, whole.next_window, None)


@steady
@given(st.integers(1, 400).flatmap(deliveries), SHAPES)
def test_what_is_called_new_holds_all_that_was_not_known(spans: list[Span], shape: Shape) -> None:
    series = Series(*shape)
    known: set[int] = set()
    for span in spans:
        new, _ = series.add(chunk_of(span), 0.0)
        rows = set(range(*span))
        added = set() if new is None else set(range(new.first, new.end))
        assert rows - known <= added <= rows
        if new is not None:
            assert new.values[:, 0].tolist() == [float(row) for row in range(new.first, new.end)]
            assert new.t == T0 + new.first * DT
        known |= rows


@st.composite
def stories(draw: st.DrawFn) -> list[Span | None]:
    """Messages of a lossy sender; None: the first gap is given up."""
    story: list[Span | None] = []
    at = 0
    for _ in range(draw(st.integers(1, 25))):
        first = max(0, at + draw(st.sampled_from([0, 0, 0, 3, 9, -5, -20])))
        end = first + draw(st.integers(1, 20))
        story.append((first, end))
        at = max(at, end)
        if draw(st.integers(0, 4)) == 0:
            story.append(None)
    return story


def play(series: Series, story: list[Span | None]) -> tuple[Windows, set[int]]:
    """Plays a story to its end, when all gaps are given up.

    Returns:
        The windows, and the rows that were not refused.
    """
    windows: Windows = []
    rows: set[int] = set()
    for span in story:
        if span is None:
            windows += told(series.give_up(0.0))
        elif series.skipped(*span) is None:
            windows += told(series.add(chunk_of(span), 0.0)[1])
            rows |= set(range(*span))
    while series.gap_since is not None:
        windows += told(series.give_up(0.0))
    return windows, rows


@settings(steady, max_examples=500)
@given(stories(), SHAPES)
def test_a_gap_given_up_ends_exactly_the_windows_that_span_it(story: list[Span | None], shape: Shape) -> None:
    windows, rows = play(Series(*shape), story)
    assert windows == expected(rows, *shape)


@steady
@given(stories(), SHAPES, st.integers(0, 30))
def test_rows_held_are_bounded_and_no_complete_window_is_lost_to_the_bound(
    story: list[Span | None], shape: Shape, most: int
) -> None:
    series = Series(*shape, max_held=most)
    windows: Windows = []
    for span in story:
        if span is not None and series.skipped(*span) is None:
            windows += told(series.add(chunk_of(span), 0.0)[1])
        assert sum(len(chunk.values) for chunk in series._held.values()) == series.held_rows <= most
        assert sorted(series._firsts) == sorted(series._held)
        assert (series.gap_since is None) == (not series._held)
    assert windows == sorted(windows)


@steady
@given(stories(), st.integers(1, 12))
def test_late_rows_of_a_gap_that_was_given_up_are_told_apart(story: list[Span | None], length: int) -> None:
    series = Series(length, 1)  # where every row begins a window, no row after a gap is passed over
    _, rows = play(series, story)
    missing = set(range(series.next_row)) - rows
    for row in range(series.next_row):
        late = series.skipped(row, row + 1)
        assert late == ((row, row) if row in missing else None)
    assert series.skipped(series.next_row, series.next_row + 9) is None


class Kept:
    """What the journal keeps of one series: rows by their first, deleted once their last window is cut."""

    def __init__(self) -> None:
        self.rows: dict[int, Chunk] = {}
        self.next_row = self.next_window = 0

    def commit(self, series: Series, new: Chunk | None) -> None:
        if new is not None:
            self.rows[new.first] = new
        self.next_row, self.next_window = series.next_row, series.next_window
        start = min(self.next_row, self.next_window)  # rows held before the next window are known to have come
        self.rows = {first: chunk for first, chunk in self.rows.items() if chunk.end > start}

    def restored(self, shape: Shape) -> Series:
        series = Series(*shape, next_row=self.next_row, next_window=self.next_window)
        for _, chunk in sorted(self.rows.items()):
            series.restore(chunk, 0.0)
        return series


@settings(steady, max_examples=500)
@given(stories() | st.integers(1, 150).flatmap(deliveries), OVERLAPPING, st.sets(st.integers(0, 40)))
def test_a_restart_at_any_point_changes_no_window(story: list[Span | None], shape: Shape, restarts: set[int]) -> None:
    steadfast, restarted, kept = Series(*shape), Series(*shape), Kept()
    for step, span in enumerate(story):
        if step in restarts:
            restarted = kept.restored(shape)
        if span is None:
            kept_cuts, cuts = steadfast.give_up(0.0), restarted.give_up(0.0)
            kept.commit(restarted, None)
        elif steadfast.skipped(*span) is None:
            _, kept_cuts = steadfast.add(chunk_of(span), 0.0)
            new, cuts = restarted.add(chunk_of(span), 0.0)
            kept.commit(restarted, new)
        else:
            continue
        assert told(cuts) == told(kept_cuts)
        assert (restarted.next_row, restarted.next_window) == (steadfast.next_row, steadfast.next_window)
        assert (restarted.gap_since is None) == (steadfast.gap_since is None)


@steady
@given(stories(), OVERLAPPING)
def test_what_the_journal_keeps_is_what_unfinished_windows_need(story: list[Span | None], shape: Shape) -> None:
    series, kept = Series(*shape), Kept()
    for span in story:
        if span is None:
            series.give_up(0.0)
            kept.commit(series, None)
        elif series.skipped(*span) is None:
            new, _ = series.add(chunk_of(span), 0.0)
            kept.commit(series, new)
    assume(series.gap_since is None)
    rows = {row for chunk in kept.rows.values() for row in range(chunk.first, chunk.end)}
    assert rows >= set(range(series.next_window, series.next_row))
    assert max(rows, default=-1) < series.next_row
