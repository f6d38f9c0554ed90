"""The arithmetic of `models calibrate`, on windows whose truth is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.runtime.calibration import accuracy, correct, fit_temperature, reliability, softmax, stated_and_true
from bridge.runtime.calibration_cascade import Pair, Target, pair, parse, threshold
from bridge.runtime.calibration_chances import LEAST_WINDOWS, MOST_POINTS, escalation
from bridge.runtime.calibration_measures import MEASURES, Compared, area, best, blocks, certainty, compare, curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bridge.runtime.calibration_measures import Measure


def drawn(count: int, temperature: float, seed: int = 1) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits, and classes that are drawn as softmax(logits / temperature) says."""
    dice = np.random.default_rng(seed)
    logits = (3.0 * dice.normal(size=(count, 4))).astype(np.float32)
    reached = softmax(logits, temperature).cumsum(axis=1) > dice.random((count, 1))
    return logits, reached.argmax(axis=1)


def a_pair(seed: int, count: int) -> Pair:
    dice = np.random.default_rng(seed)
    sure = np.round(dice.beta(4, 1, count), 3)  # with ties
    return Pair(sure, dice.random(count) < sure, dice.random(count) < 0.3 + 0.6 * sure)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_windows_were_drawn_with_is_found(temperature: float) -> None:
    logits, y = drawn(20_000, temperature)
    found = fit_temperature(logits, y)
    assert found == pytest.approx(temperature, rel=0.04)
    assert reliability(logits, y, found).error < 0.02
    if temperature != 1.0:
        assert reliability(logits, y, 1.0).error > 0.03


def test_the_calibration_error_is_the_gap_between_stated_and_true() -> None:
    logits = np.log(np.tile(np.array([[0.9, 0.1]], np.float32), (300, 1)))
    y = np.array([0] * 180 + [1] * 120)  # says 0.9, right for 0.6
    dice = np.random.default_rng(2)
    found = reliability(logits, dice.permutation(y), 1.0)
    assert found.confidence == pytest.approx(np.full(15, 0.9))
    assert found.error == pytest.approx(0.3)
    assert accuracy(logits, y) == pytest.approx(0.6)
    assert len(reliability(logits[:7], y[:7], 1.0).confidence) == 7


@pytest.mark.parametrize(("certain", "right", "error"), [(0.9, 0.9, 0.0), (0.9, 0.5, 0.4), (0.5, 1.0, 0.5)])
def test_the_calibration_error_of_stated_certainties_is_the_gap(certain: float, right: float, error: float) -> None:
    count = 1_500
    hits = np.arange(count) % 10 < 10 * right
    assert stated_and_true(np.full(count, certain), hits).error == pytest.approx(error, abs=1e-9)


def test_the_calibration_error_does_not_cancel_between_bins() -> None:
    right = np.arange(1_500) % 10 < 6
    assert stated_and_true(np.repeat([0.4, 0.8], 750), right, bins=2).error == pytest.approx(0.2)


def test_measures_of_certainty() -> None:
    shares = np.array([[0.7, 0.2, 0.1], [1 / 3, 1 / 3, 1 / 3], [1.0, 0.0, 0.0]])
    with np.errstate(divide="ignore"):
        logits = np.maximum(np.log(shares), -1e5).astype(np.float32)
    surprise = -(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1)) / np.log(3)
    assert certainty(logits, 1.0) == pytest.approx([0.7, 1 / 3, 1.0])
    assert certainty(logits, 1.0, "margin") == pytest.approx([0.5, 0.0, 1.0], abs=1e-7)
    assert certainty(logits, 1.0, "entropy") == pytest.approx([1 - surprise, 0.0, 1.0], abs=1e-7)


@given(st.integers(0, 2**32), st.integers(1, 300))
def test_the_curve_is_what_escalating_the_least_certain_gives(seed: int, count: int) -> None:
    windows = a_pair(seed, count)
    order = np.argsort(windows.sure, kind="stable")
    for share, right in windows.curve():
        cut = round(share * count)
        there = np.concatenate([windows.big[order[:cut]], windows.small[order[cut:]]])
        assert right == pytest.approx(there.mean())


def test_the_area_is_the_mean_accuracy() -> None:
    ends = curve(np.array([0.1, 0.9]), np.array([False, True]), np.array([True, True]))
    assert ends[0, 1] == 0.5
    assert ends[-1, 1] == 1.0
    assert area(np.array([[0.0, 0.5], [0.5, 1.0], [1.0, 1.0]])) == pytest.approx(0.875)


