"""Which ways are asked on purpose, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.link import Estimate, Leg
from bridge.link.probes import COST, CREDIT, RESERVE
from edge_agent.questions import Questions

if TYPE_CHECKING:
    from bridge.link.events import Protocol

WELL, QUIET = Leg(heard=0.1), Leg(heard=0.5)
BOTH: frozenset[Protocol] = frozenset({"coap", "mqtt"})


class Asking:
    """Ten looks a second; what is due leaves at once."""

    def __init__(self) -> None:
        self.questions = Questions()
        self.left: dict[Protocol, int] = dict.fromkeys(BOTH, 0)
        self.now = 0.0

    def look(self, coap: Leg, mqtt: Leg, used: Protocol) -> set[Protocol]:
        self.now = round(self.now + 0.1, 1)
        found = self.questions.due(self.now, Estimate(coap=coap, mqtt=mqtt), self.left, {used})
        for name in found:
            self.left[name] += 1
        return found

    @property
    def cost(self) -> int:
        return sum(count * sum(COST[name]) for name, count in self.left.items())


def asked(coap: Leg, mqtt: Leg, *, used: Protocol, seconds: float = 2.0, paid: int = 300_000) -> list[set[Protocol]]:
    asking = Asking()
    if paid:
        asking.questions.passed(paid, "coap", None)
    return [asking.look(coap, mqtt, used) for _ in range(round(10 * seconds))]


def test_what_is_well_is_not_asked() -> None:
    assert not any(asked(WELL, WELL, used="coap"))
    assert not any(asked(Leg(out=True, silent=9.0), WELL, used="mqtt", paid=0)), "nothing passed that would pay for it"


@pytest.mark.parametrize(
    ("coap", "mqtt", "questions", "both"),
    [
        (Leg(doubtful=True), QUIET, 7, 1),  # at 0, 0.3, 0.6 …
        (Leg(out=True, silent=1.0), QUIET, 7, 1),
        (Leg(out=True, silent=1.0), Leg(heard=1.0), 7, 7),
        (Leg(out=True, silent=1.0), Leg(out=True, silent=0.9), 4, 4),
        (Leg(out=True, silent=9.0), QUIET, 4, 1),
        (Leg(out=True, silent=1.0), Leg(up=False), 4, 4),
        (Leg(out=True, silent=20.0), Leg(out=True, silent=20.0), 2, 2),
    ],
)
def test_all_are_asked_while_the_one_in_use_is_silent(coap: Leg, mqtt: Leg, questions: int, both: int) -> None:
    found = asked(coap, mqtt, used="coap", paid=0)
    assert sum("coap" in one for one in found) == questions
    assert found.count(set(BOTH)) == both
    assert found[0] == BOTH


def test_another_silence_begins_with_a_question_to_all() -> None:
    asking = Asking()
    asking.questions.passed(300_000, "coap", None)
    silences = [asking.look(Leg(doubtful=n % 4 < 2), QUIET, "coap") for n in range(12)]
    assert [one for one in silences if one] == [set(BOTH)] * 3


def test_over_a_long_way_no_answer_can_be_there_sooner() -> None:
    found = asked(Leg(doubtful=True, rtt=2.0), QUIET, used="coap")
    assert [n for n, one in enumerate(found) if one] == [0, 10]


def test_who_was_heard_a_moment_ago_need_not_be_asked() -> None:
    assert asked(Leg(doubtful=True), WELL, used="coap")[0] == {"coap"}


def test_after_an_outage_the_next_silence_is_asked_about_at_once() -> None:
    questions = Questions()
    silent = Estimate(coap=Leg(doubtful=True), mqtt=QUIET)
    left: dict[Protocol, int] = {"coap": 0, "mqtt": 0}
    assert questions.due(0.0, silent, left, {"coap"})
    assert not questions.due(0.1, silent, left, {"coap"})
    questions.again()
    assert questions.due(0.1, silent, left, {"coap"})


@pytest.mark.parametrize(("protocol", "messages"), [("coap", 19), ("mqtt", 8)])
def test_an_idle_way_is_paid_for_by_what_passed_both_ways(protocol: Protocol, messages: int) -> None:
    questions = Questions()
    idle = Estimate(coap=Leg(heard=9.0, out=True, silent=9.0), mqtt=WELL)
    sent = 0
    while not questions.due(0.0, idle, {"coap": 0, "mqtt": 0}, {"mqtt"}):
        questions.passed(100, protocol, None)
        sent += 1
    assert sent == messages


def test_a_way_that_is_not_there_is_not_asked() -> None:
    questions = Questions()
    for _ in range(1_000):
        questions.passed(1_000, "coap", None)
    assert questions.due(0.0, Estimate(coap=WELL, mqtt=Leg(heard=9.0)), {"coap": 0}, {"coap"}) == set()


def test_who_asks_besides_leaves_less_for_idle_ways() -> None:
    """The keep-alive's questions count: an idle way that is asked anyway is hardly asked again."""
    asking = Asking()
    idle = Leg(heard=9.0)
    for n in range(10 * 600):
        asking.questions.passed(29, "coap", None)  # 100 bytes, ten times a second
        asking.left["mqtt"] += n % 300 == 0  # each 30 s
        asking.look(WELL, idle, "coap")
    passed = 10 * 600 * 100
    assert 0.95 * (0.01 * passed - RESERVE) <= asking.cost <= 0.01 * passed - RESERVE + sum(COST["mqtt"])
    assert asking.left["mqtt"] > 20


@pytest.mark.parametrize("mqtt", [QUIET, Leg(heard=9.0), Leg(up=False)])
def test_silences_that_another_way_breaks_take_one_per_cent_and_a_bounded_debt(mqtt: Leg) -> None:
    """However often the way in use falls silent."""
    asking, passed = Asking(), 0
    for n in range(10 * 600):
        if n % 5 == 0:
            asking.questions.passed(29, "coap", None)
            passed += 100
        asking.look(Leg(doubtful=True), mqtt, "coap")
    assert 0.8 * 0.01 * passed <= asking.cost <= 0.01 * passed + CREDIT


def test_the_end_of_an_outage_of_everything_is_asked_for_whatever_it_costs() -> None:
    gone = Leg(out=True, silent=20.0)
    found = asked(gone, gone, used="coap", seconds=600.0, paid=0)
    assert found.count({"coap", "mqtt"}) == 600
