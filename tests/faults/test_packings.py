"""However rows are packed, and whoever is killed in between: the same ids and labels, nothing lost, nothing twice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.brokers import start_mosquitto
from tests.support.fleet import KEPT, Listener, bridge_toml, dice, mixed_fleet, seeds, stop_all, until
from tests.support.programs import start_bridge

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]
DEVICES = 8


@pytest.mark.parametrize("pack", [1, 7, 25, 128])
def test_every_packing_gives_the_same_ids_and_labels(tmp_path: Path, pack: int) -> None:
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        start_bridge(tmp_path, bridge_toml(broker.url)) as bridge,
        Listener(broker.url) as listener,
    ):
        devices, expected = mixed_fleet(broker.url, DEVICES, 400 if pack == 1 else 1_000, packs=(pack,))
        try:
            for device in devices:
                device.start()
            listener.wait_for(expected, 40, lambda: bridge.stderr[-3000:])
        finally:
            stop_all(devices)
        counts = listener.check(expected)
        assert counts["repeats"] == 0
        assert listener.errors == []


@pytest.mark.parametrize("seed", seeds(3))
def test_kill_9_of_the_bridge_loses_nothing(tmp_path: Path, seed: int) -> None:
    """Also SIGTERM. Devices go on publishing, Mosquitto keeps the session; what was acknowledged is in the journal."""
    random = dice(seed)
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        start_bridge(tmp_path, bridge_toml(broker.url)) as bridge,
        Listener(broker.url) as listener,
    ):
        seconds = 4.0
        rows = 900
        devices, expected = mixed_fleet(
            broker.url, DEVICES, rows, packs=(1, 7, 25, 128), pace=lambda pack: seconds * pack / rows
        )
        try:
            for device in devices:
                device.start()
            kills = 0
            while not all(device.done for device in devices):
                time.sleep(random.uniform(0.0, 1.2))  # the moment of the kill is the test's input
                if random.random() < 0.3:
                    bridge.wait_ready() if not bridge.ready else None
                    assert bridge.terminate() == 0
                else:
                    bridge.kill()
                kills += 1
                bridge.launch()
                if random.random() < 0.7:  # else it may die again while it starts
                    bridge.wait_ready()
            until(lambda: all(device.done for device in devices), 20, "the broker did not take everything")
            listener.wait_for(expected, 20, lambda: f"seed {seed}, {kills} kills\n{bridge.stderr[-3000:]}")
        finally:
            stop_all(devices)
        print(f"seed {seed}: {kills} kills, {dict(listener.check(expected))}")  # noqa: T201 # the campaign's record
        assert listener.errors == []
