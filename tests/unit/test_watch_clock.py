"""A Result's time is a device's word: any number must be shown, not die on."""

from __future__ import annotations

import re

import pytest

from bridge.watch import _clock


@pytest.mark.parametrize("t", [1e308, -1e308, float("nan"), float("inf"), 1e18])
def test_a_time_without_a_calendar_day_is_shown_as_none(t: float) -> None:
    assert _clock(t) == "--:--:--"


def test_a_time_of_day() -> None:
    assert re.fullmatch(r"\d\d:\d\d:\d\d", _clock(1.7e9))
