"""Probes: where it is silent, and for one per cent."""

from __future__ import annotations

from bridge.link.estimate import Estimate, Leg
from bridge.link.probes import COST, RESERVE, SAVED, Probes

SILENT, HEARD, DOWN = Leg(heard=10.0), Leg(heard=1.0), Leg(heard=10.0, up=False)
OUT = Leg(heard=2.0, out=True, silent=2.0)


def test_only_where_nothing_was_heard_and_the_connection_stands() -> None:
    probes = Probes()
    probes.sent(1_000_000)
    assert probes.due(0.0, Estimate(mqtt=HEARD, coap=HEARD)) is None
    assert probes.due(0.0, Estimate(mqtt=DOWN, coap=HEARD)) is None
    assert probes.due(0.0, Estimate(mqtt=SILENT, coap=HEARD)) == "mqtt"
    assert probes.due(0.5, Estimate(mqtt=SILENT, coap=HEARD)) is None
    assert probes.due(1.5, Estimate(mqtt=SILENT, coap=HEARD)) == "mqtt"


def test_the_two_take_turns() -> None:
    probes = Probes()
    probes.sent(1_000_000)
    both = Estimate(mqtt=SILENT, coap=SILENT)
    assert [probes.due(at, both) for at in (0.0, 0.1, 0.2, 1.0, 1.1)] == ["mqtt", "coap", None, "mqtt", "coap"]


def test_what_gets_nothing_through_is_asked_sooner_and_for_what_goes_up() -> None:
    probes = Probes()
    probes.sent(100 * 2 * COST["coap"][0])
    out = Estimate(mqtt=HEARD, coap=OUT)
    assert [probes.due(at, out) for at in (0.0, 0.4, 0.5, 1.0)] == ["coap", None, "coap", None]
    probes.sent(100 * (RESERVE + COST["coap"][0]))
    assert probes.due(2.0, Estimate(mqtt=HEARD, coap=SILENT)) is None, "an answer costs as much again"
    probes.sent(100 * COST["coap"][1])
    assert probes.due(2.0, Estimate(mqtt=HEARD, coap=SILENT)) == "coap"


def test_what_a_silence_asked_is_paid_for_too_and_debts_are_bounded() -> None:
    probes = Probes()
    for _ in range(1_000):
        probes.asked(0.0, "mqtt", out=False)
        probes.asked(0.0, "coap", out=True)
    out = Estimate(mqtt=HEARD, coap=OUT)
    probes.sent(100 * SAVED)
    assert probes.due(1.0, out) is None
    probes.sent(100 * COST["coap"][0])
    assert probes.due(0.4, out) is None, "it was asked a moment ago"
    assert probes.due(1.0, out) == "coap"


def test_at_most_one_per_cent_of_the_bytes() -> None:
    probes, asked = Probes(), 0
    for each in range(10_000):
        probes.sent(340)
        due = probes.due(each / 2, Estimate(mqtt=SILENT, coap=SILENT))
        asked += sum(COST[due]) if due is not None else 0
    assert 0.009 * 10_000 * 340 <= asked <= 0.01 * 10_000 * 340


def test_little_is_saved_up() -> None:
    probes = Probes()
    probes.sent(10**9)
    probes.sent(-(10**9))
    found = [probes.due(float(each), Estimate(mqtt=SILENT, coap=HEARD)) for each in range(1000)]
    assert found.count("mqtt") == (SAVED - RESERVE) // sum(COST["mqtt"])
