"""Packet pairs on made-up links, and what is believed with them."""

from __future__ import annotations

import itertools
import math

import msgspec
import pytest

from bridge.link import Estimate, Leg
from bridge.offload.belief import LATEST, REFUTED, Belief
from bridge.offload.pairs import AGAIN, BURST, COST, FORGOTTEN, HIGHER, MOST_TRIED, NOISE, PAIRS, QUICK, SHARE, Pairs

SIZE = 1_000
WIDE = Estimate(mqtt=Leg(samples=50, rtt=0.05, min_rtt=0.05, base=0.05, srtt=0.05, size=float(SIZE)))


class Scene:
    """A question a second; those that are due go behind a tiny message."""

    def __init__(self, pairs: Pairs | None = None) -> None:
        self.pairs = Pairs() if pairs is None else pairs
        self.now = 100.0
        self.number = 0
        self.taken = 0

    def ask(self, rate: float, *, way: float = 0.2, queue: float = 0.0, again: int = 0, size: int = SIZE) -> bool:
        """One question over a link of so many bytes a second; what `answered` says."""
        self.now += 1
        self.number += 1
        self.pairs.carried(size)
        if self.pairs.due(self.now):
            self.taken += 1
            self.pairs.began(self.number, self.now, 0)
            self.pairs.tiny(self.number, self.now + way + queue)
        return self.pairs.answered(self.number, size, self.now + way + queue + size / rate, again)

    def asks(self, count: int, rate: float, **options: float) -> list[bool]:
        return [self.ask(rate, **options) for _ in range(count)]  # type: ignore[arg-type] # of the keywords above


def begun() -> Scene:
    scene = Scene()
    scene.pairs.anew()
    return scene


@pytest.mark.parametrize("queue", [0.0, 3.0])
def test_pairs_tell_the_rate_of_a_thin_link_whatever_the_way_and_the_queue(queue: float) -> None:
    scene = begun()
    scene.asks(PAIRS - 1, 8_000, queue=queue)
    assert scene.pairs.rate is None
    scene.ask(8_000, queue=queue)
    assert scene.pairs.rate == pytest.approx(8_000)
    assert scene.pairs.base == pytest.approx(0.2 + queue)


def test_a_wide_link_is_asked_twice_and_no_more() -> None:
    scene = begun()
    assert scene.asks(20, SIZE / NOISE * 10) == [False] * (QUICK - 1) + [True] + [False] * (20 - QUICK)
    assert (scene.taken, scene.pairs.rate) == (QUICK, None)


def test_noise_around_the_pairs_is_no_other_rate() -> None:
    scene = begun()
    for rate in (6_000, 13_000, 8_700):  # replies and acknowledgements come between
        scene.ask(rate)
    assert scene.pairs.rate == pytest.approx(8_700)
    for rate in (9_900, 11_000, 7_000, 10_500) * 3:
        scene.ask(rate)
    assert scene.pairs.rate == pytest.approx(8_700)


def test_a_rate_that_really_changed_is_corrected() -> None:
    scene = begun()
    scene.asks(PAIRS, 8_000)
    scene.asks(200, 2_000)
    assert scene.pairs.rate == pytest.approx(2_000)


def test_a_longer_way_is_corrected_and_noise_in_it_is_not() -> None:
    scene = begun()
    scene.asks(PAIRS, 8_000)
    scene.asks(100, 8_000, way=0.24)
    assert scene.pairs.base == pytest.approx(0.2)
    scene.asks(100, 8_000, way=0.6)
    assert scene.pairs.base == pytest.approx(0.6)


def test_a_rate_that_pairs_read_higher_is_believed_only_where_it_is_twice_as_high() -> None:
    """A reply before the tiny message's answer brings the two together."""
    scene = begun()
    scene.asks(PAIRS, 8_000)
    scene.asks(100, 8_000 * (HIGHER - 0.1))
    assert scene.pairs.rate == pytest.approx(8_000)
    scene.asks(100, 8_000 * (HIGHER + 0.1))
    assert scene.pairs.rate == pytest.approx(8_000 * (HIGHER + 0.1))


def test_pairs_that_were_held_back_are_no_wide_link() -> None:
    scene = begun()
    scene.ask(8_000)
    assert scene.asks(QUICK + 1, 1e6, queue=0.1) == [False] * (QUICK + 1)
    scene.asks(PAIRS - 1, 8_000)
    assert scene.pairs.rate == pytest.approx(8_000)


def test_what_met_a_repetition_tells_nothing_and_is_tried_again_some_times() -> None:
    scene = begun()
    scene.asks(20, 8_000, again=1)
    assert (scene.taken, scene.pairs.rate) == (MOST_TRIED, None)


def test_pairs_that_do_not_agree_tell_nothing() -> None:
    scene = begun()
    for n in range(20):
        scene.ask(2_000 if n % 2 else 40_000)
    assert (scene.taken, scene.pairs.rate) == (MOST_TRIED, None)


