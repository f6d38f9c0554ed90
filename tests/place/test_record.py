"""A recording is made by the real programs; of links it needs root and /dev/net/tun, and is skipped without them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.netlab import lab, namespaces
from tests.netlab.scenarios import link
from tests.place import busy_bridge, loader, trace
from tests.place.record import DRAIN, Asked
from tests.place.weather import RATE, WEATHERS
from tests.support.real import require_tool

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real
SECONDS = 2.0


@pytest.mark.timeout(60)
async def test_a_link_is_recorded_as_it_is(tmp_path: Path) -> None:
    require_tool("mosquitto")
    if why := namespaces.why_not():
        pytest.skip(why)
    stages = link(rtt=40), link(SECONDS / 2, rtt=120)
    scenario = msgspec.structs.replace(WEATHERS["busy"].scenario, stages=stages, least=SECONDS)
    weather = msgspec.structs.replace(WEATHERS["busy"], scenario=scenario, loaded=False)
    await lab.measure(scenario, Asked(weather), seed=1, messages=0, folder=tmp_path / "run", drain=DRAIN / 10)
    found = trace.read(tmp_path / "run" / "trace.csv")
    assert len(found.samples) == SECONDS * RATE
    assert all(one.up and math.isfinite(one.took) for one in found.samples)
    assert all(0.0 < one.run <= one.took for one in found.samples)
    early = [one.took for one in found.samples if one.t < SECONDS / 2 - 0.15]
    late = [one.took for one in found.samples if one.t > SECONDS / 2]
    assert min(early) >= 0.040
    assert min(late) >= 0.120


@pytest.mark.timeout(60)
def test_a_bridge_is_recorded_as_it_is(tmp_path: Path) -> None:
    require_tool("mosquitto")
    busy_bridge.record(tmp_path / "run", tmp_path / "bridge.csv", 0.015, SECONDS)
    found = trace.read(tmp_path / "bridge.csv")
    assert len(found.samples) == SECONDS * RATE
    assert all(0.0 < one.took < math.inf for one in found.samples)


def test_a_neighbour_asks_in_spells_for_what_the_slow_model_can_do_and_for_more() -> None:
    spells = loader.spells(0.01)
    heard = [next(spells) for _ in range(2 * (1 + round(loader.BUSY / loader.STEP)))]
    asked = [count for _, count in heard if count]
    per_second = {count / loader.STEP for count in asked}
    assert sorted(per_second) == pytest.approx([100.0, 150.0], abs=4.0)
    assert [pause for pause, count in heard if not count] == [loader.QUIET] * 2
