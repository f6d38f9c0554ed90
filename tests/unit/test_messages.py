"""A window's id: the same rows give the same one, different rows another."""

from __future__ import annotations

import msgspec
import pytest

from bridge.messages import SeriesKey, window_id

KEY = SeriesKey("plant-a", "wrist-8", "wrist", "boot 3")


def test_the_id_is_fixed_for_ever() -> None:
    """Other bridges, other versions and journals of last year must agree on it."""
    assert window_id(KEY, 64, "activity") == "e36edf02b47e44e67f6b81250f9cd5ba"


@pytest.mark.parametrize("change", ["site", "device", "stream", "epoch"])
def test_each_part_of_the_series_counts(change: str) -> None:
    other = msgspec.structs.replace(KEY, **{change: "other"})
    assert window_id(other, 64, "activity") != window_id(KEY, 64, "activity")


def test_row_and_model_count_too() -> None:
    assert len({window_id(KEY, row, model) for row in range(50) for model in ("a", "b")}) == 100


def test_names_do_not_run_into_each_other() -> None:
    assert window_id(SeriesKey("ab", "c", "d", ""), 0, "m") != window_id(SeriesKey("a", "bc", "d", ""), 0, "m")
    assert window_id(SeriesKey("a", "b", "c", "1"), 2, "m") != window_id(SeriesKey("a", "b", "c", "12"), 0, "m")