def test_pairs_are_a_hundredth_of_what_is_sent() -> None:
    scene = begun()
    for _ in range(1_000):
        scene.pairs.expects(10.0, SIZE, 0.05, None, scene.now)
        scene.ask(1e6)
    assert scene.taken * COST <= SHARE * 1_000 * SIZE + BURST * COST / 2
    scene.pairs.carried(1 << 30)  # but not all at once
    assert scene.pairs._credit == BURST * COST


def test_what_comes_as_expected_is_no_reason() -> None:
    pairs = Pairs()
    pairs.carried(10_000)
    for took in (0.05, 0.02, 0.12):
        pairs.expects(took, SIZE, 0.05, None, 10.0)
        assert not pairs.due(10.0)
    pairs.expects(0.13, SIZE, 0.05, None, 10.0)
    assert pairs.due(10.0)


def test_too_soon_is_a_reason_where_a_rate_is_believed_in() -> None:
    scene = begun()
    scene.asks(PAIRS, 8_000)
    pairs, now = scene.pairs, scene.now
    pairs.expects(0.2, SIZE, pairs.base, pairs.rate, now)
    assert not pairs.due(now)
    pairs.wish("soon", now)
    assert pairs.due(now)
    scene.ask(8_000)  # thin still
    assert not pairs.due(now + 1)
    pairs.wish("soon", now + AGAIN)
    assert scene.asks(QUICK, 1e6)[-1] is True


def test_on_a_thin_link_one_that_is_quicker_than_all_like_it_is_a_reason() -> None:
    belief, scene = believing()
    for n in range(LATEST):
        belief.answered(0.33 + n % 3 / 100, SIZE + n, scene.now)
    assert not belief.pairs.due(scene.now)
    belief.answered(0.25, SIZE // 2, scene.now)  # smaller
    assert not belief.pairs.due(scene.now)
    belief.answered(0.29, SIZE, scene.now)
    assert belief.pairs.due(scene.now)


def test_reasons_that_change_nothing_become_seldom() -> None:
    scene = begun()
    times: list[float] = []
    for _ in range(100):
        scene.pairs.carried(1 << 20)
        reason = scene.pairs._wanted
        scene.pairs.expects(10.0, SIZE, scene.pairs.base, scene.pairs.rate, scene.now)
        if scene.pairs._wanted > reason:
            times.append(scene.now)
        scene.ask(8_000)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert gaps[0] >= AGAIN
    assert gaps[-1] >= 4 * AGAIN


def test_a_pair_without_an_answer_is_forgotten() -> None:
    pairs = Pairs()
    pairs.began(1, 10.0, 0)
    pairs.began(2, 10.1 + FORGOTTEN, 0)
    pairs.tiny(1, 30.0)
    assert not pairs.answered(1, SIZE, 31.0, 0)
    assert list(pairs._under_way) == [2]
    pairs.anew()
    assert not pairs._under_way


def believing() -> tuple[Belief, Scene]:
    """64 kbit/s by pairs, while the estimator knows of no limit."""
    belief = Belief(WIDE)
    belief.pairs.anew()
    scene = Scene(belief.pairs)
    scene.asks(PAIRS, 8_000)
    belief.look(WIDE)
    return belief, scene


def test_what_pairs_tell_is_believed_with_the_way_that_they_saw() -> None:
    belief, _ = believing()
    assert belief.rate == pytest.approx(8_000)
    assert belief.base == pytest.approx(0.2)
    assert belief.estimate.mqtt.base == pytest.approx(0.2 + SIZE / 8_000)
    known = msgspec.structs.replace(WIDE, goodput=7_000.0, goodput_known=True)
    assert belief.look(known).goodput == 7_000


def test_messages_that_come_much_sooner_refute_it() -> None:
    belief, scene = believing()
    belief.answered(0.055, SIZE, scene.now)  # twice as soon, and more
    belief.answered(0.125, SIZE, scene.now)  # as it should be
    for _ in range(REFUTED - 1):
        belief.answered(0.055, SIZE, scene.now)
    assert belief.look(WIDE).goodput_known
    belief.answered(0.055, SIZE, scene.now)
    assert belief.rate is None
    assert not belief.look(WIDE).goodput_known


def test_a_few_that_come_far_sooner_are_enough() -> None:
    belief, scene = believing()
    for _ in range(math.ceil(REFUTED / 2)):
        belief.answered(0.055, 4 * SIZE, scene.now)
    assert belief.rate is None


def test_a_measured_rate_that_was_refuted_stays_so_until_the_link_limits_anew() -> None:
    belief = Belief(WIDE)
    known = msgspec.structs.replace(WIDE, goodput=8_000.0, goodput_known=True)
    assert belief.look(known).goodput_known
    belief.refute()
    assert not belief.look(known).goodput_known
    higher = msgspec.structs.replace(known, goodput=8_400.0)  # what is delivered can only raise it
    assert not belief.look(higher).goodput_known
    lower = msgspec.structs.replace(known, goodput=8_300.0)
    assert belief.look(lower).goodput_known


def test_one_under_way_for_long_is_a_reason_too() -> None:
    belief = Belief(WIDE)
    belief.pairs.carried(10_000)
    belief.waits(0.05, 10.0)
    assert not belief.pairs.due(10.0)
    belief.waits(0.5, 10.0)
    assert belief.pairs.due(10.0)
