"""The oracle knows the schedule, no more and no less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from bridge.link import Estimate, Leg
from bridge.link.events import Disconnected
from tests.netlab.model import Conditions, Fades, Stage
from tests.netlab.oracle_device import Truth
from tests.netlab.scenarios import Scenario, link

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SEEN = Estimate(mqtt=Leg(rtt=9.0, heard=0.3), coap=Leg(rtt=9.0, out=True, silent=7.0), loss=0.5, spell=3.0)


def truth(folder: Path, *stages: Stage) -> Truth:
    told = Scenario(name="test", about="", stages=stages)
    (folder / "scenario.json").write_bytes(msgspec.json.encode(told))
    return Truth(folder)


def test_it_says_what_the_link_does(tmp_path: Path) -> None:
    way = Conditions(delay=0.1, rate=64e3, jitter=0.04, loss=0.05, fades=Fades(0.25, 0.2))
    found = truth(tmp_path, Stage(0.0, way, way)).at(5.0, SEEN)
    assert (found.goodput, found.goodput_known, found.outage) == (8_000, True, False)
    assert found.loss == pytest.approx(1 - 0.95 * 0.8)
    assert found.spell == pytest.approx(0.2)
    for leg in (found.mqtt, found.coap):
        assert (leg.base, leg.out) == (0.2, False)
        assert leg.rtt == pytest.approx(0.24)
    assert found.mqtt.heard == 0.3


@pytest.mark.parametrize(
    ("at", "gone", "silent"), [(9.9, False, 0.0), (9.96, True, 0.0), (12.0, True, 2.0), (14.0, False, 0.0)]
)
def test_an_outage_is_foreseen_by_one_round_trip_and_its_end_is_not(
    at: float, gone: bool, silent: float, tmp_path: Path
) -> None:
    known = truth(tmp_path, link(rtt=50), link(10, rtt=50, outage=True), link(14, rtt=50))
    found = known.at(at, SEEN)
    assert (found.outage, found.coap.out) == (gone, gone)
    assert found.mqtt.silent == pytest.approx(silent)


def test_a_firewall_is_known_to_stop_coap_alone(tmp_path: Path) -> None:
    found = truth(tmp_path, link(rtt=50), link(10, rtt=50, no_udp=True)).at(13.0, SEEN)
    assert (found.outage, found.mqtt.out, found.coap.out) == (False, False, True)
    assert found.coap.silent == pytest.approx(3.0)


def test_a_gap_counts_as_what_follows_it(tmp_path: Path) -> None:
    known = truth(tmp_path, link(rtt=50), link(1, rtt=50, rate=0), link(2, rtt=80, rate=1e6))
    assert [known.at(at, SEEN).goodput for at in (0.5, 1.5, 2.5)] == [1.25e6, 125e3, 125e3]


def test_before_the_start_it_is_the_beginning_and_connections_are_the_agents_matter(tmp_path: Path) -> None:
    known = truth(tmp_path, link(rtt=50), link(10, rtt=200))
    known.on(Disconnected("mqtt", 999.0))
    assert trips(known, [1_000.0]) == [0.05]
    assert not known.estimate(1_000.0).mqtt.up
    (tmp_path / "start").write_text("1000.5")
    assert trips(known, [1_001.0, 1_010.4, 1_010.6]) == [0.05, 0.05, 0.2]


def trips(known: Truth, moments: Sequence[float]) -> list[float]:
    return [known.estimate(now).coap.rtt for now in moments]


def test_a_connection_that_is_stuck_stays_so(tmp_path: Path) -> None:
    stuck = msgspec.structs.replace(SEEN, mqtt=Leg(out=True, silent=4.0))
    found = truth(tmp_path, link(rtt=50)).at(1.0, stuck)
    assert (found.mqtt.out, found.mqtt.silent, found.coap.out) == (True, 4.0, False)
