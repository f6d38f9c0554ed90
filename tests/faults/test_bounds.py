"""Memory under many devices and under floods; and that back-pressure never turns into standing still."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bridge import topics
from bridge.messages import Observation
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from tests.support.brokers import start_mosquitto
from tests.support.fleet import (
    KEPT,
    SITE,
    STREAM,
    Device,
    Listener,
    bridge_toml,
    expect,
    recordings,
    rows_of,
    until,
)
from tests.support.payloads import packed
from tests.support.programs import start_bridge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.programs import RunningProgram

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]


class Flood:
    """One connection that publishes for many devices as fast as the broker takes it, at most 200 under way."""

    def __init__(self, port: int) -> None:
        self.sent = self.acked = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "flood", protocol=MQTTProtocolVersion.MQTTv5)
        self._client.max_inflight_messages_set(200)
        self._client.max_queued_messages_set(0)
        self._client.on_publish = self._published
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _published(self, *_: object) -> None:
        self.acked += 1

    def send(self, messages: Iterator[tuple[str, bytes]], patience: float = 30.0) -> None:
        for topic, payload in messages:
            self._client.publish(topic, payload, qos=1)
            self.sent += 1
            if self.sent % 100 == 0:
                until(lambda: self.acked > self.sent - 500, patience, "the broker takes no more")
        until(lambda: self.acked == self.sent, patience, "the broker did not take everything")

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def message(seed: int, first: int, rows: int) -> bytes:
    values = recordings()[seed % 42][:rows]
    return encode_observation(Observation(values, seq=first, epoch="e1"), Format.CBOR)


def peak(bridge: RunningProgram, listener: Listener, count: int, patience: float) -> float:
    """Resident MiB at most until there are so many Results."""
    most = 0.0
    deadline = time.monotonic() + patience
    while len(listener.ids) < count:
        most = max(most, bridge.rss_mib)
        assert time.monotonic() < deadline, f"{len(listener.ids)} of {count} Results\n{bridge.stderr[-2000:]}"
        time.sleep(0.02)
    return most


def test_memory_of_2000_devices_and_of_a_flood(tmp_path: Path) -> None:
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        start_bridge(tmp_path, bridge_toml(broker.url)) as bridge,
        Listener(broker.url) as listener,
    ):
        start = bridge.rss_mib
        flood = Flood(broker.port)
        try:
            topic = [topics.data(SITE, f"d{i}", STREAM) for i in range(2_000)]
            flood.send((topic[i], message(i, 0, 128)) for i in range(2_000))
            devices = max(peak(bridge, listener, 2_000, 30), bridge.rss_mib)
            # 20,000 messages of 16 rows to the first ten devices: 16 rows each, a window every fourth message.
            flood.send((topic[i % 10], message(i % 10, 128 + i // 10 * 16, 16)) for i in range(20_000))
            windows = 2_000 + 10 * (20_000 // 10 * 16 // 64)
            flooded = max(peak(bridge, listener, windows, 60), bridge.rss_mib)
        finally:
            flood.stop()
        print(f"RSS: {start:.0f} MiB at start, {devices:.0f} with 2,000 devices, {flooded:.0f} in the flood")  # noqa: T201 # its figure
        assert devices <= start + 48
        assert flooded <= start + 64
        assert len(listener.results) == windows, "some twice"


def test_memory_in_a_flood_of_highly_compressed_frames(tmp_path: Path) -> None:
    """Frames of 4 kB, which all fit into one turn: 3 million rows, 49,150 windows."""
    frames, rows = 48, 65_536
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=f"{KEPT}\nmax_inflight_messages 0") as broker,
        start_bridge(tmp_path, bridge_toml(broker.url, place="bridge")) as bridge,
        Listener(broker.url) as listener,
    ):
        start = bridge.rss_mib
        flood = Flood(broker.port)
        try:
            flood.send((topics.data(SITE, "flood", STREAM), packed(i * rows, rows, 6)) for i in range(frames))
            windows = (frames * rows - 128) // 64 + 1
            most = peak(bridge, listener, windows, 60)
        finally:
            flood.stop()
        print(f"RSS: {start:.0f} MiB at start, {most:.0f} at most")  # noqa: T201 # its figure
        assert most <= start + 100
        assert listener.errors == []


def test_big_messages_to_a_broker_without_receive_maximum_do_not_deadlock(tmp_path: Path) -> None:
    """Inbox and publish queue full at once: the PUBACKs that make room come by the socket that stands still.

    Thirty messages of 0.9 MB give 16,873 Results; with `max_inflight_messages 0` Mosquitto sends them all ahead.
    """
    limits = "inbox = 4194304\npublishes = 256"
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=f"{KEPT}\nmax_inflight_messages 0") as broker,
        start_bridge(tmp_path, bridge_toml(broker.url, limits=limits)) as bridge,
        Listener(broker.url) as listener,
    ):
        start = bridge.rss_mib
        long = rows_of(0, 4_000)
        rows = 4_000 * 9
        payloads = [
            encode_observation(Observation(np.tile(long, (9, 1)), seq=i * rows, epoch="e1"), Format.CBOR)
            for i in range(30)
        ]
        flood = Flood(broker.port)
        try:
            flood.send((topics.data(SITE, "big", STREAM), payload) for payload in payloads)
            windows = (30 * rows - 128) // 64 + 1
            most = peak(bridge, listener, windows, 60)
            probe = rows_of(1, 256)
            device = Device(broker.url, "probe", probe, pack=64).start()
            listener.wait_for(expect("probe", "e1", probe), 10, lambda: bridge.stderr[-2000:])
            device.stop()
        finally:
            flood.stop()
        print(f"RSS: {start:.0f} MiB at start, {most:.0f} at most")  # noqa: T201 # its figure
        assert most <= start + 200
