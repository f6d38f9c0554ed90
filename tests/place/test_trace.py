"""What was recorded is what is replayed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from tests.place import trace
from tests.place.trace import Sample, Trace
from tests.place.weather import SECONDS, WEATHERS, kbit

if TYPE_CHECKING:
    from pathlib import Path

HERE = Sample(t=1.0, kbit=128.0, size=947, took=0.2, wait=0.1, run=0.05, batch=4, queue=2)
THERE = Sample(t=2.0, kbit=64.0, size=947, took=0.4, wait=0.3, run=0.05, batch=1, queue=0)


def test_a_file_holds_what_was_written(tmp_path: Path) -> None:
    gone, off = Sample(t=3.0, size=947), Sample(t=4.0, size=947, up=False)
    trace.write(tmp_path / "a.csv", [HERE, THERE, gone, off])
    found = trace.read(tmp_path / "a.csv")
    assert list(found.samples) == [HERE, THERE, gone, off]
    assert (found.name, found.end) == ("a", 4.0)


def test_between_two_answers_time_goes_straight_and_counts_are_the_nearer_ones() -> None:
    found = Trace("a", [HERE, THERE]).at(1.25)
    assert (found.took, found.wait, found.run) == pytest.approx((0.25, 0.15, 0.05))
    assert (found.t, found.batch, found.queue, found.kbit) == (1.25, 4, 2, 128.0)
    assert found.network == pytest.approx(0.05)


@pytest.mark.parametrize("other", [Sample(t=2.0, size=947), Sample(t=2.0, size=947, up=False)])
def test_beside_a_loss_the_nearer_fate_counts(other: Sample) -> None:
    found = Trace("a", [HERE, other])
    assert found.at(1.49) == HERE
    assert found.at(1.51) == other


def test_before_and_after_it_is_as_at_the_ends() -> None:
    found = Trace("a", [HERE, THERE])
    assert found.at(0.0) == HERE
    assert found.at(9.0) == THERE


@pytest.mark.parametrize("samples", [[HERE], [THERE, HERE], [HERE, HERE]])
def test_samples_are_in_the_order_of_time(samples: list[Sample]) -> None:
    with pytest.raises(ValueError, match="each later"):
        Trace("a", samples)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("t,took\n1,2\n")
    with pytest.raises(ValueError, match=r"a\.csv: columns"):
        trace.read(path)
    trace.write(path, [HERE, THERE])
    path.write_text(path.read_text().replace("947", "many", 1))
    with pytest.raises(ValueError, match=r"a\.csv, line 2"):
        trace.read(path)


@pytest.mark.parametrize("name", WEATHERS)
def test_a_recorded_link_is_whole_small_and_changes(name: str) -> None:
    path = trace.FOLDER / f"{name}.csv"
    assert path.stat().st_size < 100_000
    found = trace.read(path)
    assert found.end > SECONDS - 1.0
    gaps = [b.t - a.t for a, b in zip(found.samples, found.samples[1:], strict=False)]
    assert max(gaps) < 1.0, "the recorder was held up"
    times = sorted(one.took for one in found.samples)
    assert times[-len(times) // 10] > 1.3 * times[len(times) // 10]


def test_every_recording_has_its_weather_and_every_weather_its_recording() -> None:
    assert {one.name for one in trace.links()} == set(WEATHERS)


def test_the_recorded_bridge_answers_everything() -> None:
    found = trace.bridge()
    assert found.end > SECONDS - 1.0
    assert all(math.isfinite(one.took) for one in found.samples)


def test_the_rate_is_that_of_the_schedule() -> None:
    steps = WEATHERS["steps"].scenario
    assert [kbit(steps, t) for t in (-1.0, 0.0, 47.9, 48.0, 71.9, 72.0)] == [1e4, 1e4, 1e4, 128.0, 128.0, 1e4]
