"""Probes: where it is silent, and for one per cent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.link.estimate import Estimate, Leg
from bridge.link.probes import COST, CREDIT, RESERVE, SAVED, Probes

if TYPE_CHECKING:
    from bridge.link.events import Protocol

SILENT, HEARD, DOWN = Leg(heard=10.0), Leg(heard=1.0), Leg(heard=10.0, up=False)
OUT = Leg(heard=2.0, out=True, silent=2.0)


def due(probes: Probes, at: float, estimate: Estimate) -> Protocol | None:
    """What is due leaves at once."""
    found = probes.due(at, estimate)
    if found is not None:
        probes.left(found, 1, out=estimate.leg(found).out)
    return found


def test_only_where_nothing_was_heard_and_the_connection_stands() -> None:
    probes = Probes()
    probes.passed(1_000_000)
    assert probes.due(0.0, Estimate(mqtt=HEARD, coap=HEARD)) is None
    assert probes.due(0.0, Estimate(mqtt=DOWN, coap=HEARD)) is None
    assert probes.due(0.0, Estimate(mqtt=SILENT, coap=HEARD)) == "mqtt"
    assert probes.due(0.5, Estimate(mqtt=SILENT, coap=HEARD)) is None
    assert probes.due(1.5, Estimate(mqtt=SILENT, coap=HEARD)) == "mqtt"


def test_the_two_take_turns() -> None:
    probes = Probes()
    probes.passed(1_000_000)
    both = Estimate(mqtt=SILENT, coap=SILENT)
    assert [probes.due(at, both) for at in (0.0, 0.1, 0.2, 1.0, 1.1)] == ["mqtt", "coap", None, "mqtt", "coap"]


def test_what_gets_nothing_through_is_asked_sooner_and_for_what_goes_up() -> None:
    probes = Probes()
    probes.passed(100 * 2 * COST["coap"][0])
    out = Estimate(mqtt=HEARD, coap=OUT)
    assert [due(probes, at, out) for at in (0.0, 0.4, 0.5, 1.0)] == ["coap", None, "coap", None]
    probes.passed(100 * (RESERVE + COST["coap"][0]))
    assert probes.due(2.0, Estimate(mqtt=HEARD, coap=SILENT)) is None, "an answer costs as much again"
    probes.passed(100 * COST["coap"][1])
    assert probes.due(2.0, Estimate(mqtt=HEARD, coap=SILENT)) == "coap"


def test_what_a_silence_asks_may_be_owed_for_a_while() -> None:
    probes, both = Probes(), Estimate(mqtt=HEARD, coap=HEARD)
    asked = 0
    while probes.affords({"mqtt", "coap"}, both):
        probes.left("mqtt", 1, out=False)
        probes.left("coap", 1, out=False)
        asked += sum(COST["mqtt"]) + sum(COST["coap"])
    assert CREDIT - sum(COST["mqtt"]) - sum(COST["coap"]) < asked <= CREDIT
    assert probes.affords({"coap"}, Estimate(mqtt=HEARD, coap=OUT)), "what is not answered costs less"
    probes.passed(100 * CREDIT)
    assert probes.affords({"mqtt", "coap"}, both)
    probes.asked(1.0, "coap")
    probes.passed(100 * CREDIT)
    assert probes.due(1.2, Estimate(mqtt=HEARD, coap=OUT)) is None, "it was asked a moment ago"
    assert probes.due(1.5, Estimate(mqtt=HEARD, coap=OUT)) == "coap"


def test_what_left_is_paid_for_whoever_asked_and_debts_are_bounded() -> None:
    probes = Probes()
    for _ in range(1_000):
        probes.left("mqtt", 1, out=False)
        probes.left("coap", 2, out=True)
    out = Estimate(mqtt=HEARD, coap=OUT)
    probes.passed(100 * SAVED)
    assert probes.due(1.0, out) is None
    probes.passed(100 * COST["coap"][0])
    assert probes.due(1.0, out) == "coap"


def test_at_most_one_per_cent_of_the_bytes() -> None:
    probes, asked = Probes(), 0
    for each in range(10_000):
        probes.passed(340)
        found = due(probes, each / 2, Estimate(mqtt=SILENT, coap=SILENT))
        asked += sum(COST[found]) if found is not None else 0
    assert 0.009 * 10_000 * 340 <= asked <= 0.01 * 10_000 * 340


def test_little_is_saved_up() -> None:
    probes = Probes()
    probes.passed(10**9)
    probes.passed(-(10**9))
    found = [due(probes, float(each), Estimate(mqtt=SILENT, coap=HEARD)) for each in range(1000)]
    assert found.count("mqtt") == (SAVED - RESERVE) // sum(COST["mqtt"])
