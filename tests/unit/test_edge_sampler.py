from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.store.outbox import Piece, Series
from edge_agent.config import Stream
from edge_agent.route import Route
from edge_agent.sampler import Stamper, cut, halves, split


def piece(first: int, count: int, t: float | None = None, dt: float | None = None, channels: int = 1) -> Piece:
    values = np.repeat(np.arange(first, first + count, dtype=np.float32)[:, None], channels, axis=1)
    return Piece(first, values, t, dt)


def edges(pieces: list[Piece], rows: int, *, whole: bool = False) -> list[tuple[int, int]]:
    found = list(cut(pieces, rows, whole=whole))
    for one in found:
        assert np.array_equal(one.values[:, 0], np.arange(one.first, one.last + 1))
    return [(one.first, one.last) for one in found]


@pytest.mark.parametrize("packed", [[23], [1] * 23, [5, 5, 5, 8], [20, 3]])
def test_messages_are_the_same_however_rows_were_kept(packed: list[int]) -> None:
    pieces, first = [], 2
    for count in packed:
        pieces.append(piece(first, count, first * 0.5, 0.5))
        first += count
    assert edges(pieces, 10) == [(2, 9), (10, 19), (20, 24)]
    assert [one.t for one in cut(pieces, 10)] == [1.0, 5.0, 10.0]


def test_no_row_is_before_1970_where_the_clock_was_not_set_yet() -> None:
    stamper = Stamper(1.0)
    assert [stamper.stamp(count, now) for count, now in ((100, 30.0), (1, 31.0), (1, 131.5))] == [0.0, 31.0, 131.5]


def test_a_gap_a_jump_in_time_and_other_channels_begin_a_message() -> None:
    assert edges([piece(0, 3), piece(5, 3)], 10) == [(0, 2), (5, 7)]
    assert edges([piece(0, 3, 0.0, 1.0), piece(3, 3, 9.0, 1.0)], 10) == [(0, 2), (3, 5)]
    assert edges([piece(0, 3, 0.0, 1.0), piece(3, 3, 3.4, 1.0)], 10) == [(0, 5)]
    assert edges([piece(0, 3, 0.0, 1.0), piece(3, 3, 3.0, 2.0)], 10) == [(0, 2), (3, 5)]
    assert edges([piece(0, 3, 0.0, 1.0), piece(3, 3)], 10) == [(0, 2), (3, 5)]
    assert edges([piece(0, 3), piece(3, 3, channels=2)], 10) == [(0, 2), (3, 5)]
    assert edges([piece(0, 3, 0.0, 1.0), piece(3, 3, 9.0, 1.0)], 10, whole=True) == [(0, 5)]


def test_halves() -> None:
    one, two = halves(piece(3, 7, 0.0, 1.0))
    assert (one.first, one.last, one.t) == (3, 5, 0.0)
    assert (two.first, two.last, two.t) == (6, 9, 3.0)


def test_stamps_stay_on_the_grid_until_it_slips() -> None:
    stamper = Stamper(0.1)
    assert stamper.stamp(2, 100.1) == pytest.approx(100.0)
    assert stamper.stamp(2, 100.7) == pytest.approx(100.2)
    assert stamper.stamp(1, 200.0) == 200.0


def test_rows_that_are_not_finite_are_left_out_with_their_numbers() -> None:
    values = np.array([[np.nan], [1], [2], [np.inf], [np.nan], [3], [np.nan]], dtype=np.float32)
    chunks = list(split(values, None, None))
    assert [(c.skip, c.values[:, 0].tolist()) for c in chunks] == [(1, [1, 2]), (2, [3]), (1, [])]


def test_a_pause_begins_a_chunk() -> None:
    values = np.zeros((4, 1), dtype=np.float32)
    chunks = list(split(values, np.array([0.0, 0.11, 5.0, 5.1]), 0.1))
    assert [(c.t, len(c.values)) for c in chunks] == [(0.0, 2), (5.0, 2)]


@given(st.integers(0, 60), st.integers(1, 60), st.integers(1, 30), st.booleans())
def test_one_piece_that_is_a_message_is_written_as_any_other(first: int, count: int, rows: int, whole: bool) -> None:
    stream = Stream(name="wrist", source="stdin", rows_per_message=rows, windows="whole" if whole else "rows")
    route = Route(Series(1, "wrist", "e", 0, False), stream, 0, receipt_timeout=1.0, backlog_after=None)
    pieces = [piece(first, count, 5.0, 0.1)]
    quick, usual = route.messages(pieces, 300), route.messages(iter(pieces), 300)
    assert [(one[:2], one.payload) for one in quick] == [(one[:2], one.payload) for one in usual]
