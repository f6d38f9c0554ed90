"""What one wrong row number, or many gaps at once, can do to a bridge: little."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bridge.catalog import load_manifest
from bridge.errors import Refused
from bridge.messages import Observation
from bridge.pipeline.chunk import EACH
from bridge.pipeline.entries import Patience, Taken
from bridge.pipeline.routes import Route
from bridge.pipeline.series import MAX_JUMP
from bridge.pipeline.window import Windower
from bridge.topics import DataTopic
from tests.support.feeds import feed

ACTIVITY = load_manifest(Path(__file__).parents[2] / "models" / "activity")
SHAPE = msgspec.structs.replace(ACTIVITY.input, rows=4, hop=2, channels=("c",), rate_hz=10.0)
ROUTE = Route(model="m", manifest=msgspec.structs.replace(ACTIVITY, input=SHAPE), stream="x")


def made(**patience: int) -> Windower:
    numbers = count(1)
    return Windower(Patience(**patience), lambda: f"ours-{next(numbers)}")


def take(windower: Windower, first: int, *, device: str = "d", now: float = 1.0, live_from: int | None = None) -> Taken:
    values = np.arange(first, first + 4, dtype=np.float32).reshape(-1, 1)
    seen = Observation(values, seq=first, live_from=live_from)
    return windower.take(feed(windower, ROUTE, DataTopic("s", device, "x")), seen, now, 1e9)


def starts(taken: Taken) -> list[int]:
    return [window.seq for window in taken.windows]


def test_one_wrong_row_number_is_refused_and_the_next_right_one_goes_on() -> None:
    windower = made()
    assert starts(take(windower, 0)) == [0]
    with pytest.raises(Refused, match=r"malformed: row .* is far beyond row 4") as why:
        take(windower, 4 + MAX_JUMP + 1)
    assert why.value.seq == 4 + MAX_JUMP + 1
    assert starts(take(windower, 4)) == [2, 4]


def test_a_jump_that_goes_on_is_believed() -> None:
    windower = made()
    take(windower, 0)
    far = 10 * MAX_JUMP
    with pytest.raises(Refused):
        take(windower, far)
    for first in range(far + 4, far + 40, 4):
        take(windower, first)
    ((_, windows),) = windower.expire(100.0)
    assert windows[0].seq == far + 4


def test_a_stream_may_begin_anywhere() -> None:
    windower = made()
    begin = 10 * MAX_JUMP
    for first in range(begin, begin + 40, 4):
        take(windower, first)
    ((_, windows),) = windower.expire(100.0)
    assert [window.seq for window in windows] == list(range(begin, begin + 38, 2))


def test_rows_held_over_all_series_are_bounded_and_the_quietest_stop_waiting_first() -> None:
    windower = made(all_held_rows=12)
    for n in range(5):
        take(windower, 100, device=f"d{n}")
    moved = [key.device for key, _ in windower.expire(1.1)]
    assert moved == ["d0", "d1"]
    assert windower.expire(1.1) == []


@pytest.mark.parametrize("strand", [False, True], ids=["gaps", "holes"])
def test_where_very_many_waits_end_at_once_some_end_with_the_next_call(strand: bool) -> None:
    windower = made(cut=2 * (EACH + 16))
    for n in range(5):
        take(windower, 100, device=f"d{n}", live_from=101 if strand else None)
    moved = [[key.device for key, _ in windower.expire(100.0)] for _ in range(4)]
    assert moved == [["d0", "d1"], ["d2", "d3"], ["d4"], []]


def test_of_a_model_whose_windows_overlap_much_fewer_rows_are_held() -> None:
    shape = msgspec.structs.replace(SHAPE, rows=1 << 18, hop=1)
    assert (Patience().held(SHAPE), Patience().held(shape)) == (8_192, 15)


def test_rows_of_a_series_that_was_evicted_are_held_no_longer() -> None:
    windower = made(all_held_rows=8, series=1)
    for n in range(5):
        take(windower, 100, device=f"d{n}")
    assert windower.expire(1.1) == []
