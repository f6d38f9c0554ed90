"""`kill -9` of the bridge while windows are with the cloud: each gets one answer, whichever, keeps it, and in order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.brokers import start_mosquitto
from tests.support.fleet import HOP, KEPT, Listener, bridge_toml, dice, mixed_fleet, seeds, stop_all, until
from tests.support.programs import start_bridge
from tests.support.standin import StandInCloud

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.standin import Deed

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]
DEEDS: tuple[Deed, ...] = ("answer", "answer", "answer", "twice", "late", "never", "refuse", "garbage")


@pytest.mark.parametrize("windows", ["rows", "whole"])
@pytest.mark.parametrize("seed", seeds(2))
def test_kill_9_while_windows_are_with_the_cloud(tmp_path: Path, seed: int, windows: str) -> None:
    random = dice(seed)
    config = bridge_toml("URL", cloud="URL", windows=windows, below=0.95, deadline=0.8)
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        StandInCloud(broker.url, lambda: random.choice(DEEDS), delay=0.3) as cloud,
        start_bridge(tmp_path, config.replace("URL", broker.url)) as bridge,
        Listener(broker.url) as listener,
    ):
        seconds, rows = 4.0, 900
        packs = (7, 25, 128, 128) if windows == "rows" else (128,)
        devices, expected = mixed_fleet(
            broker.url,
            8,
            rows,
            packs=packs,
            pace=lambda pack: seconds * (pack if windows == "rows" else HOP) / rows,
            whole=windows == "whole",
        )
        try:
            for device in devices:
                device.start()
            kills = 0
            while not all(device.done for device in devices):
                time.sleep(random.uniform(0.3, 1.5))  # the moment of the kill is the test's input
                if random.random() < 0.2:
                    assert bridge.terminate() == 0
                else:
                    bridge.kill()
                kills += 1
                bridge.start()
            until(lambda: all(device.done for device in devices), 20, "the broker did not take everything")
            listener.wait_for(expected, 20, lambda: f"seed {seed}, {kills} kills\n{bridge.stderr[-3000:]}")
        finally:
            stop_all(devices)
        counts = listener.check(expected, cloud=cloud.given)
        listener.check_order()
        print(f"seed {seed}: {kills} kills, {dict(counts)}")  # noqa: T201 # the campaign's record
        assert counts["cloud"], "no window was escalated: the test tests nothing"
        assert listener.errors == []
