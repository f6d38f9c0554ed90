"""What a bridge makes of backlogs and of rows given up, over all its series."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest

from bridge.catalog import load_manifest
from bridge.errors import Refused
from bridge.messages import Observation, SeriesKey, Skip
from bridge.pipeline.entries import Entry, Patience, Skipped, Taken
from bridge.pipeline.routes import Route
from bridge.pipeline.series import MAX_JUMP
from bridge.pipeline.window import Windower
from bridge.topics import DataTopic
from tests.support.feeds import feed

ACTIVITY = load_manifest(Path(__file__).parents[2] / "models" / "activity")
SHAPE = msgspec.structs.replace(ACTIVITY.input, rows=4, hop=2, channels=("c",), rate_hz=10.0)
WHO = DataTopic("s", "d", "x")
KEY = SeriesKey("s", "d", "x", "")


def route(windows: Literal["rows", "whole"] = "rows", model: str = "m") -> Route:
    return Route(model=model, manifest=msgspec.structs.replace(ACTIVITY, input=SHAPE), stream="x", windows=windows)


ROUTE = route()


def made(**patience: Any) -> Windower:
    numbers = count(1)
    return Windower(Patience(**patience), lambda: f"ours-{next(numbers)}")


def take(windower: Windower, first: int, end: int, *, who: DataTopic = WHO, now: float = 0.0, **more: Any) -> Taken:
    values = np.arange(first, end, dtype=np.float32).reshape(-1, 1)
    seen = Observation(values, **{"seq": first, "receipt": True, **more})
    return windower.take(feed(windower, ROUTE, who), seen, now, 1e9)


def skip(windower: Windower, *ranges: tuple[int, int], by: Route = ROUTE, **more: Any) -> Skipped:
    return windower.skip(feed(windower, by, WHO), Skip(list(ranges), "age", receipt=True, **more), 0.0)


def entry(windower: Windower, key: SeriesKey = KEY) -> Entry:
    found = windower.entry(key)
    assert found is not None
    return found


def told(done: Taken | Skipped) -> list[tuple[int, str]]:
    return [(window.seq, window.lane) for window in done.windows]


def test_a_series_whose_lanes_are_one_again_is_like_any_other() -> None:
    windower = made()
    assert told(take(windower, 8, 14, live_from=8)) == [(8, "live"), (10, "live")]
    assert [one.key for one in windower.entries] == [KEY]
    assert told(take(windower, 0, 8, lane="backlog")) == [(seq, "backlog") for seq in (0, 2, 4, 6)]
    assert entry(windower).strand is None
    assert told(take(windower, 14, 16, live_from=8)) == [(12, "live")]
    assert entry(windower).strand is None


def test_rows_that_the_bridge_numbers_have_one_lane() -> None:
    windower = made()
    assert told(take(windower, 0, 4, seq=None, live_from=100)) == [(0, "live")]
    assert [one.strand for one in windower.entries] == [None]


def test_known_rows_are_known_in_every_part() -> None:
    windower = made()
    take(windower, 0, 4)
    take(windower, 8, 12, live_from=8)
    for first, end in ((0, 4), (8, 12), (9, 11)):
        again = take(windower, first, end)
        assert (again.known, again.chunk, again.windows) == ("", None, [])
    both = take(windower, 2, 14, lane="backlog")
    assert both.chunk is not None
    assert (both.chunk.first, both.chunk.end) == (4, 14)


def test_windows_that_a_new_part_sets_free_are_told_though_its_own_rows_are_known() -> None:
    windower = made()
    take(windower, 4, 12)
    taken = take(windower, 8, 12, live_from=6)
    assert (taken.known, taken.chunk, told(taken)) == (None, None, [(6, "live"), (8, "live")])


def test_late_rows_are_told_in_every_part_and_refused_where_nothing_new_comes_with_them() -> None:
    windower = made()
    take(windower, 8, 12, live_from=8)
    skip(windower, (2, 3), (5, 5))
    late = take(windower, 1, 5, lane="backlog")
    assert (late.late, late.known) == ((2, 3), None)
    with pytest.raises(Refused, match="rows 5–5 came after") as why:
        take(windower, 4, 6, lane="backlog")
    assert (why.value.reason, why.value.seq) == ("stale", 4)


def test_rows_given_up_end_the_windows_that_span_them_at_once() -> None:
    windower = made()
    take(windower, 0, 3)
    take(windower, 6, 12)
    done = skip(windower, (3, 5))
    assert (done.rows, told(done), done.entry) == (3, [(6, "live"), (8, "live")], entry(windower))
    assert windower.expire(1e6) == []
    assert entry(windower).strand is None


def test_a_series_may_begin_with_rows_given_up() -> None:
    windower = made()
    assert skip(windower, (0, 99)).rows == 100
    assert told(take(windower, 100, 104)) == [(100, "live")]


def test_a_series_goes_on_far_ahead_of_rows_given_up() -> None:
    windower = made()
    take(windower, 0, 4)
    skip(windower, (4, 3 * MAX_JUMP))
    take(windower, 3 * MAX_JUMP + 1, 3 * MAX_JUMP + 3)
    assert entry(windower).series.next_row == 3 * MAX_JUMP + 3


def test_rows_of_an_epoch_are_given_up_in_that_epoch() -> None:
    windower = made()
    skip(windower, (0, 1), epoch="e")
    assert [one.key for one in windower.entries] == [SeriesKey("s", "d", "x", "e")]


def test_of_whole_windows_nothing_is_waited_for() -> None:
    windower = made()
    done = skip(windower, (0, 9), by=route("whole"), epoch="e")
    assert (done.key, done.rows, done.windows, done.entry) == (SeriesKey("s", "d", "x", "e"), 0, [], None)
    assert len(windower) == 0


def test_rows_that_another_route_takes_are_not_given_up() -> None:
    windower = made()
    take(windower, 0, 3)
    with pytest.raises(Refused, match="no_route"):
        skip(windower, (3, 5), by=route(model="other"))


def test_a_wrong_row_number_beyond_a_backlog_is_refused() -> None:
    windower = made()
    take(windower, 8, 12, live_from=8)
    with pytest.raises(Refused, match=r"malformed: row .* far beyond row 12"):
        take(windower, 8 + 2 * MAX_JUMP, 12 + 2 * MAX_JUMP)
    assert told(take(windower, 12, 14)) == [(10, "live")]


def test_a_backlog_of_any_length_is_believed() -> None:
    windower = made()
    take(windower, 0, 4)
    begin = 4 * MAX_JUMP
    assert told(take(windower, begin, begin + 4, live_from=begin)) == [(begin, "live")]


def test_a_hole_is_given_up_when_nobody_speaks_of_it_any_more() -> None:
    windower = made(gap=2.0, gap_receipts=60.0, gap_backlog=500.0)
    other = DataTopic("s", "other", "x")
    for who in (WHO, other):
        take(windower, 0, 3, who=who)
        take(windower, 8, 14, who=who, live_from=8)
    take(windower, 14, 16, who=other, now=60.0)
    assert [(key.device, windows) for key, windows in windower.expire(60.0)] == [("other", [])]
    assert windower.expire(499.0) == []
    assert [(key.device, windows) for key, windows in windower.expire(500.0)] == [("d", [])]
    assert entry(windower).strand is None


def test_holes_are_looked_at_now_and_then_only() -> None:
    windower = made(gap=2.0, gap_backlog=10.0)
    take(windower, 0, 3)
    take(windower, 8, 14, live_from=8)
    assert windower.expire(9.9) == []
    assert windower.expire(10.1) == []
    assert len(windower.expire(10.4)) == 1


def test_what_is_held_in_all_parts_is_bounded() -> None:
    windower = made(all_held_rows=10, gap=1_000.0)
    take(windower, 0, 4, receipt=False)
    take(windower, 20, 24, live_from=20, receipt=False)
    take(windower, 6, 12, lane="backlog", receipt=False)
    take(windower, 26, 32, receipt=False)
    assert [(key, [(window.seq, window.lane) for window in windows]) for key, windows in windower.expire(0.1)] == [
        (KEY, [(6, "backlog"), (8, "backlog"), (26, "live"), (28, "live")])
    ]
    assert windower._held == 0


@pytest.mark.parametrize("bound", ["held_rows", "all_held_rows"])
def test_who_keeps_rows_is_told_to_send_them_again_where_there_is_no_room(bound: str) -> None:
    windower = made(**{bound: 10})
    take(windower, 0, 4)
    take(windower, 20, 24, live_from=20)
    take(windower, 26, 32)
    with pytest.raises(Refused, match="6 rows are held already") as refused:
        take(windower, 34, 40)
    assert (refused.value.reason, refused.value.seq) == ("overload", 34)
    assert windower.expire(59.9) == []
    assert told(take(windower, 24, 26)) == [(22, "live"), (24, "live"), (26, "live"), (28, "live")]
    assert told(take(windower, 32, 40)) == [(30, "live"), (32, "live"), (34, "live"), (36, "live")]


def test_who_keeps_rows_may_send_one_message_above_the_bound() -> None:
    windower = made(held_rows=4)
    take(windower, 0, 2)
    take(windower, 4, 20)
    with pytest.raises(Refused, match="16 rows are held already"):
        take(windower, 20, 22)
    assert told(take(windower, 2, 4))[0] == (0, "live")


def test_a_refused_message_does_not_stop_the_wait_of_its_series() -> None:
    windower = made(gap_receipts=60.0)
    take(windower, 8, 14)
    skip(windower, (0, 1))
    with pytest.raises(Refused, match="stale"):
        take(windower, 0, 2, live_from=12)  # given up; nothing else ever comes of this series
    assert [told(Skipped(key, windows=windows)) for key, windows in windower.expire(60.0)] == [
        [(8, "live"), (10, "live")]
    ]


def test_rows_behind_some_that_were_given_up_give_windows_when_a_gap_before_them_ends_for_want_of_room() -> None:
    windower = made(held_rows=12)
    take(windower, 0, 10, receipt=False)
    skip(windower, (20, 24))
    take(windower, 12, 20, receipt=False)
    done = take(windower, 25, 31, receipt=False)  # rows 10 and 11 are waited for no more
    assert told(done) == [(12, "live"), (14, "live"), (16, "live"), (26, "live")]
    assert entry(windower).series.next_row == 31
    assert told(take(windower, 31, 32, receipt=False)) == [(28, "live")]


def test_nothing_is_waited_for_in_a_series_that_went() -> None:
    windower = made(series=1)
    take(windower, 8, 12, live_from=8)
    take(windower, 0, 1, who=DataTopic("s", "other", "x"))
    assert windower.evicted == [KEY]
    assert windower.expire(1e9) == []
