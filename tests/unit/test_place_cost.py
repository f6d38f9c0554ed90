"""What is learned of one cloud agent's time, case by case: samples, backlog, upload, and their sum."""

from __future__ import annotations

import math
import random

import pytest

from bridge.place.backlog import REMEMBERED, STALE, Backlog
from bridge.place.cost import BridgeCost, Prediction, RemoteCost
from bridge.place.samples import FORGOTTEN, HIT, KEPT, MISS, NEWEST, Samples
from bridge.place.upload import SLOWEST, Upload

FIRST = HIT / (HIT + MISS)


def learn(
    cost: RemoteCost, now: float, took: float = 0.1, *, wait: float = 0.0, run: float = 0.0, queue: int = 0
) -> None:
    cost.answered(now, took=took, wait=wait, run=run, batch=1, queue=queue, size=600)


def test_an_agent_nobody_knows_is_tried() -> None:
    cost = RemoteCost()
    assert cost.in_time(5.0, 0.001, size=600) == pytest.approx(0.9) == FIRST
    assert cost.predict(5.0, size=600) == Prediction(0.0, 0.0, 0)


@pytest.mark.parametrize("left", [0.0, -1.0, math.nan])
def test_nothing_comes_in_no_time(left: float) -> None:
    assert RemoteCost().in_time(5.0, left, size=600) == 0.0


def test_answers_are_counted_and_smoothed_as_rfc_6298_does() -> None:
    cost = RemoteCost()
    for each, took in enumerate((0.1, 0.2, 0.1)):
        cost.asked(float(each))
        learn(cost, each + took, took)
    said = cost.predict(2.2, size=600)
    assert (said.seconds, said.spread) == pytest.approx((0.1 + 7 / 8 * 0.1 / 8, 0.0625 * 3 / 4 + 0.0125 / 4))
    assert said.samples == 3
    assert cost.in_time(2.2, 0.09, size=600) < 0.1
    assert 0.5 < cost.in_time(2.2, 0.15, size=600) < 0.8
    assert cost.in_time(2.2, 0.25, size=600) > 0.98


def test_a_handful_of_silences_is_hopeless_and_one_answer_is_hope() -> None:
    cost, said = RemoteCost(), []
    for each in range(5):
        cost.asked(each * 0.1)
        cost.silent(each * 0.1 + 2.0, 2.0)
        said.append(cost.in_time(each * 0.1 + 2.0, 1.9, size=600))
    assert said[0] < 0.25
    assert said == sorted(said, reverse=True)
    assert said[1] > 0.05 > said[3]
    learn(cost, 2.6, 0.05)
    assert cost.in_time(2.6, 1.9, size=600) > 0.1


def test_a_silence_says_nothing_of_what_comes_later() -> None:
    """Kaplan and Meier: who was waited for 0.5 s in vain may still come as all do that take longer than that."""
    samples = Samples()
    for each in range(8):
        samples.answered(0.0, each, (0.1, 2.0)[each % 2], 0)
    alone = [samples.chance(left) for left in (0.4, 1.5, 3.0)]
    for each in range(3):
        samples.silent(0.0, 10.0 + each, 0.5, 0)
    soon, later, end = (samples.chance(left) for left in (0.4, 1.5, 3.0))
    assert alone[0] == alone[1] > 0.4
    assert soon == later < alone[0] - 0.1
    assert alone[2] > end > 0.97


def test_an_answer_after_its_silence_takes_its_place() -> None:
    cost = RemoteCost()
    for each in (0.0, 0.1, 0.2):
        cost.asked(each)
    for each in (0.0, 0.1, 0.2):
        cost.silent(each + 2.0, 2.0)
    assert cost.in_time(2.2, 4.0, size=600) < 0.1
    for each in (0.0, 0.1, 0.2):
        learn(cost, each + 3.0, 3.0)
    assert cost.predict(3.2, size=600).samples == 3
    assert cost.in_time(3.2, 4.0, size=600) > 0.98
    assert cost.in_time(3.2, 2.0, size=600) < 0.1
    learn(cost, 3.3, 2.7)
    assert cost.predict(3.3, size=600).samples == 4


def test_questions_asked_at_once_are_one_sample() -> None:
    cost = RemoteCost()
    for each in range(20):
        learn(cost, each * 0.1 + 0.05, 0.05)
    before = cost.in_time(2.0, 1.0, size=600)
    cost.asked(2.0, 20)
    for _ in range(20):
        cost.silent(3.0, 1.0)
    after = cost.in_time(3.0, 1.0, size=600)
    assert cost.predict(3.0, size=600).samples == 21
    assert before > 0.98
    assert 0.75 < after < 0.95


