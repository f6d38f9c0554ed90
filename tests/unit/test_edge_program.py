"""Rows that a program hands over: what is taken, under which times, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.fields import MAX_TIME
from edge_agent.sources.program import FEW, Program

NAN, INF = float("nan"), float("inf")


def program(rate: float | None = 10.0) -> Program:
    made = Program("wrist", rate=rate)
    made.chunks([[0.0, 0.0]], None, 99.9)
    return made


@pytest.mark.parametrize(
    ("rows", "t", "kind", "says"),
    [
        ("[1, 2]", None, TypeError, "wrist: rows are numbers, not <U6 (str)"),
        (b"[1, 2]", None, TypeError, "rows are numbers"),
        (["a", "b"], None, TypeError, "rows are numbers"),
        ([[None, 1]], None, TypeError, "rows are numbers, not object (list)"),
        ([[1j, 1]], None, TypeError, "rows are numbers"),
        ([[True, False]], None, TypeError, "rows are numbers, not bool"),
        ([1, 2], None, ValueError, "rows have the shape (rows, channels), at least one of each, not (2,)"),
        ([[[1, 2]]], None, ValueError, "not (1, 1, 2)"),
        (np.zeros((0, 2), np.float32), None, ValueError, "not (0, 2)"),
        (np.zeros((2, 0), np.float32), None, ValueError, "not (2, 0)"),
        ([[1, 2], [3]], None, ValueError, "wrist: rows of different lengths"),
        (np.zeros((5, 3), np.float32), None, ValueError, "wrist: 3 channels, the first rows had 2"),
        ([[1, 2], [3, -1e39]], None, ValueError, "wrist: row 1, channel 1: -1e+39 is beyond float32"),
        ([[1, 2]], NAN, ValueError, "wrist: t must be finite"),
        ([[1, 2], [3, 4]], [1.0, INF], ValueError, "wrist: t must be finite"),
        ([[1, 2]], 1.7e12, ValueError, "not 1700000000000.0; milliseconds are to be divided by 1000"),
        ([[1, 2]], MAX_TIME, ValueError, "wrist: t must be finite: seconds since 1970, not 100000000000.0"),
        ([[1, 2], [3, 4]], [1.0, -0.5], ValueError, "seconds since 1970, not -0.5"),
        ([[1, 2], [3, 4]], [1.0], ValueError, "wrist: t is a number, or one a row: of shape (2,), not (1,)"),
    ],
)
def test_what_is_no_rows_is_refused_and_changes_nothing(rows: Any, t: Any, kind: type[Exception], says: str) -> None:
    made = program()
    with pytest.raises(kind) as caught:
        made.chunks(rows, t, 200.0)
    assert says in str(caught.value)
    (chunk,) = made.chunks([[1, 2]], None, 100.0)
    assert chunk.t == pytest.approx(100.0)


def test_refused_first_rows_do_not_say_how_many_channels_there_are() -> None:
    made = Program("wrist", rate=None)
    with pytest.raises(ValueError, match="beyond float32"):
        made.chunks([[1e39, 0, 0]], None, 0.0)
    with pytest.raises(ValueError, match="t must be finite"):
        made.chunks([[1, 0, 0]], NAN, 0.0)
    assert len(made.chunks([[1, 0]], None, 0.0)) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int16, np.uint8, ">f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_are_copied_as_float32(dtype: Any, order: Any) -> None:
    made = program()
    given = np.array([[1, 2], [3, 4], [5, 6]], dtype=dtype, order=order)
    for rows in (given, given[::-1][::-1]):
        (chunk,) = made.chunks(rows, None, 100.0)
        assert chunk.values.dtype == np.dtype("float32")
        assert chunk.values.flags.c_contiguous
        assert not np.shares_memory(chunk.values, given)
        assert chunk.values.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_times_are_on_the_grid_of_the_rate_or_as_told() -> None:
    made = program()
    assert [made.chunks([[1, 2]] * 5, None, now)[0].t for now in (100.4, 100.93)] == pytest.approx([100.0, 100.5])
    assert made.chunks([[1, 2]] * 5, 77.0, 0.0)[0].t == 77.0
    assert made.chunks([[1, 2]], [0.0], 0.0)[0].t == 0.0
    even, late = made.chunks([[1, 2]] * 4, [7.0, 7.1, 9.0, 9.1], 0.0)
    assert [(chunk.t, chunk.dt, len(chunk.values)) for chunk in (even, late)] == [(7.0, 0.1, 2), (9.0, 0.1, 2)]
    (unknown,) = program(None).chunks([[1, 2]] * 4, None, 8.0)
    assert (unknown.t, unknown.dt) == (8.0, None)


@pytest.mark.parametrize("t", [None, 50.0, [50.0, 50.1, 50.2, 50.3, 50.4, 50.5]])
@pytest.mark.parametrize("many", [1, FEW])
def test_a_row_that_is_not_finite_is_left_out_and_the_next_says_how_many(t: Any, many: int) -> None:
    made = Program("wrist", rate=10.0)
    rows = np.arange(6.0 * many).reshape(6, many)
    rows[0, 0], rows[3, -1], rows[5, 0] = NAN, INF, -INF
    chunks = made.chunks(rows, t, 50.5)
    assert [(len(chunk.values), chunk.skip) for chunk in chunks] == [(2, 1), (1, 1), (0, 1)]
    assert [chunk.t for chunk in chunks[:2]] == pytest.approx([50.1, 50.4])


@given(
    st.lists(
        st.lists(st.floats(width=32), min_size=2, max_size=2),
        min_size=1,
        max_size=FEW,  # twice as many numbers: both ways of looking
    )
)
def test_all_rows_are_there_or_counted(rows: list[list[float]]) -> None:
    given = np.array(rows, dtype=np.float32)
    chunks = program().chunks(given, None, 100.0)
    left = [row.tolist() for row in given if np.isfinite(row).all()]
    assert [row for chunk in chunks for row in chunk.values.tolist()] == left
    assert sum(len(chunk.values) + chunk.skip for chunk in chunks) == len(rows)
