"""The tuner: fair timing, the decision, the search. Time is an argument, so none passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.catalog import Catalog
from bridge.errors import ConfigError, ModelError
from bridge.runtime import chart, providers
from bridge.runtime.decide import (
    TIE,
    Point,
    Setup,
    allowed,
    batch_sizes,
    best_batch,
    decide,
    finalists,
    thread_counts,
)
from bridge.runtime.fake import FakeEngine
from bridge.runtime.recordings import Recording
from bridge.runtime.stopwatch import medians
from bridge.runtime.tune import accuracy, tune

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bridge.catalog import Manifest, Variant
    from bridge.runtime.port import Logits, Windows

FP32, INT8 = Setup("m-fp32", "fp32", "cpu"), Setup("m-int8", "int8", "cpu")
BOTH = frozenset({("m-fp32", "cpu"), ("m-int8", "cpu")})


class Clock:
    """Seconds that pass only when work is done."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slow = 1.0  # how much longer everything takes while the machine is busy

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.now += seconds * self.slow

        return run


class TestStopwatch:
    def test_says_what_each_takes(self) -> None:
        clock = Clock()
        wanted = [1e-3, 5e-6, 2e-2]
        assert medians([clock.work(s) for s in wanted], seconds=5.0, clock=clock) == pytest.approx(wanted)

    @pytest.mark.parametrize("seconds", [0.5, 2.0, 20.0])
    def test_keeps_near_the_time_it_was_given(self, seconds: float) -> None:
        clock = Clock()
        medians([clock.work(s) for s in (1e-3, 2e-4)], seconds=seconds, clock=clock)
        assert clock.now <= seconds * 1.1

    def test_with_no_time_it_still_measures_thrice(self) -> None:
        clock = Clock()
        assert medians([clock.work(2.0)], seconds=0.0, clock=clock) == [2.0]
        assert clock.now == 2.0 * (2 + 3 * 2)  # twice to estimate; three rounds of one run to settle and one timed

    def test_a_busy_machine_favours_nobody(self) -> None:
        """It is three times slower for a third of the time: blocks one after the other would blame whoever was on."""
        clock = Clock()

        def busy(work: Callable[[], None]) -> Callable[[], None]:
            def run() -> None:
                clock.slow = 3.0 if 1.0 < clock.now < 2.0 else 1.0
                work()

            return run

        fast, slow = medians([busy(clock.work(1e-3)), busy(clock.work(1.1e-3))], seconds=3.0, clock=clock)
        assert (fast, slow) == pytest.approx((1e-3, 1.1e-3))

    def test_nothing_takes_nothing(self) -> None:
        assert medians([], seconds=1.0, clock=Clock()) == []


