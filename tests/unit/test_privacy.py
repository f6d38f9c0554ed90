"""Which route what was journalled goes on by, and what never leaves where that is not certain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from bridge.catalog import load_manifest
from bridge.messages import Observation, SeriesKey
from bridge.pipeline import restore
from bridge.pipeline.entries import Patience
from bridge.pipeline.privacy import strictest
from bridge.pipeline.routes import Override, Route, RouteTable
from bridge.pipeline.window import Windower
from bridge.store import records
from bridge.store.records import Changes, Saved, SavedSeries
from bridge.topics import DataTopic
from tests.support.feeds import feed

if TYPE_CHECKING:
    from bridge.pipeline.entries import Taken

SHIPPED = load_manifest(Path(__file__).parents[2] / "models" / "activity")
MANIFEST = msgspec.structs.replace(SHIPPED, input=msgspec.structs.replace(SHIPPED.input, rows=4, hop=2))
KEY = SeriesKey("local", "d", "imu", "e")


def route(stream: str = "imu", model: str = "activity", **fields: Any) -> Route:
    return Route(model=model, manifest=MANIFEST, stream=stream, **fields)


def foreign(text: str = "acme/+/imu", stream: str = "imu", **fields: Any) -> Route:
    return route(stream, filter=text, device="{1}", **fields)


PUBLIC, STAR, HIDDEN = route(), route("*"), foreign(private=(3, 4))
MASKED = foreign("b/+", "{1}", private=(0, 4), private_rule="mask")


# ---- names of routes


@pytest.mark.parametrize(
    ("one", "via"),
    [(PUBLIC, "edge/v1/+/+/data/imu"), (STAR, "edge/v1/+/+/data/+"), (HIDDEN, "acme/+/imu")],
)
def test_a_route_is_named_by_the_topics_it_takes(one: Route, via: str) -> None:
    assert one.via == via
    assert msgspec.structs.replace(one, mixed=True).via == ""


@pytest.mark.parametrize("mine", [PUBLIC, HIDDEN, MASKED, STAR])
@pytest.mark.parametrize("turned", [False, True])
def test_each_goes_on_by_the_route_it_came_by(mine: Route, turned: bool) -> None:
    """Others take the same stream name to the same model."""
    routes = [PUBLIC, HIDDEN, MASKED, STAR]
    table = RouteTable(routes[::-1] if turned else routes)
    assert table.of(KEY, "activity", mine.via) is mine
    assert table.for_window(KEY, "activity", mine.via) is mine


def test_of_two_routes_of_one_filter_the_first_takes_everything() -> None:
    first, second = foreign(deadline=1.0), foreign(deadline=3.0)
    assert RouteTable([first, second]).for_window(KEY, "activity", first.via) is first


def test_the_route_is_as_it_is_for_the_device() -> None:
    table = RouteTable([HIDDEN], [Override("d", "*", {"deadline": 7.0})])
    for found in (table.of(KEY, "activity", HIDDEN.via), table.for_window(KEY, "activity", HIDDEN.via)):
        assert found is table.overridden(HIDDEN, "d")


# ---- not known for certain


@pytest.mark.parametrize("via", ["", "acme/+/gone"], ids=["unknown", "gone"])
@pytest.mark.parametrize("hidden", [HIDDEN, MASKED], ids=["refuse", "mask"])
def test_nothing_leaves_where_the_route_is_not_certain(via: str, hidden: Route) -> None:
    table = RouteTable([PUBLIC, hidden, route("else", "other", private=(1,))])
    for found in (table.of(KEY, "activity", via), table.for_window(KEY, "activity", via)):
        assert found is not None
        assert found.barred
        assert (found.private, found.via) == (hidden.private, "")
        assert found.filter is None
        assert found is table.of(KEY, "activity", via), "made anew each time"


def test_nothing_is_kept_where_the_model_has_nothing_private() -> None:
    found = RouteTable([PUBLIC, foreign(), route("x", "other", private=(1,))]).for_window(KEY, "activity", "")
    assert found is not None
    assert (found.barred, found.private) == ("", ())


def test_a_filter_that_goes_to_another_model_now_is_another_route() -> None:
    table = RouteTable([PUBLIC, foreign(model="other"), MASKED])
    for found in (table.of(KEY, "activity", HIDDEN.via), table.for_window(KEY, "activity", HIDDEN.via)):
        assert found is not None
        assert found.barred


def test_an_uncertain_series_has_a_route_that_may_take_its_stream() -> None:
    def of(stream: str, model: str, *routes: Route) -> str | None:
        found = RouteTable(list(routes)).of(SeriesKey("s", "d", stream, ""), model, "")
        return None if found is None else found.stream

    star, wrist, slot = route("*", "other"), route("wrist"), foreign("x/+", "{1}")
    assert of("wrist", "activity", star, wrist) == "wrist"
    assert of("else", "other", star, wrist) == "*"
    assert of("imu", "activity", star, HIDDEN) == "imu"
    assert of("y", "activity", slot) == "{1}"
    assert of("z", "activity", HIDDEN) is None
    assert of("wrist", "gone", star, wrist) is None
    assert of("imu", "activity", route(windows="whole")) is None


def test_a_route_that_became_whole_takes_no_journalled_rows() -> None:
    whole = route(windows="whole")
    assert RouteTable([whole]).of(KEY, "activity", whole.via) is None
    assert RouteTable([whole]).for_window(KEY, "activity", whole.via) is whole


def test_an_uncertain_window_has_the_route_that_names_its_stream_then_the_star_then_any() -> None:
    def of(*routes: Route, model: str = "activity") -> str | None:
        found = RouteTable(list(routes)).for_window(KEY, model, "")
        return None if found is None else found.stream

    other, star = route("other"), route("*")
    assert of(other, star, PUBLIC) == "imu"
    assert of(other, star) == "*"
    assert of(other) == "other"
    assert of(other, model="speech") is None


# ---- the strictest rule


def test_refuse_beats_mask_and_all_channels_count() -> None:
    assert strictest([PUBLIC, MASKED]) == ((0, 4), "mask")
    assert strictest([MASKED, HIDDEN, PUBLIC]) == ((0, 3, 4), "refuse")
    assert strictest([HIDDEN, MASKED]) == ((0, 3, 4), "refuse")
    assert strictest([MASKED, route(private=(), private_rule="refuse")]) == ((0, 4), "mask")
    assert strictest([PUBLIC]) == strictest([]) == ((), "refuse")


@pytest.mark.parametrize("turned", [False, True])
def test_infer_is_as_private_as_the_strictest_route_of_the_model(turned: bool) -> None:
    routes = [PUBLIC, MASKED, route("x", "other", private=(5,))]
    table = RouteTable(routes[::-1] if turned else routes)
    asked = table.infer("activity", MANIFEST)
    assert (asked.private, asked.private_rule, asked.barred) == ((0, 4), "mask", "")
    table = RouteTable([*routes, HIDDEN])
    asked = table.infer("activity", MANIFEST)
    assert (asked.private, bool(asked.barred)) == ((0, 3, 4), True)


def test_a_journalled_question_of_infer_has_its_own_route() -> None:
    table = RouteTable([route("a", deadline=0.3), MASKED])
    key = SeriesKey("_infer", "_infer", "_infer", "x")
    assert table.for_window(key, "activity", "edge/v1/+/+/data/a") is table.infer("activity", MANIFEST)
    assert table.for_window(key, "other", "") is None


# ---- rows that come by several


class Bridge:
    """Cuts rows of one series, whatever route they come by."""

    def __init__(self, *routes: Route, saved: Saved | None = None) -> None:
        self.table = RouteTable(list(routes))
        self.windower = Windower(Patience(), lambda: "new")
        if saved is not None:
            assert restore.take_up_series(saved, self.table, self.windower, now=0.0) == Changes()

    def rows(self, by: Route, first: int, count: int, **more: Any) -> Taken:
        seen = Observation(np.zeros((count, 6), np.float32), seq=first, epoch="e", **more)
        return self.windower.take(feed(self.windower, by, DataTopic("local", "d", "imu")), seen, 0.0, 0.0)

    def now(self) -> tuple[tuple[int, ...], str]:
        """What is private of the series, and the name of its route in the journal."""
        entry = self.windower.entry(KEY)
        assert entry is not None
        saved = restore.save_series(entry)
        assert records.decode(records.encode(Changes(series=[saved]))).series == [saved]
        return entry.route.private, saved.via


def test_a_window_with_rows_of_two_routes_is_as_private_as_both() -> None:
    bridge = Bridge(PUBLIC, HIDDEN)
    bridge.rows(HIDDEN, 0, 3)
    assert bridge.now() == ((3, 4), "acme/+/imu")
    assert len(bridge.rows(PUBLIC, 3, 1).windows) == 1
    assert bridge.now() == ((3, 4), "")
    bridge.rows(PUBLIC, 4, 2)  # window 2…5 still has row 2
    assert bridge.now() == ((3, 4), "")
    bridge.rows(PUBLIC, 6, 1)
    assert bridge.now() == ((), PUBLIC.via)


def test_rows_beyond_a_gap_count_too_and_a_route_that_comes_back() -> None:
    bridge = Bridge(PUBLIC, HIDDEN)
    bridge.rows(HIDDEN, 8, 2)
    bridge.rows(PUBLIC, 0, 8)  # windows up to 6…9
    assert bridge.now() == ((3, 4), "")
    bridge.rows(HIDDEN, 10, 1)
    bridge.rows(PUBLIC, 11, 2)  # window 8…11
    assert bridge.now() == ((3, 4), "")
    bridge.rows(PUBLIC, 13, 3)
    bridge.rows(PUBLIC, 16, 1)
    assert bridge.now() == ((), PUBLIC.via)


def test_rows_of_a_live_part_beyond_a_backlog_count_too() -> None:
    bridge = Bridge(PUBLIC, HIDDEN)
    bridge.rows(HIDDEN, 100, 3, live_from=100)
    bridge.rows(PUBLIC, 0, 4, lane="backlog")
    assert bridge.now() == ((3, 4), "")
    bridge.rows(PUBLIC, 4, 90, lane="backlog")
    bridge.rows(PUBLIC, 103, 20, live_from=100)
    assert bridge.now() == ((3, 4), "")
    bridge.rows(PUBLIC, 94, 6, lane="backlog")
    bridge.rows(PUBLIC, 123, 1, live_from=100)
    assert bridge.now() == ((), PUBLIC.via)


@pytest.mark.parametrize("via", ["", "acme/+/gone"])
def test_a_series_of_an_earlier_version_is_private_until_its_rows_are_used_up(via: str) -> None:
    row = records.SavedRows(KEY, 0, np.zeros((3, 6), np.float32), 0.0, 1.0, "device", "live")
    saved = Saved([SavedSeries(KEY, "activity", True, 3, 0, via=via)], [row], [], [], [])
    bridge = Bridge(PUBLIC, HIDDEN, saved=saved)
    assert bridge.now() == ((3, 4), "")
    assert [window.seq for window in bridge.rows(PUBLIC, 3, 1).windows] == [0]
    assert bridge.now() == ((3, 4), "")
    bridge.rows(PUBLIC, 4, 3)
    bridge.rows(PUBLIC, 7, 1)
    assert bridge.now() == ((), PUBLIC.via)


def test_a_series_goes_on_by_its_own_route_over_a_restart() -> None:
    before = Bridge(PUBLIC, HIDDEN)
    entry = before.rows(HIDDEN, 0, 3).entry
    assert entry is not None
    saved = Saved([restore.save_series(entry)], [], [], [], [])
    after = Bridge(PUBLIC, HIDDEN, saved=saved)
    taken = after.rows(HIDDEN, 3, 1).entry
    assert taken is not None
    assert taken.route is HIDDEN


def test_an_earlier_version_s_series_is_read_without_its_route() -> None:
    old = msgspec.msgpack.encode({"series": [[["local", "d", "imu", "e"], "activity", True, 3, 0, [], 1, 0, []]]})
    old = old.replace(msgspec.msgpack.encode(["local", "d", "imu", "e"]), msgspec.msgpack.encode(KEY))
    (series,) = records.decode(old).series
    assert (series.key, series.windows, series.via) == (KEY, 1, "")
