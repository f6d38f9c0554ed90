"""The broker dies under load and comes back: nothing stuck, and what the bridge acknowledged has a Result it took."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from bridge.wire.formats import of_payload
from bridge.wire.observation import decode_observation
from tests.support.brokers import start_mosquitto
from tests.support.fleet import (
    HOP,
    KEPT,
    WINDOW,
    Device,
    Listener,
    bridge_toml,
    dice,
    expect,
    mixed_fleet,
    rows_of,
    seeds,
    stop_all,
    until,
)
from tests.support.programs import start_bridge
from tests.support.standin import Tap

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fleet import Expected

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]


def refused_rows(tap: Tap) -> set[tuple[str, int]]:
    """First rows of messages that got an Error, by device."""
    errors = tap.of("sent", "/error")
    return {(seen.topic.split("/")[3], json.loads(seen.payload)["seq"]) for seen in errors}


def owed(tap: Tap, expected: dict[str, Expected]) -> set[str]:
    """Windows all of whose rows the bridge acknowledged and did not refuse."""
    refused = refused_rows(tap)
    rows: dict[str, set[int]] = {}
    for seen in tap.of("acked", "/data/"):
        device = seen.topic.split("/")[3]
        found = decode_observation(seen.payload, of_payload(seen.payload))
        assert found.seq is not None
        if (device, found.seq) not in refused:
            rows.setdefault(device, set()).update(range(found.seq, found.seq + len(found.values)))
    return {
        window.id
        for window in expected.values()
        if rows.get(window.device, set()).issuperset(range(window.seq, window.seq + WINDOW))
    }


def taken(tap: Tap) -> set[str]:
    """Windows whose Result the broker acknowledged."""
    return {json.loads(seen.payload)["id"] for seen in tap.of("taken", "/result/")}


@pytest.mark.parametrize("how", ["killed", "killed-saving-each-change", "stopped"])
@pytest.mark.parametrize("seed", seeds(1))
def test_broker_restarted_under_load(tmp_path: Path, seed: int, how: str) -> None:
    """Killed, Mosquitto loses rows that it had acknowledged to devices, and windows end at such a gap."""
    random = dice(seed)
    extra = f"{KEPT}\nautosave_interval 1\nautosave_on_changes true" if how == "killed-saving-each-change" else KEPT
    with (
        start_mosquitto(tmp_path / "mosquitto", persistence=True, extra=extra) as broker,
        Tap(broker.port) as tap,
        start_bridge(tmp_path, bridge_toml(tap.url, limits="gap = 0.5")) as bridge,
        Listener(broker.url) as listener,
    ):
        seconds, rows = 3.0, 900
        devices, expected = mixed_fleet(
            broker.url, 8, rows, packs=(7, 25, 128, 128), pace=lambda pack: seconds * pack / rows
        )
        try:
            for device in devices:
                device.start()
            for _ in range(2):
                time.sleep(random.uniform(0.3, 1.2))  # the moment of the kill is the test's input
                broker.stop() if how == "stopped" else broker.kill()
                time.sleep(random.uniform(0.0, 0.3))
                broker.start()
            until(lambda: all(device.done for device in devices), 30, "the broker did not take everything")
            # Nothing stuck: what a device sends now is answered.
            values = rows_of(0, WINDOW + HOP)
            probe = Device(broker.url, "probe", values, pack=25)
            devices.append(probe.start())
            fresh = expect("probe", "e1", values)
            listener.wait_for(fresh, 20, lambda: f"seed {seed}\n{bridge.stderr[-3000:]}")
            until(
                lambda: owed(tap, expected) <= taken(tap),
                20,
                lambda: f"seed {seed}: acknowledged, no Result: {len(owed(tap, expected) - taken(tap))}",
            )
        finally:
            stop_all(devices)
        if how == "stopped":
            listener.wait_for(expected, 10, lambda: f"seed {seed}: errors {listener.errors[:3]}")
        counts = listener.check(expected | fresh)
        print(f"seed {seed}, {how}: owed {len(owed(tap, expected))} of {len(expected)}, {dict(counts)}")  # noqa: T201 # the campaign's record
        assert bridge.running
