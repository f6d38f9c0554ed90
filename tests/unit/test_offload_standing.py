"""A made-up link with a queue: what a row of answers tells of it, alone and beside pairs."""

from __future__ import annotations

import random

import pytest

from bridge.offload.pairs import FINE, PAIRS, REFINED, WITH_ROW, Pairs
from bridge.offload.standing import KEPT, LEAST, SPAN, Standing

SIZE, WAY = 800, 0.2


class Thin:
    """First in, first out, so many bytes a second each way; the answer to every message is followed by a reply."""

    def __init__(self, rate: float, *, way: float = WAY, reply: int = 300) -> None:
        self.rate, self.way, self.reply = rate, way, reply
        self.carried = 0
        self._up = self._down = 0.0

    def send(self, sent: float, size: int = SIZE, *, replied: bool = True) -> tuple[float, int]:
        """When it is answered, and the bytes on the wire once it left."""
        self.carried += size
        self._up = max(self._up, sent) + size / self.rate
        there = self._up + self.way / 2
        self._down = max(self._down, there) + 56 / self.rate
        at = self._down + self.way / 2
        if replied:
            self._down += self.reply / self.rate
        return at, self.carried


@pytest.mark.parametrize("hz", [9.9, 12.0, 30.0])
def test_a_queue_that_stands_tells_the_rate_whether_it_grows_or_not(hz: float) -> None:
    standing, thin, told = Standing(), Thin(8_000), []
    for _ in range(4):
        thin.send(0.0, replied=False)  # what stood there before
    for n in range(40):
        sent = n / hz
        at, carried = thin.send(sent)
        standing.answered(at, sent, carried)
        told.append(standing.rate(WAY))
    assert told[LEAST:] == [pytest.approx(8_000, rel=0.1) if one else None for one in told[LEAST:]]
    assert sum(one is not None for one in told) > 20


@pytest.mark.parametrize("rate", [8_000.0, 1e6])
def test_where_no_queue_stands_nothing_is_told(rate: float) -> None:
    standing, thin = Standing(), Thin(rate)
    for n in range(40):
        at, carried = thin.send(n / 5)
        standing.answered(at, n / 5, carried)
        assert standing.rate(WAY) is None


def test_a_row_is_of_four_answers_and_half_a_second_and_of_one_order() -> None:
    standing = Standing()
    assert standing.rate(WAY) is None
    for n in range(LEAST):
        assert standing.rate(WAY) is None
        standing.answered(1.0 + n * SPAN / (LEAST - 1), 0.0, SIZE * n)
    assert standing.rate(WAY) == pytest.approx(SIZE * (LEAST - 1) / SPAN)
    standing.answered(1.0, 0.0, SIZE * LEAST)  # told out of order
    assert standing.rate(WAY) is None
    standing.clear()
    for n in range(3 * KEPT):
        standing.answered(1.0 + n * 0.02, 0.0, SIZE * n)
    assert standing.rate(WAY) is None  # of the latest only, which came within less


def test_a_row_of_which_nothing_reached_the_wire_yet_tells_nothing() -> None:
    standing = Standing()
    for n in range(20):
        standing.answered(1.0 + n / 10, 0.5, SIZE)
    assert standing.rate(WAY) is None


