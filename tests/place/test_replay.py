"""The replay gives nobody what he could not have, and takes nothing away."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.place.decide import margin
from tests.place import replay
from tests.place.contest import fresh
from tests.place.made import QUICK, SECONDS, judged, link, lost
from tests.place.ours import Ours
from tests.place.policies import AlwaysBridge, AlwaysCloud, ConfidenceOnly
from tests.place.replay import Arrival, Cloud
from tests.place.trace import Sample, Trace
from tests.place.windows import manifest

if TYPE_CHECKING:
    from tests.place.replay import Policy

DEADLINE = 1.0
SURE, UNSURE = 0.99, 0.5
MANY = [Arrival(0.5 * n, n) for n in range(8)]


def told(policy: Policy, certainty: float, way: Trace) -> list[replay.Told]:
    """Eight windows; the bridge is wrong, the cloud right."""
    of = judged([certainty] * 8, [False] * 8, [True] * 8)
    return replay.replay(policy, of, way, QUICK, MANY, DEADLINE)[0]


def ours() -> Ours:
    return Ours(manifest())


def test_where_the_link_is_good_all_that_ask_get_the_clouds_answer() -> None:
    for policy in (AlwaysCloud(), ConfidenceOnly(0.7), ours()):
        found = told(policy, UNSURE, link(0.05))
        assert {(one.tier, one.right, one.asked) for one in found} == {("cloud", True, True)}
        bridge = 0.001 if policy.waits_for_bridge else 0.0
        assert [one.latency for one in found] == pytest.approx([0.05 + bridge] * 8)
    assert {one.tier for one in told(AlwaysBridge(), UNSURE, link(0.05))} == {"bridge"}


def test_the_sure_ones_stay_except_where_all_go() -> None:
    for policy, tier in ((ConfidenceOnly(0.7), "bridge"), (ours(), "bridge"), (AlwaysCloud(), "cloud")):
        assert {one.tier for one in told(policy, SURE, link(0.05))} == {tier}


def test_what_is_lost_never_comes_to_who_waits_for_ever() -> None:
    for policy in (AlwaysCloud(), ConfidenceOnly(0.7)):
        assert {(one.latency, one.right) for one in told(policy, UNSURE, lost())} == {(math.inf, False)}


def test_what_is_lost_ours_answers_itself_before_the_deadline() -> None:
    found = told(ours(), UNSURE, lost())
    assert {one.tier for one in found} == {"bridge"}
    assert max(one.latency for one in found) == pytest.approx(DEADLINE - margin(DEADLINE))


def test_who_is_not_connected_asks_nobody() -> None:
    off = link(math.inf, up=False)
    for policy in (ConfidenceOnly(0.7), ours()):
        found = told(policy, UNSURE, off)
        assert {(one.tier, one.asked) for one in found} == {("bridge", False)}
        assert [one.latency for one in found] == pytest.approx([0.001] * 8)


def test_a_late_answer_helps_who_waits_and_nobody_hears_of_it_before() -> None:
    found = told(ConfidenceOnly(0.7), UNSURE, link(1.5))
    assert {(one.tier, one.right) for one in found} == {("cloud", True)}
    assert [one.latency for one in found] == pytest.approx([1.501] * 8)
    ahead = told(ours(), UNSURE, link(1.5))
    assert {one.tier for one in ahead} == {"bridge"}, "it cannot know of answers that come later"


def test_a_cloud_that_never_answers_is_left_alone_and_tried_by_shadows() -> None:
    coming = [Arrival(0.1 * n, n) for n in range(200)]
    of = judged([UNSURE] * 200, [True] * 200, [True] * 200)
    found, questions = replay.replay(ours(), of, lost(), QUICK, coming, DEADLINE)
    waited = [one for one in found if one.asked]
    assert 0 < len(waited) < 20
    assert all(one.at < 2.0 for one in waited), "later ones are answered at once"
    assert len(waited) < questions < 40


def test_a_cloud_that_comes_back_is_asked_again() -> None:
    gone, back = [math.inf] * 60, [0.05]
    coming = [Arrival(0.1 * n, n) for n in range(200)]
    of = judged([UNSURE] * 200, [True] * 200, [True] * 200)
    found, _ = replay.replay(ours(), of, link(*gone, *back), QUICK, coming, DEADLINE)
    assert {one.tier for one in found if 4.0 < one.at < 6.0} == {"bridge"}
    assert {one.tier for one in found if one.at > 15.0} == {"cloud"}


def test_a_client_that_was_cut_off_takes_up_again() -> None:
    off = [Sample(t=0.1 * n, up=n >= 20, took=0.05 if n >= 20 else math.inf, size=800) for n in range(201)]
    found = told(ours(), UNSURE, Trace("made", off))
    assert [one.tier for one in found] == ["bridge"] * 4 + ["cloud"] * 4


def test_questions_asked_at_once_wait_for_each_other_on_a_thin_link() -> None:
    cloud = Cloud(link(0.1, kbit=80.0))
    each = 8 * (800 + replay.OVERHEAD) / 80e3
    assert [cloud.ask(1.0)[0] for _ in range(3)] == pytest.approx([1.1, 1.1 + each, 1.1 + 2 * each])
    assert cloud.ask(5.0)[0] == pytest.approx(5.1)


def test_questions_asked_at_once_wait_for_each_other_at_the_agent_and_it_says_so() -> None:
    cloud = Cloud(link(0.1, run=0.04))
    found = [cloud.ask(1.0) for _ in range(3)]
    assert [at for at, _ in found] == pytest.approx([1.1, 1.14, 1.18])
    assert [one.wait for _, one in found] == pytest.approx([0.0, 0.04, 0.08])


def test_every_window_arrives_once_in_the_order_of_its_recording() -> None:
    recording = [n // 7 for n in range(200)]
    found = replay.arrivals(recording, SECONDS, seed=1)
    assert sorted(one.window for one in found) == list(range(200))
    assert found == sorted(found)
    assert found[0].at >= 0.0
    assert found[-1].at <= SECONDS
    for number in set(recording):
        of = [one.window for one in found if recording[one.window] == number]
        assert of == sorted(of)
    assert found != replay.arrivals(recording, SECONDS, seed=2)
    assert found == replay.arrivals(recording, SECONDS, seed=1)


@given(
    times=st.lists(st.one_of(st.floats(0.001, 3.0), st.just(math.inf)), min_size=2, max_size=40),
    seed=st.integers(0, 1_000),
    kbit=st.sampled_from([0.0, 30.0]),
    deadline=st.sampled_from([0.25, 1.0]),
)
def test_whoever_is_right_in_time_so_is_the_oracle(times: list[float], seed: int, kbit: float, deadline: float) -> None:
    dice = random.Random(seed)
    of = judged(
        [dice.uniform(0.3, 1.0) for _ in range(40)],
        [dice.random() < 0.7 for _ in range(40)],
        [dice.random() < 0.7 for _ in range(40)],
    )
    coming = [Arrival(0.1 * n, n) for n in range(40)]
    way = link(*times, kbit=kbit)
    best = replay.oracle(of, way, QUICK, coming, deadline)
    for policy in fresh(of):
        if policy.waits_for_bridge:
            continue  # it asks a moment later, when the trace may have become better
        found, _ = replay.replay(policy, of, way, QUICK, coming, deadline)
        for mine, theirs in zip(found, best, strict=True):
            if mine.right and mine.latency <= deadline:
                assert theirs.right
                assert theirs.latency <= deadline


@given(times=st.lists(st.one_of(st.floats(0.001, 3.0), st.just(math.inf)), min_size=2, max_size=40))
def test_every_policy_tells_of_every_window_and_ours_in_time(times: list[float]) -> None:
    of = judged([0.2 + 0.02 * n for n in range(40)], [True] * 40, [True] * 40)
    coming = [Arrival(0.1 * n, n) for n in range(40)]
    for policy in fresh(of):
        found, _ = replay.replay(policy, of, link(*times), QUICK, coming, DEADLINE)
        assert [one.window for one in found] == list(range(40))
        if isinstance(policy, Ours):
            assert all(one.right and one.latency <= DEADLINE for one in found)
