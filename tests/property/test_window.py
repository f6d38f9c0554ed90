"""Devices side by side, however they pack: everybody's windows are those of one big message, under the same ids."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from itertools import count
from pathlib import Path

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.catalog import load_manifest
from bridge.errors import Refused
from bridge.messages import Observation, SeriesKey, Window, window_id
from bridge.pipeline.entries import Patience
from bridge.pipeline.routes import Route
from bridge.pipeline.window import Windower
from bridge.topics import DataTopic
from tests.support.feeds import feed

ACTIVITY = load_manifest(Path(__file__).parents[2] / "models" / "activity")
DEVICES = ("a", "b", "c")
Message = tuple[int, str, int, int]


def route(rows: int, hop: int) -> Route:
    shape = msgspec.structs.replace(ACTIVITY.input, rows=rows, hop=hop, channels=("x",))
    return Route(model="m", manifest=msgspec.structs.replace(ACTIVITY, input=shape), stream="x")


def seen(first: int, end: int, *, numbered: bool = True, epoch: str = "") -> Observation:
    values = np.arange(first, end, dtype=np.float32).reshape(-1, 1)
    return Observation(values, seq=first if numbered else None, epoch=epoch, t=100.0 + first, dt=1.0)


def said(window: Window) -> tuple[str, str, int, list[float], float]:
    return window.key.device, window.id, window.seq, window.values[:, 0].tolist(), window.t


@st.composite
def shapes(draw: st.DrawFn) -> Route:
    rows = draw(st.integers(1, 10))
    return route(rows, draw(st.integers(1, rows) | st.just(rows) | st.just(1)))


@st.composite
def traffic(draw: st.DrawFn) -> tuple[int, list[Message]]:
    """Each device sends the rows 0…total its own way, all mixed, some again."""
    total = draw(st.integers(1, 250))
    messages: list[Message] = []
    for device in DEVICES:
        cuts = sorted(draw(st.sets(st.integers(1, total), max_size=20)) | {total})
        messages += [(0, device, first, end) for first, end in zip([0, *cuts], cuts, strict=False) if first < end]
    messages += draw(st.lists(st.sampled_from(messages), max_size=5))
    return total, draw(st.permutations(messages))


@settings(deadline=None, max_examples=150)
@given(traffic(), shapes())
def test_each_device_gets_the_windows_of_one_big_message(sent: tuple[int, list[Message]], by: Route) -> None:
    total, messages = sent
    windower = Windower(Patience(), str)
    got = [
        said(window)
        for _, device, first, end in messages
        for window in windower.take(feed(windower, by, DataTopic("s", device, "x")), seen(first, end), 0.0, 0.0).windows
    ]
    rows, hop = by.manifest.input.rows, by.manifest.input.hop
    for device in DEVICES:
        key = SeriesKey("s", device, "x", "")
        wanted = [
            (device, window_id(key, seq, "m"), seq, [float(row) for row in range(seq, seq + rows)], 100.0 + seq)
            for seq in range(0, total - rows + 1, hop)
        ]
        assert [one for one in got if one[0] == device] == wanted
    assert windower.expire(1e9) == []


@settings(deadline=None)
@given(st.lists(st.integers(1, 200), max_size=15), shapes())
def test_rows_that_the_bridge_numbers_are_cut_alike(sizes: list[int], by: Route) -> None:
    windower = Windower(Patience(), lambda: "ours")
    at, got = 0, []
    for size in sizes:
        taken = windower.take(
            feed(windower, by, DataTopic("s", "d", "x")), seen(at, at + size, numbered=False), 0.0, 0.0
        )
        assert taken.first == at
        got += [(window.seq, window.values[:, 0].tolist()) for window in taken.windows]
        at += size
    rows, hop = by.manifest.input.rows, by.manifest.input.hop
    starts = range(0, at - rows + 1, hop)
    assert got == [(seq, [float(row) for row in range(seq, seq + rows)]) for seq in starts]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xy"), st.booleans()), max_size=60),
    st.integers(1, 5),
)
def test_what_is_remembered_is_bounded(sent: list[tuple[str, str, bool]], most: int) -> None:
    epochs = count()
    windower = Windower(Patience(series=most, seen=most), lambda: str(next(epochs)))
    by = route(4, 2)
    evicted: set[SeriesKey] = set()
    for device, epoch, numbered in sent:
        with suppress(Refused):  # rows that were given up when their series was pushed out
            windower.take(
                feed(windower, by, DataTopic("s", device, "x")), seen(9, 10, numbered=numbered, epoch=epoch), 0.0, 0.0
            )
        evicted.update(windower.evicted)
        assert len(windower) == len(windower._entries) <= most
        assert set(windower._gaps) <= set(windower._entries)
        assert len(windower._numbering) <= most
    assert len(evicted | set(windower._entries)) >= len(
        {(device, epoch) for device, epoch, numbered in sent if numbered}
    )
    windower.expire(1e9)
    assert not windower._gaps


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 10) | st.integers(0, 60), max_size=50), st.integers(1, 50))
def test_the_series_that_goes_is_the_longest_idle_of_all(sent: list[int], most: int) -> None:
    windower, by = Windower(Patience(series=most), str), route(4, 2)
    idle: OrderedDict[str, None] = OrderedDict()
    gone: list[str] = []
    for number in [*range(most + 1), *sent]:
        device = str(number)
        with suppress(Refused):  # rows that were given up when their series was pushed out
            windower.take(feed(windower, by, DataTopic("s", device, "x")), seen(0, 1), 0.0, 0.0)
        idle[device] = None
        idle.move_to_end(device)
        if len(idle) > most:
            gone.append(idle.popitem(last=False)[0])
        assert [key.device for key in windower.evicted] == gone
    assert {key.device for key in windower._entries} == set(idle)
