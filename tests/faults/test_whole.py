"""Whole windows: a message is acknowledged after its Result's PUBACK and not before, whatever dies."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from bridge.messages import SeriesKey, window_id
from bridge.wire.formats import Format, of_payload
from bridge.wire.observation import decode_observation
from tests.support.brokers import start_mosquitto
from tests.support.fleet import (
    HOP,
    KEPT,
    MODEL,
    SITE,
    STREAM,
    WINDOW,
    Device,
    Listener,
    bridge_toml,
    dice,
    expect,
    rows_of,
    seeds,
    stop_all,
    until,
)
from tests.support.programs import prepare_bridge
from tests.support.standin import Tap

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fleet import Expected

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]


def test_a_stalled_path_is_left_and_taken_up_again(tmp_path: Path) -> None:
    """Half-open: nothing gets through, and nobody says so; the keep-alive finds out."""
    config = bridge_toml("URL", windows="whole").replace("[mqtt]", "[mqtt]\nkeep_alive = 5")
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        Tap(broker.port) as tap,
        prepare_bridge(tmp_path, config.replace("URL", tap.url)).start() as bridge,
        Listener(broker.url) as listener,
    ):
        values = rows_of(0, 3_000)
        device = Device(broker.url, "w0", values, pack=WINDOW, hop=HOP, pace=0.02)
        expected = expect("w0", "e1", values)
        try:
            device.start()
            until(lambda: listener.ids, 10, "no Result at all")
            tap.stall()
            bridge.says("nothing heard from the broker", timeout=12)
            tap.flow()
            listener.wait_for(expected, 15, lambda: bridge.stderr[-3000:])
        finally:
            device.stop()
        listener.check(expected)
        assert acknowledged_too_early(tap) == []


def id_of(topic: str, payload: bytes) -> str:
    """Id of the whole window that a data message is."""
    seen = decode_observation(payload, of_payload(payload))
    assert seen.seq is not None
    return window_id(SeriesKey(SITE, topic.split("/")[3], STREAM, seen.epoch), seen.seq, MODEL)


def acknowledged_too_early(tap: Tap) -> list[str]:
    """Windows whose message was acknowledged before the broker had taken a Result of theirs."""
    taken: set[str] = set()
    early = []
    for seen in list(tap.seen):
        if seen.kind == "taken" and "/result/" in seen.topic:
            taken.add(json.loads(seen.payload)["id"])
        elif seen.kind == "acked" and "/data/" in seen.topic:
            window = id_of(seen.topic, seen.payload)
            if window not in taken:
                early.append(window)
    return early


@pytest.mark.parametrize("seed", seeds(2))
def test_acknowledged_only_after_the_results_puback(tmp_path: Path, seed: int) -> None:
    """Bridge killed, and its connection cut, while eight devices send whole, overlapping windows."""
    random = dice(seed)
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        Tap(broker.port) as tap,
        prepare_bridge(tmp_path, bridge_toml(tap.url, windows="whole")).start() as bridge,
        Listener(broker.url) as listener,
    ):
        devices: list[Device] = []
        expected: dict[str, Expected] = {}
        for i in range(8):
            values = rows_of(i, 3_000)
            form = Format.JSON if i % 2 else Format.CBOR
            devices.append(Device(broker.url, f"w{i}", values, pack=WINDOW, hop=HOP, form=form, pace=0.08))
            expected |= expect(f"w{i}", "e1", values)
        try:
            for device in devices:
                device.start()
            while not all(device.done for device in devices):
                time.sleep(random.uniform(0.1, 0.9))  # the moment is the test's input
                if random.random() < 0.5:
                    tap.cut()
                else:
                    bridge.kill()
                    bridge.launch()
            until(lambda: all(device.done for device in devices), 20, "the broker did not take everything")
            listener.wait_for(expected, 20, lambda: f"seed {seed}\n{bridge.stderr[-3000:]}")
        finally:
            stop_all(devices)
        print(f"seed {seed}: {dict(listener.check(expected))}")  # noqa: T201 # the campaign's record
        assert listener.errors == []
        assert acknowledged_too_early(tap) == []