class Asked:
    """Questions over a thin link, from the moment at which there was a reason to look; `Thin` answers in order."""

    def __init__(self, hz: float, *, rate: float = 8_000.0, seed: int = 1) -> None:
        self.pairs = Pairs()
        self.pairs.anew()
        self.thin = Thin(rate)
        self.hz = hz
        self.now = 0.0
        self._dice = random.Random(seed)

    def run(self, seconds: float) -> list[float | None]:
        """What pairs believe after each answer."""
        events: list[tuple[float, int, str, tuple[float, int]]] = []
        told: list[float | None] = []
        number, end = 0, self.now + seconds
        while self.now < end:
            self.now += 1 / self.hz
            number += 1
            while events and events[0][0] <= self.now:
                told += self._answer(*events.pop(0))
            self.pairs.carried(SIZE)
            if self.pairs.due(self.now):
                self.pairs.began(number, self.now, 0)
                events.append((self.thin.send(self.now, 88, replied=False)[0], number, "tiny", (0.0, 0)))
            at, carried = self.thin.send(self.now)
            events.append((at, number, "question", (self.now, carried)))
            if self._dice.random() < 0.5:
                self.thin.carried += 56  # an acknowledgement
                self.thin._up += 56 / self.thin.rate
        return told

    def _answer(self, at: float, number: int, what: str, left: tuple[float, int]) -> list[float | None]:
        if what == "tiny":
            self.pairs.tiny(number, at)
            return []
        self.pairs.arrived(at, *left)
        self.pairs.answered(number, SIZE, at, 0)
        return [self.pairs.rate]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("hz", [10.0, 12.0, 15.0])
def test_what_replies_before_a_tiny_message_made_too_high_is_corrected(hz: float, seed: int) -> None:
    scene = Asked(hz, seed=seed)
    told = [one for one in scene.run(3.0) if one is not None]
    assert told[-1] == pytest.approx(8_000, rel=0.2)


def looked(pairs: int, late: float = 0.0) -> Pairs:
    """So many pairs of 8 kB/s, and then a row of 7 kB/s, so many seconds after the last pair."""
    seen = Pairs()
    seen.anew()
    for n in range(pairs):
        seen.carried(10_000)
        seen.began(n, n / 10, 0)
        seen.tiny(n, n / 10 + WAY)
        seen.answered(n, SIZE, n / 10 + WAY + 0.1, 0)
    begin = (pairs - 1) / 10 + late
    for n in range(7):
        seen.arrived(begin + n / 10, begin - 1.0 + n / 10, 700 * n)
    return seen


def test_two_pairs_are_enough_where_a_row_tells_too_and_soon() -> None:
    assert looked(WITH_ROW).rate == pytest.approx(7_000)
    assert looked(WITH_ROW - 1).rate is None
    assert looked(WITH_ROW, late=REFINED + 0.01).rate is None


def test_a_row_long_after_pairs_told_corrects_nothing() -> None:
    """The way may have become longer since, and the messages of a wide link come as far apart as they left."""
    pairs = Pairs()
    pairs.anew()
    for n in range(PAIRS):
        pairs.carried(10_000)
        pairs.began(n, float(n), 0)
        pairs.tiny(n, n + WAY)
        pairs.answered(n, SIZE, n + WAY + 0.1, 0)
    assert pairs.rate == pytest.approx(8_000)
    late = PAIRS - 1 + WAY + 0.1 + REFINED
    for n in range(20):
        pairs.arrived(late + 0.01 + n / 10, late - 1.0 + n / 10, 500 * n)
    assert pairs.rate == pytest.approx(8_000)


def test_a_row_that_tells_the_same_within_a_tenth_corrects_nothing() -> None:
    for times, corrected in ((FINE - 0.02, False), (FINE + 0.02, True)):
        pairs = Pairs()
        pairs.rate, pairs._told_at = 8_000.0, 0.0
        pairs._ways.append(WAY)
        for n in range(10):
            pairs.arrived(0.5 + n / 10, n / 10, round(800 * times * n))
        assert (pairs.rate != 8_000.0) is corrected


def test_answers_are_kept_only_where_a_rate_is_known_or_looked_for() -> None:
    pairs, seen = Pairs(), []

    def curious() -> None:
        seen.append(pairs.curious)

    curious()
    pairs.anew()
    curious()
    pairs.forget()
    curious()
    pairs.began(1, 0.0, 0)
    curious()
    pairs.anew()
    pairs.forget()
    pairs.rate = 8_000.0
    curious()
    assert seen == [False, True, False, True, True]
