"""All series of a bridge: numbering, epochs, bounds, whole windows, gaps."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import pytest

from bridge.catalog import load_manifest
from bridge.errors import Refused
from bridge.messages import Observation, SeriesKey, window_id
from bridge.pipeline.entries import Entry, Patience, Taken
from bridge.pipeline.routes import Feed, Route
from bridge.pipeline.series import Chunk, Series
from bridge.pipeline.window import Windower
from bridge.topics import DataTopic
from tests.support.feeds import feed

if TYPE_CHECKING:
    from bridge.catalog import Manifest

ACTIVITY = load_manifest(Path(__file__).parents[2] / "models" / "activity")
WALL = 1_000_000.0


def manifest(rows: int = 4, hop: int = 2, channels: int = 1) -> Manifest:
    shape = msgspec.structs.replace(
        ACTIVITY.input, rows=rows, hop=hop, channels=tuple(f"c{i}" for i in range(channels)), rate_hz=10.0
    )
    return msgspec.structs.replace(ACTIVITY, input=shape)


def route(windows: Literal["rows", "whole"] = "rows", model: str = "m", **shape: int) -> Route:
    return Route(model=model, manifest=manifest(**shape), stream="x", windows=windows, deadline=0.5)


ROWS, WHOLE = route(), route("whole")
WHO = DataTopic("s", "d", "x")


def rows(first: int | None, many: int, **fields: Any) -> Observation:
    start = 0 if first is None else first
    return Observation(np.arange(start, start + many, dtype=np.float32).reshape(-1, 1), seq=first, **fields)


@pytest.fixture
def windower() -> Windower:
    return made()


def made(**patience: Any) -> Windower:
    numbers = count(1)
    return Windower(Patience(**patience), lambda: f"ours-{next(numbers)}")


def take(windower: Windower, seen: Observation, *, by: Route = ROWS, who: DataTopic = WHO, now: float = 1.0) -> Taken:
    return windower.take(feed(windower, by, who), seen, now, WALL)


def seqs(taken: Taken) -> list[int]:
    return [window.seq for window in taken.windows]


def test_a_window_knows_whose_it_is_and_until_when_it_helps(windower: Windower) -> None:
    (window,) = take(windower, rows(0, 4, epoch="e", t=50.0, dt=0.25, lane="backlog"), now=3.0).windows
    key = SeriesKey("s", "d", "x", "e")
    assert (window.key, window.id, window.model) == (key, window_id(key, 0, "m"), "m")
    assert (window.t, window.t_source, window.lane) == (50.0, "device", "backlog")
    assert (window.arrived, window.deadline) == (3.0, 3.5)


def test_whole_windows_of_a_numbering_share_their_key(windower: Windower) -> None:
    one, other = (take(windower, rows(4 * n, 4, epoch="e"), by=WHOLE) for n in range(2))
    assert one.key is other.key
    assert one.key == SeriesKey("s", "d", "x", "e")
    assert take(windower, rows(0, 4, epoch="f"), by=WHOLE).key == SeriesKey("s", "d", "x", "f")


def test_rows_without_a_time_are_stamped_so_that_the_last_one_is_now(windower: Windower) -> None:
    (window,) = take(windower, rows(0, 4)).windows
    assert window.t == pytest.approx(WALL - 0.3)
    assert window.t_source == "bridge"


def test_known_rows_are_known_and_give_no_window(windower: Windower) -> None:
    assert take(windower, rows(0, 5)).known is None
    again = take(windower, rows(1, 3))
    assert (again.known, again.windows, again.chunk, again.first) == ("", [], None, 1)


def test_epochs_are_series_of_their_own(windower: Windower) -> None:
    for epoch in ("", "a", "b"):
        assert seqs(take(windower, rows(0, 4, epoch=epoch))) == [0]
    assert len(windower) == 3


def test_rows_without_numbers_are_numbered_on_and_on(windower: Windower) -> None:
    first, second = take(windower, rows(None, 3)), take(windower, rows(None, 3))
    assert (first.first, second.first, second.key) == (0, 3, first.key)
    assert seqs(second) == [0, 2]
    assert first.key.epoch == "ours-1"
    other = take(windower, rows(None, 4), who=DataTopic("s", "other", "x"))
    assert (other.first, other.key.epoch) == (0, "ours-2")


def test_the_bridge_s_numbering_goes_on_after_a_restart(windower: Windower) -> None:
    key = SeriesKey("s", "d", "x", "kept")
    windower.restore(Entry(key, Series(4, 2, next_row=6, next_window=6), ROWS, numbered=False))
    taken = take(windower, rows(None, 4))
    assert (taken.key, taken.first, seqs(taken)) == (key, 6, [6])


def test_late_rows_are_refused_with_their_numbers(windower: Windower) -> None:
    take(windower, rows(6, 4), now=0.0)
    assert [[window.seq for window in windows] for _, windows in windower.expire(2.0)] == [[6]]
    with pytest.raises(Refused) as caught:
        take(windower, rows(2, 3))
    assert (caught.value.reason, caught.value.seq) == ("stale", 2)
    assert "2–4" in caught.value.detail


def test_a_message_that_is_late_only_in_part_is_taken_and_told() -> None:
    windower = made(gap=2.0)
    take(windower, rows(4, 1), now=0.0)
    windower.expire(2.0)
    taken = take(windower, rows(2, 6))
    assert (taken.late, seqs(taken)) == ((2, 3), [4])
    assert take(windower, rows(8, 2)).late is None


def test_gaps_of_plain_devices_are_given_up_sooner_than_those_of_agents() -> None:
    windower = made(gap=2.0, gap_receipts=60.0)
    plain, agent = DataTopic("s", "plain", "x"), DataTopic("s", "agent", "x")
    for who, receipt in ((plain, False), (agent, True)):
        take(windower, rows(0, 2, receipt=receipt), who=who, now=0.0)
        take(windower, rows(6, 4, receipt=receipt), who=who, now=0.0)
    assert windower.expire(1.9) == []
    assert [key.device for key, _ in windower.expire(2.0)] == ["plain"]
    assert windower.expire(59.9) == []
    assert [key.device for key, _ in windower.expire(60.0)] == ["agent"]
    assert windower.expire(1e9) == []


def test_the_first_rows_of_a_series_may_come_after_later_ones() -> None:
    windower = made(gap=2.0, gap_receipts=60.0)
    take(windower, rows(6, 4, receipt=True), now=0.0)
    assert windower.expire(59.9) == []  # sent before the bridge was there, and sent again until receipted
    taken = take(windower, rows(0, 6, receipt=True), now=59.9)
    assert (taken.late, seqs(taken)) == (None, [0, 2, 4, 6])


def test_what_a_lost_series_begins_with_is_waited_for_but_shortly() -> None:
    windower = made(gap=2.0, gap_receipts=60.0)
    windower.lost.add(SeriesKey(*WHO, ""))  # its earlier rows were receipted, most likely
    take(windower, rows(6, 4, receipt=True), now=0.0)
    assert windower.expire(1.9) == []
    assert [[window.seq for window in windows] for _, windows in windower.expire(2.0)] == [[6]]


def test_a_gap_that_closes_is_forgotten(windower: Windower) -> None:
    take(windower, rows(2, 2), now=0.0)
    take(windower, rows(0, 2), now=1.0)
    assert windower.expire(1e9) == []


def test_each_of_many_gaps_is_waited_for_from_its_own_beginning() -> None:
    windower = made(gap=2.0)
    for second in range(5):  # every other pair of rows is lost
        take(windower, rows(4 * second + 2, 2), now=float(second))
    ((_, windows),) = windower.expire(6.0)
    series = windower.entry(SeriesKey("s", "d", "x", ""))
    assert series is not None
    assert (windows, series.series.next_row, series.series.gap_since) == ([], 20, None)


def test_a_restored_gap_expires_too(windower: Windower) -> None:
    series = Series(4, 2, next_row=2)
    series.restore(Chunk(4, np.zeros((4, 1), np.float32), 0.0, 0.1, "device", 10.0, "live"), 10.0)
    windower.restore(Entry(SeriesKey("s", "d", "x", ""), series, ROWS, numbered=True))
    assert windower.expire(69.0) == []
    assert [[window.seq for window in windows] for _, windows in windower.expire(70.0)] == [[4]]


def test_series_are_bounded_and_the_longest_idle_goes() -> None:
    windower = made(series=3)
    for device in ("a", "b", "c"):
        take(windower, rows(0, 1), who=DataTopic("s", device, "x"))
    take(windower, rows(1, 1), who=DataTopic("s", "a", "x"))
    take(windower, rows(9, 1), who=DataTopic("s", "d", "x"))
    assert len(windower) == 3
    assert [key.device for key in windower.evicted] == ["b"]
    assert windower.entry(SeriesKey("s", "a", "x", "")) is not None


def test_what_was_idle_for_long_and_is_used_again_stays() -> None:
    windower = made(series=32)
    for n in [*range(33), 1, 33, 34]:  # at the first that goes, the next to go are noted too: 1 is among them
        take(windower, rows(0, 1), who=DataTopic("s", str(n), "x"))
    assert [key.device for key in windower.evicted] == ["0", "2", "3"]


def test_nothing_remains_of_a_series_that_went() -> None:
    windower = made(series=1)
    take(windower, rows(5, 1), who=DataTopic("s", "gap", "x"), now=0.0)
    first = take(windower, rows(None, 3))
    assert windower.expire(1e9) == []
    take(windower, rows(0, 1), who=DataTopic("s", "other", "x"))
    again = take(windower, rows(None, 3))
    assert again.key.epoch != first.key.epoch
    assert again.first == 0
    assert len(windower._numbering) == 1


def test_rows_of_one_series_go_to_one_model_only(windower: Windower) -> None:
    take(windower, rows(0, 2))
    wide = Observation(np.zeros((2, 3), np.float32), seq=2)
    with pytest.raises(Refused) as caught:
        take(windower, wide, by=route(model="other", channels=3))
    assert (caught.value.reason, caught.value.seq) == ("no_route", 2)
    assert seqs(take(windower, rows(2, 2))) == [0]


def test_a_whole_message_is_one_window(windower: Windower) -> None:
    taken = take(windower, rows(77, 4), by=WHOLE)
    assert (seqs(taken), taken.chunk, taken.known, len(windower)) == ([77], None, None, 0)


def test_a_whole_window_seen_before_is_known_by_its_id(windower: Windower) -> None:
    (window,) = take(windower, rows(7, 4), by=WHOLE).windows
    again = take(windower, rows(7, 4), by=WHOLE)
    assert (again.windows, again.known) == ([], window.id)
    windower.forget(window.id)
    assert seqs(take(windower, rows(7, 4), by=WHOLE)) == [7]


def test_whole_windows_without_numbers_are_all_new(windower: Windower) -> None:
    ids = {take(windower, rows(None, 4), by=WHOLE).windows[0].id for _ in range(3)}
    assert len(ids) == 3


def test_two_who_ask_infer_with_the_same_row_number_are_both_answered(windower: Windower) -> None:
    infer = DataTopic("_infer", "_infer", "_infer")
    windows = [take(windower, rows(0, 4), by=WHOLE, who=infer).windows for _ in range(2)]
    assert [len(found) for found in windows] == [1, 1]
    assert windows[0][0].id != windows[1][0].id


def test_a_whole_window_of_another_length_is_refused(windower: Windower) -> None:
    with pytest.raises(Refused, match="shape: 5 rows; a whole window of m has 4") as caught:
        take(windower, rows(3, 5), by=WHOLE)
    assert caught.value.seq == 3


def test_ids_of_whole_windows_are_remembered_up_to_a_bound() -> None:
    windower = made(seen=2)
    take(windower, rows(1, 4), by=WHOLE)
    take(windower, rows(2, 4), by=WHOLE)
    assert take(windower, rows(1, 4), by=WHOLE).known is not None
    take(windower, rows(3, 4), by=WHOLE)
    assert take(windower, rows(1, 4), by=WHOLE).known is not None
    assert take(windower, rows(2, 4), by=WHOLE).known is None


def test_a_whole_window_from_before_a_restart_is_known(windower: Windower) -> None:
    windower.remember(window_id(SeriesKey("s", "d", "x", ""), 7, "m"))
    assert take(windower, rows(7, 4), by=WHOLE).known is not None


def test_a_live_lane_that_begins_absurdly_far_is_refused(windower: Windower) -> None:
    take(windower, rows(0, 4, receipt=True))
    far = 1 << 50
    with pytest.raises(Refused, match="far beyond row 4"):
        take(windower, rows(far, 4, receipt=True, live_from=far))
    assert seqs(take(windower, rows(4, 4, receipt=True))) == [2, 4]


class Topic:
    """Rows that come by one topic, as one feed."""

    def __init__(self, **patience: Any) -> None:
        self.windower = made(**patience)
        self.feed = Feed(ROWS, WHO)

    def take(self, first: int | None, many: int, epoch: str = "e") -> Taken:
        return self.windower.take(self.feed, rows(first, many, epoch=epoch), 1.0, WALL)


def test_rows_of_a_topic_go_on_where_its_last_ones_ended() -> None:
    topic = Topic()
    entry = topic.take(0, 3).entry
    assert topic.feed.entry is entry is topic.windower.entry(SeriesKey("s", "d", "x", "e"))
    used = entry.used if entry is not None else 0
    taken = topic.take(3, 3)
    assert taken.entry is entry
    assert seqs(taken) == [0, 2]
    assert entry is not None
    assert entry.used > used


def test_another_numbering_of_a_topic_is_another_series() -> None:
    topic = Topic()
    old = topic.take(0, 3).entry
    new = topic.take(3, 4, epoch="f").entry
    assert new is not old
    assert new is topic.windower.entry(SeriesKey("s", "d", "x", "f"))
    assert topic.take(3, 1).entry is old


def test_rows_that_nobody_numbers_are_not_those_of_a_numbering() -> None:
    topic = Topic()
    numbered = topic.take(0, 3, epoch="").entry
    ours = topic.take(None, 3, epoch="").entry
    assert numbered is not None
    assert ours is not None
    assert (numbered.key.epoch, ours.key.epoch) == ("", "ours-1")
    assert topic.take(None, 1, epoch="").entry is ours
    assert topic.take(3, 1, epoch="").entry is numbered


def test_a_topic_does_not_keep_a_series_that_was_pushed_out() -> None:
    topic = Topic(series=1)
    old = topic.take(0, 3).entry
    other = take(topic.windower, rows(0, 1), who=DataTopic("s", "d2", "x"))
    assert topic.windower.evicted == [SeriesKey("s", "d", "x", "e")]
    assert old is not None
    assert old.used == 0
    with pytest.raises(Refused, match="stale"):  # given up with the series
        topic.take(2, 1)
    back = topic.take(3, 5)
    assert back.entry is old
    assert old.used
    assert topic.windower.evicted[1:] == [other.key]
    assert len(topic.windower) == 1
    assert seqs(back) == [4]


def test_a_topic_by_another_route_does_not_go_on_in_silence() -> None:
    topic = Topic()
    topic.take(0, 3)
    topic.feed.route = route(model="other")
    with pytest.raises(Refused, match="no_route"):
        topic.take(3, 1)