def test_samples_asked_at_once_are_averaged() -> None:
    samples = Samples()
    for value in (0.1, 0.2, 0.3):
        samples.answered(1.0, 0.5, value, 300)
    assert len(samples) == 1
    assert samples.chance(0.19) < 0.2 < 0.9 < samples.chance(0.21)


def test_memory_is_bounded_and_old_samples_are_forgotten() -> None:
    cost = RemoteCost()
    for each in range(3 * KEPT):
        cost.asked(each * 0.1)
        cost.silent(each * 0.1 + 1.0, 1.0)
    end = 3 * KEPT * 0.1 + 1.0
    assert cost.predict(end, size=600).samples == KEPT
    assert cost.in_time(end, 0.9, size=600) < 0.05
    end += FORGOTTEN
    assert cost.in_time(end, 0.9, size=600) == FIRST
    assert cost.predict(end, size=600) == Prediction(0.0, 0.0, 0)


@pytest.mark.parametrize(("before", "after"), [(0.05, 0.5), (0.5, 0.05)])
def test_four_answers_in_a_row_refute_all_others(before: float, after: float) -> None:
    samples, now = Samples(), 0.0
    for each in range(KEPT):
        now += 0.01
        samples.answered(now, now, before + 1e-4 * each, 0)
    for each in range(NEWEST):
        now += 0.01
        samples.answered(now, now, after + 1e-4 * each, 0)
        assert len(samples) == (KEPT if each < NEWEST - 1 else NEWEST)
    assert abs(samples.smoothed.srtt - after) < 0.01
    assert (samples.chance(0.3) > 0.95) == (after < 0.3)
    assert (samples.chance(0.3) < 0.05) == (after > 0.3)


def test_small_steps_and_mixed_answers_refute_nothing() -> None:
    dice = random.Random(7)
    small, mixed, silent = Samples(), Samples(), Samples()
    for each in range(200):
        now = each * 0.1
        small.answered(now, now, 0.05 + 0.0002 * each, 0)
        mixed.answered(now, now, dice.choice((0.05, 0.05, 0.05, 0.3)), 0)
        silent.silent(now, now, 1.0, 0)
    assert len(small) == len(mixed) == len(silent) == KEPT


def test_a_queue_told_makes_an_answer_later_and_drains() -> None:
    cost = RemoteCost()
    cost.asked(0.0)
    learn(cost, 0.11, 0.11, run=0.01, queue=0)
    idle = cost.predict(0.2, size=600).seconds
    cost.asked(1.0)
    learn(
        cost, 1.11, 0.11, run=0.01, queue=50
    )  # 0.5 s of work, told 0.05 s ago, until a question gets there 0.05 s more
    busy = cost.predict(1.11, size=600)
    assert busy.seconds == pytest.approx(idle + 0.5 - 0.1)
    assert cost.in_time(1.11, 0.3, size=600) < 0.1 < 0.9 < cost.in_time(1.11, 0.6, size=600)
    assert cost.predict(1.31, size=600).seconds == pytest.approx(idle + 0.2)
    assert cost.predict(9.0, size=600).seconds == pytest.approx(idle)
    cost.asked(9.0, 30)
    assert cost.predict(9.0, size=600).seconds == pytest.approx(idle + 0.3)
    assert cost.predict(9.0, size=600, planned=10).seconds == pytest.approx(idle + 0.4)
    assert cost.in_time(9.0, 0.45, size=600, planned=20) < 0.1 < 0.9 < cost.in_time(9.0, 0.45, size=600)


def test_windows_asked_after_the_reply_left_count_beside_those_it_tells() -> None:
    backlog = Backlog()
    backlog.asked(0.0, 1)
    backlog.asked(0.85, 7)
    backlog.asked(0.95, 3)
    backlog.told(1.0, network=0.1, queue=20, run=0.04, batch=2)
    assert backlog.wait(1.0) == pytest.approx((20 + 3) * 0.02 - 0.1)


def test_a_wait_that_was_predicted_is_not_learned_as_network() -> None:
    cost = RemoteCost()
    cost.asked(0.0)
    learn(cost, 0.11, 0.11, run=0.01)
    cost.asked(1.0, 50)
    cost.asked(1.1)  # behind 0.4 s of work
    learn(cost, 1.61, 0.51, wait=0.4, run=0.01)
    assert cost.predict(5.0, size=600).seconds == pytest.approx(0.11, abs=0.002)
    learn(cost, 6.5, 0.5, wait=0.39, run=0.01)  # asked when nobody remembers: what it waited is told
    assert cost.predict(9.0, size=600).seconds == pytest.approx(0.11, abs=0.002)


