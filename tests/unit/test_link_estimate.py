"""Whole stretches of weather in milliseconds: what the estimator makes of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from bridge.link.estimator import Estimator
from bridge.link.events import Acked, Connected, Disconnected, GivenUp, Resent, Sent, TcpInfo
from tests.support.weather import Path, Weather

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.link.estimate import Estimate


def watched(weather: Callable[[float], Weather], until: float, seed: int = 1, size: int = 340) -> Estimate:
    """A stream of 20 messages a second over that weather."""
    path = Path(Estimator(), weather, seed)
    path.stream(0.0, until, size=size)
    path.run(until)
    return path.estimate()


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize(("before", "after"), [(0.05, 0.2), (0.05, 0.6), (0.6, 0.05), (0.3, 0.1), (2.0, 0.05)])
def test_three_seconds_after_a_step_the_round_trip_is_right(
    before: float, after: float, noise: float, seed: int
) -> None:
    seen = watched(lambda t: Weather(before if t < 10 else after, noise=noise), 13.0, seed)
    for found in (seen.coap.rtt, seen.coap.base, seen.mqtt.rtt):
        assert found == pytest.approx(after, rel=0.2)
    assert seen.loss < 0.03  # answers that came late are no losses


@pytest.mark.parametrize("loss", [0.05, 0.1, 0.2])
def test_a_step_under_loss(loss: float) -> None:
    seen = watched(lambda t: Weather(0.05 if t < 10 else 0.4, loss, noise=0.1), 13.0)
    assert seen.coap.rtt == pytest.approx(0.4, rel=0.2)


@pytest.mark.parametrize(("before", "after", "size"), [(1e6, 5000.0, 340), (6000.0, 4000.0, 340), (1e5, 12_000.0, 700)])
def test_three_seconds_after_a_step_down_the_rate_is_right(before: float, after: float, size: int) -> None:
    seen = watched(lambda t: Weather(0.05, rate=before if t < 5 else after), 8.0, size=size)
    assert seen.goodput_known
    assert seen.goodput == pytest.approx(after, rel=0.2)
    assert seen.queueing > 0.05
    assert seen.loss < 0.02


def test_three_seconds_after_a_step_up_the_rate_is_what_is_asked_of_it() -> None:
    seen = watched(lambda t: Weather(0.05, rate=6000.0 if t < 3 else 20_000.0), 6.0)
    assert seen.goodput >= 0.8 * 20 * 340


@pytest.mark.parametrize("loss", [0.01, 0.05, 0.1, 0.2])
def test_loss_each_way_from_answers_and_their_absence(loss: float) -> None:
    found = [watched(lambda t: Weather(0.05, loss, noise=0.1), 60.0, seed) for seed in range(3)]  # noqa: ARG005
    assert sum(each.loss for each in found) / 3 == pytest.approx(loss, rel=0.35)
    assert all(each.coap.rtt == pytest.approx(0.05, rel=0.2) for each in found)


def test_what_is_in_flight_is_not_lost() -> None:
    estimator = Estimator()
    for each in range(500):
        estimator.on(Sent(each, each / 100, "coap", 100))
        estimator.on(Resent(each, each / 100 + 0.5))
    assert estimator.estimate(5.0).loss == Estimator().estimate(0.0).loss


def test_an_outage_is_noticed_and_is_neither_loss_nor_a_round_trip() -> None:
    estimator = Estimator()
    path = Path(estimator, lambda t: Weather(out=10 < t < 40))
    path.stream(0.0, 50.0)
    path.run(10.9)
    assert not path.estimate().outage
    path.run(11.3)
    seen = path.estimate()
    assert (seen.outage, seen.coap.out) == (True, True)
    assert seen.coap.silent == pytest.approx(1.3, abs=0.15)
    assert seen.words().startswith("outage for 1.")
    path.run(40.0)
    assert path.estimate().coap.rto <= 1.0
    path.run(42.0)
    seen = path.estimate()
    assert not seen.outage
    assert seen.coap.rtt == pytest.approx(0.05, rel=0.2)
    assert seen.coap.silent == 0.0
    assert seen.loss < 0.02
    assert "goodput not the limit" in seen.words()


def test_what_is_given_up_one_by_one_adds_up_to_an_outage() -> None:
    estimator = Estimator()
    estimator.on(Sent(0, 0.0, "coap", 100))
    estimator.on(Acked(0, 0.05))
    for each in range(1, 6):
        estimator.on(Sent(each, each * 10.0, "coap", 100))
        estimator.on(GivenUp(each, each * 10.0 + 0.3))
        assert not estimator.estimate(each * 10.0 + 9.0).outage or each > 3
    assert estimator.estimate(60.0).outage


def test_one_protocol_may_be_out_alone() -> None:
    estimator = Estimator()
    estimator.on(Connected("mqtt", 0.0))
    for each in range(60):
        at = each / 20
        estimator.on(Sent(f"c{each}", at, "coap", 100))
        estimator.on(Sent(f"m{each}", at, "mqtt", 100))
        estimator.on(Acked(f"m{each}", at + 0.04))
    seen = estimator.estimate(3.2)
    assert (seen.coap.out, seen.mqtt.out, seen.outage) == (True, False, False)
    assert seen.coap.rtt == pytest.approx(0.04)  # borrowed
    assert (seen.coap.samples, seen.mqtt.samples) == (0, 60)
    estimator.on(Disconnected("mqtt", 3.3))
    assert not estimator.estimate(3.4).mqtt.up
    estimator.on(Connected("mqtt", 4.0))
    assert estimator.estimate(4.0).mqtt.up


def test_datagrams_that_nobody_answers_beside_a_connection_that_is_heard_are_out_within_half_a_second() -> None:
    estimator = Estimator()
    for each in range(20):
        estimator.on(Sent(each, each / 10, "coap", 100))
        estimator.on(Acked(each, each / 10 + 0.05))
    estimator.on(Sent("lost", 2.0, "coap", 100))
    estimator.on(Connected("mqtt", 2.1))
    early = estimator.estimate(2.35)
    assert (early.coap.doubtful, early.coap.out) == (False, False)
    late = estimator.estimate(2.6)
    assert (late.coap.doubtful, late.coap.out) == (True, False), "heard before it was missed"
    estimator.on(Connected("mqtt", 2.62))
    found = estimator.estimate(2.65)
    assert (found.coap.out, found.mqtt.out, found.outage) == (True, False, False)
    assert found.coap.silent == pytest.approx(0.65)
    estimator.on(Acked("lost", 2.7))
    heard = estimator.estimate(2.75)
    assert (heard.coap.doubtful, heard.coap.out) == (False, False)


def test_a_connection_may_be_silent_for_a_second_beside_datagrams_that_are_answered() -> None:
    estimator = Estimator()
    for each in range(30):
        at = each / 20
        estimator.on(Sent(f"c{each}", at, "coap", 100))
        estimator.on(Acked(f"c{each}", at + 0.04))
        if each < 10:
            estimator.on(Sent(f"m{each}", at, "mqtt", 100))
            estimator.on(Acked(f"m{each}", at + 0.04))
    estimator.on(Sent("held", 0.6, "mqtt", 100))
    seen = estimator.estimate(1.5)
    assert (seen.mqtt.out, seen.mqtt.doubtful) == (False, False)
    assert estimator.estimate(1.7).mqtt.out


def test_who_was_never_heard_is_out_soon_after_the_connection_stands() -> None:
    estimator = Estimator()
    estimator.on(Sent("ping", 0.0, "coap", 32, probe=True))
    assert not estimator.estimate(0.9).coap.out, "perhaps it is far"
    estimator.on(Connected("mqtt", 0.9))
    assert estimator.estimate(0.91).coap.out


def test_a_probe_tells_of_the_protocol_not_in_use() -> None:
    estimator = Estimator()
    for each in range(200):
        estimator.on(Sent(each, each / 4, "coap", 300))
        estimator.on(Acked(each, each / 4 + 0.1))
    estimator.on(Sent("ping", 50.0, "mqtt", 60, probe=True))
    estimator.on(Acked("ping", 50.2))
    seen = estimator.estimate(51.0)
    assert (seen.mqtt.rtt, seen.coap.rtt) == pytest.approx((0.2, 0.1))
    assert seen.mqtt.heard == pytest.approx(0.8)


def test_tcp_info_tells_the_losses_that_tcp_hides() -> None:
    estimator = Estimator()
    estimator.on(Connected("mqtt", 0.0))
    for each in range(1, 30):
        estimator.on(TcpInfo(float(each), 0.05, 0.004, each * 40, each * 4))
    assert estimator.estimate(30.0).loss == pytest.approx(0.1, rel=0.1)
    estimator.on(Connected("mqtt", 31.0))  # counts from 0 again
    estimator.on(TcpInfo(31.0, 0.05, 0.004, 10, 0))
    for each in range(1, 10):
        estimator.on(TcpInfo(31.0 + each, 0.05, 0.004, 10 + 100 * each, 0))
    assert estimator.estimate(41.0).loss < 0.01


def test_answers_held_back_by_tcp_do_not_count_as_jitter() -> None:
    def jitter(*, kernel: bool) -> float:
        estimator = Estimator()
        for each in range(200):
            at = each / 20
            estimator.on(Sent(each, at, "mqtt", 400))
            if kernel:
                estimator.on(TcpInfo(at, 0.05, 0.002, each, 0))
            estimator.on(Acked(each, at + (0.05 if each % 3 == 0 else 0.25)))
        return estimator.estimate(10.2).mqtt.jitter

    assert jitter(kernel=True) == pytest.approx(0.002)
    assert jitter(kernel=False) > 0.05


def test_the_protocol_may_tell_which_transmission_was_answered() -> None:
    estimator = Estimator()
    for each in range(100):
        estimator.on(Sent(each, each / 10, "coap", 100))
        estimator.on(Resent(each, each / 10 + 0.3))
        estimator.on(Acked(each, each / 10 + 0.4, transmission=2))
    seen = estimator.estimate(10.0)
    assert seen.coap.rtt == pytest.approx(0.1)
    assert seen.loss == pytest.approx(0.3, rel=0.15)  # half of the round trips fail: 1 − √½ each way


def test_a_suspended_machine_measures_no_round_trips() -> None:
    estimator = Estimator()
    for each in range(40):
        estimator.on(Sent(each, each / 20, "coap", 100))
        estimator.on(Acked(each, each / 20 + 0.05))
    for each, jump in ((100, 86_400.0), (101, -7200.0)):
        estimator.on(Sent(each, 2.0, "coap", 100))
        estimator.on(Acked(each, 2.0 + jump))
        estimator.on(Sent(each + 10, 3.0 + jump, "coap", 100))
        estimator.on(Acked(each + 10, 3.05 + jump))
        seen = estimator.estimate(3.2 + jump)
        assert seen.coap.rtt == pytest.approx(0.05)
        assert not seen.outage


def test_a_message_sent_again_under_its_id_is_a_retransmission_and_strangers_are_ignored() -> None:
    estimator = Estimator()
    estimator.on(Acked("stranger", 0.0))
    estimator.on(GivenUp("stranger", 0.0))
    estimator.on(Resent("stranger", 0.0))
    estimator.on(Sent(1, 0.0, "coap", 100))
    estimator.on(Sent(1, 1.0, "coap", 100))
    estimator.on(Acked(1, 1.1))
    estimator.on(Acked(1, 1.2))
    assert estimator.estimate(2.0).coap.samples == 1


def test_sizes_and_memory_are_bounded() -> None:
    estimator = Estimator()
    for each in range(3000):
        estimator.on(Sent(each, each / 1000, "mqtt" if each % 2 else "coap", -5 if each % 3 else 10**20))
    assert len(estimator._flights) == 1024
    assert math.isfinite(estimator.estimate(3.0).goodput)


def test_the_words_say_what_matters() -> None:
    seen = watched(lambda t: Weather(0.05, 0.05, rate=5000.0, spell=0.3), 20.0, seed=4)  # noqa: ARG005
    assert "round trip" in seen.words()
    assert "kB/s" in seen.words()


def test_what_tcp_repeats_in_an_outage_is_no_loss_rate() -> None:
    estimator = Estimator()
    estimator.on(Connected("mqtt", 0.0))
    for each in range(1, 20):
        estimator.on(Sent(each, float(each), "mqtt", 300))
        estimator.on(Acked(each, each + 0.05))
        estimator.on(TcpInfo(each + 0.05, 0.05, 0.004, each * 40, 0))
    estimator.on(Sent("lost", 20.0, "mqtt", 300))
    for each in range(1, 9):
        estimator.on(TcpInfo(20.0 + each / 2, 0.05, 0.004, 760 + each, each))
    assert estimator.estimate(24.0).mqtt.out
    estimator.on(Acked("lost", 24.2))
    estimator.on(TcpInfo(24.5, 0.05, 0.004, 780, 10))  # partly of the outage
    assert estimator.estimate(24.6).loss < 0.005
    estimator.on(TcpInfo(25.0, 0.05, 0.004, 820, 30))
    assert estimator.estimate(25.0).loss > 0.01


def test_a_queue_that_stands_full_does_not_refute_the_limit() -> None:
    """A drop-tail queue of 3 s: round trips are as even as with an empty one, but not as short."""
    estimator = Estimator()
    for each in range(40):
        estimator.on(Sent(each, each / 20, "coap", 150))
        estimator.on(Acked(each, each / 20 + 0.05))
    queue, free, answers = 3.0, 2.0, []
    for each in range(40, 640):
        sent = each / 20
        if free - sent < queue:
            free = max(free, sent) + 150 / 1500
            estimator.on(Sent(each, sent, "coap", 150))
            answers.append((each, free + 0.05))
        while answers and answers[0][1] <= sent:
            estimator.on(Acked(*answers.pop(0)))
    seen = estimator.estimate(32.0)
    assert seen.coap.rtt > 2.5
    assert seen.goodput_known
    assert seen.goodput == pytest.approx(1500, rel=0.1)


def test_a_link_that_lacks_a_twentieth_is_told_once_its_slow_queue_is_deep() -> None:
    """MQTT, 6,800 bytes a second on 6,460: the round trip grows by 0.05 s a second."""
    estimator = Estimator()
    free = 0.0
    answers: list[tuple[int, float]] = []
    for each in range(200):
        sent = each / 20
        while answers and answers[0][1] <= sent:
            estimator.on(Acked(*answers.pop(0)))
        if each == 60:
            assert not estimator.estimate(sent).goodput_known  # a path may wander as far
        free = max(free, sent) + 340 / 6460
        estimator.on(Sent(each, sent, "mqtt", 340))
        answers.append((each, free + 0.05))
    seen = estimator.estimate(10.0)
    assert seen.goodput_known
    assert seen.goodput == pytest.approx(6460, rel=0.02)


def test_what_is_given_up_where_nobody_answers_is_no_loss() -> None:
    estimator = Estimator()
    for each in range(100):  # a closed port: refused at once
        estimator.on(Sent(each, each * 0.05, "coap", 200))
        estimator.on(GivenUp(each, each * 0.05 + 0.001))
    before = estimator.estimate(5.0)
    assert before.loss == pytest.approx(0.01)
    assert before.loss_trials == 0
    estimator.on(Sent("heard", 5.0, "coap", 200))
    estimator.on(Acked("heard", 5.05))
    assert estimator.estimate(5.1).loss < 0.02, "after an outage it tells nothing either"
    for each in range(20):
        estimator.on(Sent(f"lost-{each}", 6.0 + each, "coap", 200))
        estimator.on(GivenUp(f"lost-{each}", 6.1 + each))
        estimator.on(Sent(f"there-{each}", 6.2 + each, "coap", 200))
        estimator.on(Acked(f"there-{each}", 6.25 + each))
    assert estimator.estimate(26.5).loss > 0.2, "the path carries, so these were lost"


def test_what_is_given_up_just_before_an_outage_is_no_loss_rate() -> None:
    estimator = Estimator()
    for each in range(20):
        estimator.on(Sent(each, each * 0.1, "coap", 200))
        estimator.on(Acked(each, each * 0.1 + 0.05))
    before = estimator.estimate(2.0).loss_trials
    estimator.on(Sent("last", 2.0, "coap", 200))
    estimator.on(Sent("waits", 2.1, "coap", 200))
    estimator.on(GivenUp("last", 2.6))
    estimator.on(Acked("waits", 9.0))
    assert estimator.estimate(9.1).loss_trials <= before