class TestDecision:
    def test_the_fastest_of_the_accurate(self) -> None:
        seconds = {Point(FP32, 1): 9.0, Point(FP32, 64): 5.0, Point(INT8, 1): 7.0, Point(INT8, 64): 3.0}
        assert decide(seconds, BOTH) == Point(INT8, 64)
        assert decide(seconds, frozenset({("m-fp32", "cpu")})) == Point(FP32, 64)

    def test_never_int8_where_fp32_is_as_fast(self) -> None:
        assert decide({Point(FP32, 1): 1.0, Point(INT8, 64): 1.0}, BOTH).setup == FP32
        assert decide({Point(FP32, 1): 1.01, Point(INT8, 64): 1.0}, BOTH).setup == FP32
        assert decide({Point(FP32, 1): 1.05, Point(INT8, 64): 1.0}, BOTH).setup == INT8

    def test_more_threads_and_bigger_batches_must_earn_it(self) -> None:
        two = msgspec.structs.replace(FP32, threads=2)
        spinning = msgspec.structs.replace(two, spinning=True)
        other = msgspec.structs.replace(FP32, provider="openvino")
        fit = BOTH | {("m-fp32", "openvino")}
        assert decide({Point(FP32, 4): 1.0, Point(FP32, 16): 0.99, Point(two, 1): 0.99}, fit) == Point(FP32, 4)
        assert decide({Point(spinning, 1): 1.0, Point(two, 1): 1.0}, fit).setup == two
        assert decide({Point(FP32, 1): 1.0, Point(other, 1): 0.99}, fit).setup == FP32
        assert decide({Point(FP32, 1): 1.0, Point(spinning, 1): 0.5}, fit).setup == spinning

    def test_the_budget_is_against_the_best_and_inclusive(self) -> None:
        found = {("a", "cpu"): 0.90, ("b", "cpu"): 0.89, ("c", "cpu"): 0.88, ("a", "openvino"): 0.5}
        assert allowed(found, 0.01) == {("a", "cpu"), ("b", "cpu")}
        assert allowed(found, 0.0) == {("a", "cpu")}
        assert allowed(found, 1.0) == found.keys()

    @given(
        st.dictionaries(
            st.builds(Point, st.sampled_from([FP32, INT8]), st.integers(1, 64)), st.floats(1e-6, 1.0), min_size=1
        ),
        st.sampled_from([BOTH, frozenset({("m-fp32", "cpu")})]),
    )
    def test_within_two_percent_of_exhaustive_search(
        self, seconds: dict[Point, float], fit: frozenset[tuple[str, str]]
    ) -> None:
        good = {p: s for p, s in seconds.items() if (p.setup.variant, p.setup.provider) in fit}
        if not good:
            with pytest.raises(ModelError):
                decide(seconds, fit)
            assert finalists(seconds, fit) == []
            return
        point = decide(seconds, fit)
        assert good[point] <= TIE * min(good.values())
        assert point in finalists(seconds, fit)
        if point.setup.precision == "int8":
            assert all(s > good[point] for p, s in good.items() if p.setup.precision == "fp32")

    @pytest.mark.parametrize(
        ("cores", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8]), (0, [1])]
    )
    def test_threads_to_try(self, cores: int, counts: list[int]) -> None:
        assert thread_counts(cores) == counts

    def test_batches_to_try(self) -> None:
        assert batch_sizes(64) == [1, 4, 16, 64]
        assert batch_sizes(10) == [1, 4, 10]
        assert batch_sizes(1) == [1]


@dataclass
class Speed:
    """How a fake variant behaves.

    Attributes:
        run: seconds of a run.
        window: further seconds a window.
        right: share of windows it gets right, of ten.
    """

    run: float
    window: float
    right: int = 10


class TimedFake(FakeEngine):
    """A `FakeEngine` whose runs move a clock."""

    def __init__(self, clock: Clock, speed: Speed, manifest: Manifest, variant: Variant, max_batch: int) -> None:
        labels = manifest.output.labels
        super().__init__(labels, variant=variant.name, max_batch=max_batch, rule=self._answer)
        self._clock, self._speed = clock, speed

    def run(self, windows: Windows) -> Logits:
        self._clock.now += self._speed.run + self._speed.window * len(windows)
        return super().run(windows)

    def _answer(self, window: np.ndarray[Any, np.dtype[np.float32]]) -> list[float]:
        truth, number = int(window[0, 0]), int(window[0, 1])
        logits = [0.0] * len(self.labels)
        logits[truth if number % 10 < self._speed.right else truth - 1] = 1.0
        return logits


@pytest.fixture
def manifest() -> Manifest:
    return Catalog()["activity"]


@pytest.fixture
def recorded(manifest: Manifest, tmp_path: Path) -> list[Recording]:
    """20 recordings of one window, which hold their label's number and their own."""
    found = []
    for number in range(20):
        values = np.zeros((128, 6), np.float32)
        values[:, 0], values[:, 1] = number % 7, number
        found.append(Recording(tmp_path / str(number), manifest.output.labels[number % 7], values))
    return found


class World:
    """Variants with speeds of their own, by names of variant and provider and number of threads."""

    def __init__(self, speeds: Mapping[tuple[str, str, int], Speed]) -> None:
        self.clock = Clock()
        self.opened: list[tuple[str, str, int, bool]] = []
        self._speeds = speeds

    def open(
        self,
        manifest: Manifest,
        variant: Variant,
        *,
        provider: str,
        options: Mapping[str, str],
        threads: int,
        spinning: bool,
        max_batch: int,
    ) -> FakeEngine:
        self.opened.append((variant.name, provider, threads, spinning))
        speed = self._speeds.get((variant.name, provider, threads))
        if speed is None:
            raise ConfigError(f"provider: {provider} did not load with {dict(options)}")
        return TimedFake(self.clock, speed, manifest, variant, max_batch)


def run_tuner(world: World, manifest: Manifest, recorded: list[Recording], **more: Any) -> Any:
    return tune(manifest, "bridge", recorded, seconds=0.1, cores=2, open_engine=world.open, clock=world.clock, **more)