def where_the_margin_is_better(count: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Half waver between two classes and are wrong; half have a lower top share, a clear lead, and are right."""
    wavering, leading = [0.5, 0.48, 0.01, 0.01], [0.45, 0.2, 0.2, 0.15]
    shares = np.array([wavering, leading] * (count // 2))
    y = np.array([1, 0] * (count // 2))
    big = np.where(y[:, None] == np.arange(4), 5.0, 0.0)
    return np.log(shares).astype(np.float32), big.astype(np.float32), y


def test_a_measure_that_is_clearly_better_is_found_and_a_tie_is_not() -> None:
    small, big, y = where_the_margin_is_better(400)
    found = {one.measure: one for one in compare(small, big, y, 1.0, blocks(len(y)))}
    assert list(found) == list(MEASURES)
    assert found["max"].ahead == 0.0
    assert found["margin"].ahead > 0.1
    assert best(list(found.values())) == "margin"
    assert best(compare(big, big, y, 1.0, blocks(len(y)))) == "max"


def test_one_group_alone_proves_nothing() -> None:
    small, big, y = where_the_margin_is_better(400)
    assert best(compare(small, big, y, 1.0, np.zeros(len(y), np.int64))) == "max"


@pytest.mark.parametrize(("ahead", "chosen"), [(0.0021, "entropy"), (0.0019, "max"), (-0.1, "max")])
def test_two_standard_errors_are_clear(ahead: float, chosen: Measure) -> None:
    assert best([Compared("max", 0.9, 0.0, 0.0), Compared("entropy", 0.9 + ahead, ahead, 0.001)]) == chosen


@pytest.mark.parametrize("count", [1, 3, 10, 99])
def test_blocks_are_neighbours(count: int) -> None:
    groups = blocks(count)
    assert len(groups) == count
    assert (np.diff(groups) >= 0).all()
    assert len(np.unique(groups)) == min(10, count)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("up<=0.2", Target("up", 0.2)),
        (" up <= .15 ", Target("up", 0.15)),
        ("cloud>=0.98", Target("cloud", 0.98)),
        ("cloud>=1", Target("cloud", 1.0)),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert parse(text) == target
    assert parse(str(target)) == target


@pytest.mark.parametrize("text", ["", "0.2", "up>=0.2", "cloud<=0.9", "up<=1.01", "up<=-1", "up<=nan"])
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no target; there are up<=0\.2"):
        parse(text)


@given(st.integers(0, 2**32), st.integers(1, 400), st.floats(0, 1), st.floats(0, 1))
def test_a_threshold_keeps_what_was_declared(seed: int, count: int, up: float, cloud: float) -> None:
    windows = a_pair(seed, count)
    thrifty = windows.outcome(threshold(windows, Target("up", up)))
    assert thrifty.share <= up + 1e-9
    assert thrifty.accuracy >= windows.small.mean() - 1e-12  # nothing sent up is always allowed
    good = windows.outcome(threshold(windows, Target("cloud", cloud)))
    every = windows.outcome(2.0)
    if (windows.sure < 1.0).all():
        assert good.accuracy >= cloud * every.accuracy - 1e-12
    if windows.small.mean() >= cloud * every.accuracy:
        assert good.share == 0.0


def test_a_threshold_for_as_good_as_the_cloud_sends_no_more_than_it_must() -> None:
    sure = np.linspace(0, 0.999, 1000)
    windows = Pair(sure, sure >= 0.5, np.ones(1000, np.bool_))
    assert windows.outcome(threshold(windows, Target("cloud", 1.0))).share == pytest.approx(0.5, abs=0.011)
    assert windows.outcome(threshold(windows, Target("cloud", 0.9))).share == pytest.approx(0.4, abs=0.011)
    assert windows.outcome(threshold(windows, Target("up", 0.2))).share == pytest.approx(0.2, abs=0.011)


def test_a_target_out_of_reach_gets_the_best_there_is() -> None:
    certain = Pair(np.ones(100), np.zeros(100, np.bool_), np.ones(100, np.bool_))  # wrong, and no threshold says so
    assert threshold(certain, Target("cloud", 0.9)) == 0.0


@given(st.integers(0, 2**32), st.integers(1, 3_000))
@example(1440, 1715)  # two shares that are alike to four digits
def test_the_chances_ascend_and_hold_all_windows(seed: int, count: int) -> None:
    windows = a_pair(seed, count)
    points = np.array(escalation(windows))
    assert 1 <= len(points) <= MOST_POINTS
    assert len(points) <= max(1, count // LEAST_WINDOWS)
    assert (np.diff(points, axis=0) > 0).all()
    assert ((points >= 0) & (points <= 1)).all()
    if len(points) == 1:
        assert points[0] == pytest.approx([windows.sure.mean(), windows.big.mean()], abs=1e-4)


def test_the_chances_are_those_that_windows_were_drawn_with() -> None:
    windows = a_pair(3, 60_000)
    points = escalation(windows)
    assert len(points) == MOST_POINTS
    for sure, right in points:
        assert right == pytest.approx(0.3 + 0.6 * sure, abs=0.04)


def test_a_pair_of_logits() -> None:
    small, big, y = where_the_margin_is_better(10)
    both = pair(small, big, y, 1.0)
    assert both.sure[:2] == pytest.approx([0.5, 0.45])
    assert (both.small == correct(small, y)).all()
    assert both.big.all()
    assert both.outcome(0.47).share == 0.5
    assert both.part(y == 1).outcome(0.47).share == 0.0
    assert pair(small, big, y, 1.0, "margin").sure[:2] == pytest.approx([0.02, 0.25])