def test_what_was_told_long_ago_says_nothing() -> None:
    backlog = Backlog()
    backlog.told(0.0, network=0.0, queue=10**9, run=1.0, batch=1)
    assert backlog.wait(1.0) == 59.0
    assert backlog.wait(STALE + 1) == 0.0


def test_the_backlog_is_bounded_and_events_may_come_out_of_order() -> None:
    backlog = Backlog()
    for each in range(5 * REMEMBERED):
        backlog.asked(each * 1e-3, 2)
    assert len(backlog._times) == len(backlog._waits) == len(backlog._before) < 2 * REMEMBERED
    backlog.asked(0.0, 1)
    assert backlog._times == sorted(backlog._times)
    assert backlog.ended(-5.0) is None


def test_an_answer_overdue_makes_further_ones_doubtful_until_it_comes() -> None:
    cost = RemoteCost()
    for each in range(20):
        cost.asked(each * 0.1)
        learn(cost, each * 0.1 + 0.05, 0.05)
    sure = cost.in_time(2.0, 1.0, size=600)
    for each in range(10):
        cost.asked(2.0 + each * 0.1)
    assert cost.in_time(2.05, 1.0, size=600) == pytest.approx(sure)
    assert cost.in_time(3.075, 1.0, size=600) == pytest.approx(
        sure / 2, rel=0.02
    )  # silent for 1 s: as likely for 1 s more
    learn(cost, 3.1, 0.2)  # asked last: what was asked before was lost, but the way is open
    assert cost.in_time(3.1, 1.0, size=600) == pytest.approx(sure, abs=0.01)


def test_seconds_a_byte_are_learned_from_different_sizes() -> None:
    dice, upload = random.Random(3), Upload()
    for _ in range(40):
        size = dice.choice((600, 6_000, 24_000))
        upload.sample(0.05 + size / 100_000 + dice.uniform(0, 0.01), size)
    assert upload.slope == pytest.approx(1e-5, rel=0.1)


@pytest.mark.parametrize("sizes", [(600, 600), (600, 700)])
def test_sizes_that_explain_nothing_teach_nothing(sizes: tuple[int, int]) -> None:
    dice, upload = random.Random(3), Upload()
    for each in range(200):
        upload.sample(0.05 + dice.uniform(0, 0.1), sizes[each % 2])
        assert upload.slope == 0.0


def test_a_slope_is_bounded_and_needs_several_samples() -> None:
    upload = Upload()
    slopes = []
    for each in range(12):
        upload.sample(float(each % 2) * 50, 100 + each % 2)
        slopes.append(upload.slope)
    assert slopes[:5] == [0.0] * 5
    assert slopes[-1] == SLOWEST


def test_larger_questions_take_longer() -> None:
    cost = RemoteCost()
    for each in range(40):
        size, now = (600, 24_000)[each % 2], float(each)
        took = 0.05 + size / 100_000
        cost.asked(now)
        cost.answered(now + took, took=took, wait=0.0, run=0.0, batch=1, queue=0, size=size)
    small, large = (cost.predict(40.0, size=size).seconds for size in (600, 24_000))
    assert large - small == pytest.approx(0.234)
    assert cost.in_time(40.0, 0.2, size=600) > 0.9 > 0.1 > cost.in_time(40.0, 0.2, size=24_000)


def test_the_bridge_takes_the_runs_before_the_window_and_its_own() -> None:
    cost, times = BridgeCost(), {1: 0.01, 3: 0.02, 8: 0.04}
    assert cost.predict(0, times.__getitem__, 8) == Prediction(0.01, 0.0, 0)
    assert cost.predict(2, times.__getitem__, 8) == Prediction(0.02, 0.0, 0)
    assert cost.predict(18, times.__getitem__, 8).seconds == pytest.approx(2 * 0.04 + 0.02)
    cost.ran(0.0, 1.0)  # nothing was known of it
    cost.ran(0.01, 0.02)
    said = cost.predict(18, times.__getitem__, 8)
    assert (said.seconds, said.spread) == pytest.approx((0.2, 0.1))
    assert said.samples == 1


def test_one_sample_is_forgotten_like_many() -> None:
    cost = RemoteCost()
    learn(cost, 1.0, 0.5)
    assert cost.predict(1.0, size=600).seconds == 0.5
    assert cost.predict(1.0 + FORGOTTEN, size=600).samples == 1
    assert cost.predict(1.1 + FORGOTTEN, size=600) == Prediction(0.0, 0.0, 0)