class TestSearch:
    def test_takes_what_is_fastest_and_accurate(self, manifest: Manifest, recorded: list[Recording]) -> None:
        """Threads gain, batches gain; int8 is the fastest of all, but wrong for every tenth window."""
        world = World(
            {
                ("small-fp32", "cpu", 1): Speed(10e-3, 5e-3),
                ("small-fp32", "cpu", 2): Speed(20e-3, 2e-3),
                ("small-int8", "cpu", 1): Speed(10e-3, 1e-3, right=9),
                ("small-int8", "cpu", 2): Speed(10e-3, 1e-3, right=9),
            }
        )
        found = run_tuner(world, manifest, recorded)
        assert found.chosen == Point(Setup("small-fp32", "fp32", "cpu", threads=2), 64)
        assert found.accuracies == {("small-fp32", "cpu"): 1.0, ("small-int8", "cpu"): 0.9}
        assert found.seconds[found.chosen] == pytest.approx(20e-3 / 64 + 2e-3)
        assert found.windows == 20
        wide = msgspec.structs.replace(manifest, budget=msgspec.structs.replace(manifest.budget, accuracy=0.2))
        assert run_tuner(world, wide, recorded).chosen.setup.variant == "small-int8"
        text = chart.render(found)
        assert "✗  small-int8" in text
        assert "█" in text

    def test_tries_threads_with_and_without_spinning(self, manifest: Manifest, recorded: list[Recording]) -> None:
        same = Speed(10e-3, 1e-3)
        world = World({(name, "cpu", n): same for name in ("small-fp32", "small-int8") for n in (1, 2)})
        found = run_tuner(world, manifest, recorded)
        assert [one[2:] for one in world.opened] == [(1, False), (2, False), (2, True)] * 2
        assert {one[0] for one in world.opened} == {"small-fp32", "small-int8"}, "the tier's, and no other"
        assert found.chosen.setup == Setup("small-fp32", "fp32", "cpu"), "the simplest of equals"

    def test_a_provider_that_does_not_load_is_told(
        self, manifest: Manifest, recorded: list[Recording], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = [providers.BY_NAME[name].ort for name in ("cpu", "openvino", "cuda")]
        monkeypatch.setattr("bridge.runtime.ort.providers", lambda: names)
        slow, fast = Speed(9e-2, 9e-3), Speed(1e-3, 1e-3)
        speeds = {(name, "cpu", n): slow for name in ("small-fp32", "small-int8") for n in (1, 2)}
        speeds[("small-int8", "openvino", 1)] = speeds[("small-int8", "openvino", 2)] = fast
        world = World(speeds)
        found = run_tuner(world, manifest, recorded, options={"cuda": {"device_id": "7"}})
        assert found.chosen.setup == Setup("small-int8", "int8", "openvino")
        assert [why.split(":")[0] for why in found.failures] == ["small-fp32", "small-fp32", "small-int8"]
        assert "left out: small-int8: provider: cuda did not load with {'device_id': '7'}" in chart.render(found)
        assert ("small-int8", "cuda", 2, False) not in world.opened, "a GPU has no threads to try"

    def test_nothing_that_loads_is_an_error(self, manifest: Manifest, recorded: list[Recording]) -> None:
        with pytest.raises(ConfigError, match="activity: no provider loads: small-fp32: provider: cpu did not load"):
            run_tuner(World({}), manifest, recorded)

    def test_a_refused_window_is_a_wrong_one(self) -> None:
        fake = FakeEngine(["a", "b"], rule=lambda window: (float(window[0, 0]), 0.0))
        windows = np.ones((4, 128, 6), np.float32)
        windows[3] = np.inf
        assert accuracy(fake, windows, ["a", "a", "b", "a"]) == 0.5


def test_bars_are_as_long_as_they_say() -> None:
    assert chart.bar(1.0, 8) == "████████"
    assert chart.bar(0.5, 8) == "████"
    assert chart.bar(0.4, 8) == "███▎"
    assert chart.bar(0.0, 8) == ""
    assert chart.bar(7.0, 2) == "██"


def test_the_best_batch_of_a_setup() -> None:
    seconds = {Point(FP32, 1): 3.0, Point(FP32, 4): 2.0, Point(INT8, 1): 1.0}
    assert best_batch(seconds, FP32) == (4, 2.0)
