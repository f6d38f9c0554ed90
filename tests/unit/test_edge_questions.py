"""Which ways are asked on purpose, and how often."""

from __future__ import annotations

import pytest

from bridge.link import Estimate, Leg
from edge_agent.questions import Questions

WELL, QUIET = Leg(heard=0.1), Leg(heard=0.5)
BOTH = frozenset({"coap", "mqtt"})


def asked(coap: Leg, mqtt: Leg, *, used: str, seconds: float = 2.0) -> list[set[str]]:
    """At each look, ten a second."""
    questions = Questions()
    estimate = Estimate(coap=coap, mqtt=mqtt)
    looks = (questions.due(n / 10, estimate, BOTH, {used}) for n in range(round(10 * seconds)))  # type: ignore[arg-type]
    return [{str(name) for name in one} for one in looks]


def test_what_is_well_is_not_asked() -> None:
    assert not any(asked(WELL, WELL, used="coap"))
    assert not any(asked(Leg(out=True, silent=9.0), WELL, used="mqtt")), "nothing was sent that would pay for it"


@pytest.mark.parametrize(
    ("coap", "mqtt", "questions"),
    [
        (Leg(doubtful=True), QUIET, 7),  # at 0, 0.3, 0.6 …
        (Leg(out=True, silent=1.0), QUIET, 7),
        (Leg(out=True, silent=1.0), Leg(out=True, silent=0.9), 4),
        (Leg(out=True, silent=9.0), QUIET, 4),
        (Leg(out=True, silent=1.0), Leg(up=False), 4),
        (Leg(out=True, silent=20.0), Leg(out=True, silent=20.0), 2),
    ],
)
def test_all_are_asked_while_the_one_in_use_is_silent(coap: Leg, mqtt: Leg, questions: int) -> None:
    found = asked(coap, mqtt, used="coap")
    assert found.count(set(BOTH)) == questions
    assert found[0] == BOTH


def test_over_a_long_way_no_answer_can_be_there_sooner() -> None:
    found = asked(Leg(doubtful=True, rtt=2.0), QUIET, used="coap")
    assert found.count(set(BOTH)) == 2  # at 0 and 1.0


def test_who_was_heard_a_moment_ago_need_not_be_asked() -> None:
    assert asked(Leg(doubtful=True), WELL, used="coap")[0] == {"coap"}


def test_after_an_outage_the_next_silence_is_asked_about_at_once() -> None:
    questions = Questions()
    silent = Estimate(coap=Leg(doubtful=True), mqtt=QUIET)
    assert questions.due(0.0, silent, {"coap", "mqtt"}, {"coap"})
    assert not questions.due(0.1, silent, {"coap", "mqtt"}, {"coap"})
    questions.again()
    assert questions.due(0.1, silent, {"coap", "mqtt"}, {"coap"})


@pytest.mark.parametrize(("protocol", "messages"), [("coap", 19), ("mqtt", 8)])
def test_an_idle_way_is_paid_for_by_what_passed_both_ways(protocol: str, messages: int) -> None:
    questions = Questions()
    idle = Estimate(coap=Leg(heard=9.0, out=True, silent=9.0), mqtt=WELL)
    sent = 0
    while not questions.due(0.0, idle, {"coap", "mqtt"}, {"mqtt"}):
        questions.sent(100, protocol, None)  # type: ignore[arg-type]
        sent += 1
    assert sent == messages


def test_a_way_that_is_not_there_is_not_asked() -> None:
    questions = Questions()
    for _ in range(1_000):
        questions.sent(1_000, "coap", None)
    assert questions.due(0.0, Estimate(coap=WELL, mqtt=Leg(heard=9.0)), {"coap"}, {"coap"}) == set()
