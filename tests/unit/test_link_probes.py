"""Probes: where it is silent, and for one per cent."""

from __future__ import annotations

from bridge.link.estimate import Estimate, Leg
from bridge.link.probes import Probes

SILENT, HEARD, DOWN = Leg(heard=10.0), Leg(heard=1.0), Leg(heard=10.0, up=False)


def test_only_where_nothing_was_heard_and_the_connection_stands() -> None:
    probes = Probes(size=100)
    probes.sent(100_000)
    assert probes.due(0.0, Estimate(mqtt=HEARD, coap=HEARD)) is None
    assert probes.due(0.0, Estimate(mqtt=DOWN, coap=HEARD)) is None
    assert probes.due(0.0, Estimate(mqtt=SILENT, coap=HEARD)) == "mqtt"
    assert probes.due(0.5, Estimate(mqtt=SILENT, coap=HEARD)) is None
    assert probes.due(1.5, Estimate(mqtt=SILENT, coap=HEARD)) == "mqtt"


def test_the_two_take_turns() -> None:
    probes = Probes(size=100)
    probes.sent(100_000)
    both = Estimate(mqtt=SILENT, coap=SILENT)
    assert [probes.due(at, both) for at in (0.0, 0.1, 0.2, 1.0, 1.1)] == ["mqtt", "coap", None, "mqtt", "coap"]


def test_at_most_one_per_cent_of_the_bytes() -> None:
    probes, count = Probes(size=100), 0
    for each in range(10_000):
        probes.sent(340)
        count += probes.due(each / 2, Estimate(mqtt=SILENT, coap=SILENT)) is not None
    assert 0.009 * 10_000 * 340 <= count * 100 <= 0.01 * 10_000 * 340


def test_little_is_saved_up() -> None:
    probes = Probes(size=100)
    probes.sent(10**9)
    probes.sent(-(10**9))
    found = [probes.due(float(each), Estimate(mqtt=SILENT, coap=HEARD)) for each in range(1000)]
    assert found.count("mqtt") == 20
