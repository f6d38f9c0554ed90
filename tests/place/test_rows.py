"""A row falls short where it should, and what was not measured is noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from bridge.offload.sending import packing_for
from tests.place import contest, measures, picture, real, rows, windows
from tests.place.contest import NAMES, Outcome, Results
from tests.place.made import QUICK, judged, link
from tests.place.replay import Told

if TYPE_CHECKING:
    from tests.place.windows import Judged


@pytest.fixture(scope="module")
def shipped() -> Judged:
    return windows.judge()


def outcome(policy: str, right: int, *, deadline: float = 1.0, latency: float = 0.1, seed: int = 1) -> Outcome:
    told = [Told(n, 0.1 * n, latency, "bridge", right=n < right, asked=False) for n in range(100)]
    return Outcome(trace="made", policy=policy, deadline=deadline, seed=seed, told=told)


def results(**right: int) -> Results:
    """Of 100 windows, at both deadlines."""
    return Results(
        outcome(name.replace("_", " "), count, deadline=deadline)
        for name, count in right.items()
        for deadline in contest.DEADLINES
    )


def test_above_every_rival_and_near_the_oracle_passes() -> None:
    found = contest.changing(results(ours=97, always_bridge=96, always_cloud=50, confidence_only=96, oracle=100))
    assert len(found) == 1 + 3 * len(contest.DEADLINES)
    assert rows.short(found) == []


@pytest.mark.parametrize(("ours", "rival"), [(97, 97), (97, 98)])
def test_as_good_as_a_rival_is_not_above_it(ours: int, rival: int) -> None:
    found = contest.changing(results(ours=ours, always_bridge=rival, always_cloud=50, confidence_only=90, oracle=100))
    assert rows.short(found) == ["changing-always-bridge-0.25s", "changing-always-bridge-1s"]


def test_too_far_from_the_oracle_falls_short() -> None:
    found = contest.changing(results(ours=96, always_bridge=95, always_cloud=50, confidence_only=90, oracle=100))
    assert rows.short(found) == ["changing-oracle"]


def test_latency_counts_only_with_the_clouds_accuracy() -> None:
    of = judged([0.9] * 100, [True] * 100, [n < 80 for n in range(100)])
    quick, slow = outcome("ours", 80, latency=0.1), outcome("always cloud", 80, latency=9.0)
    assert rows.short(contest.latency(Results([quick, slow]), of)) == []
    worse = outcome("ours", 79, latency=0.1)
    assert rows.short(contest.latency(Results([worse, slow]), of)) == ["latency-accuracy"]
    alike = outcome("always cloud", 80, latency=0.16)
    assert rows.short(contest.latency(Results([quick, alike]), of)) == ["latency"]
    assert Results([slow]).latency("always cloud", 1.0) == [1.0]


def test_right_in_time_needs_both() -> None:
    good = Told(0, 0.0, 0.5, "bridge", right=True, asked=False)
    late, wrong = msgspec.structs.replace(good, latency=1.5), msgspec.structs.replace(good, right=False)
    told = [good, late, wrong, good]
    assert Outcome(trace="made", policy="ours", deadline=1.0, seed=1, told=told).right_in_time == 2


def test_what_was_not_measured_is_named() -> None:
    found = [rows.row("cloud-dead-answered", "", [1.0], "at least", 1.0)]
    assert rows.missing(found, ("cloud", "cost")) == ["cost"]
    assert set(real.PARTS) <= set(rows.NAMES)


def test_the_held_out_windows_are_all_there_and_the_models_are_as_told(shipped: Judged) -> None:
    assert len(shipped.held.windows) == 1_145
    assert set(shipped.held.subject.tolist()) == {8, 9, 10}
    of = shipped.manifest
    assert shipped.small.right.mean() == pytest.approx(of.for_tier("bridge").accuracy, abs=1e-4)
    assert shipped.big.right.mean() == pytest.approx(of.for_tier("cloud").accuracy, abs=1e-4)


def test_questions_are_packed_within_the_models_budget(shipped: Judged) -> None:
    assert packing_for(shipped.manifest, "auto") == windows.PACKING


def test_accuracy_goes_by_what_the_decision_sends_up(shipped: Judged) -> None:
    up = measures.chosen(shipped)
    below = shipped.bridge.below
    assert below is not None
    assert up.any()
    assert (shipped.small.certainty[up] < below).all()
    figures = {one.name: one.figure for one in measures.accuracy(shipped)}
    assert figures["accuracy-18-sent"] == pytest.approx(100 * up.mean())


def test_no_threshold_is_better_than_the_best_one(shipped: Judged) -> None:
    found = measures.ceiling(shipped)
    assert 0.9 < found.ours <= found.best < 1.0
    assert 0.0 < found.below < 1.0


def test_the_ceiling_is_reached_where_certainty_tells_all() -> None:
    found = measures.ceiling(judged([0.1, 0.2, 0.98, 0.99], [False, False, True, True], [True, True, False, False]))
    assert (found.ours, found.best) == (1.0, 1.0)


def test_the_picture_shows_every_policy_and_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    of = judged([0.5, 0.99] * 30, [True, False] * 30, [True] * 60)
    links = [link(0.05, 0.3, float("inf"), 0.05)]
    monkeypatch.setattr(contest, "SEEDS", (1, 2))
    found = contest.run(of, links, QUICK, lambda _: None)
    drawn = picture.picture(Results(found), links, {"made": "up & down"}, of)
    assert drawn.startswith("<svg")
    assert all(name in drawn for name in NAMES)
    assert "made: up &amp; down" in drawn
