"""Devices without an agent: what Mosquitto holds for an absent bridge comes after its restart, and how much that is.

All against a real Mosquitto without persistence, whose session for the bridge (`mqtt.session_expiry`) outlives the
bridge's `kill -9`. What a killed broker loses is in `test_broker_killed.py`.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from bridge import topics
from bridge.messages import Observation
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from tests.support import paho_client
from tests.support.brokers import start_mosquitto
from tests.support.fleet import (
    SITE,
    STREAM,
    WINDOW,
    Device,
    Listener,
    bridge_toml,
    dice,
    expect,
    recordings,
    rows_of,
    seeds,
    until,
)
from tests.support.programs import RunningProgram, start_bridge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.brokers import RunningBroker

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

SHIPPED = "max_queued_messages 100000\nmax_inflight_messages 200\nsys_interval 1"  # as config/mosquitto has them
QUEUE = 20
WINDOWS = 100  # that a sensor has
DROPPED = "$SYS/broker/publish/messages/dropped"
NO_SUBSCRIBERS = 0x10
BOTH = pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311])


class Sensor:
    """A plain device whose message is one whole window, so that each is answered by itself; keeps PUBACK codes."""

    def __init__(self, url: str, version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5) -> None:
        self.values = np.concatenate(recordings())[: WINDOWS * WINDOW]
        self.expected = expect("w0", "e1", self.values, range(0, len(self.values), WINDOW))
        self.ids = [one.id for one in sorted(self.expected.values(), key=lambda one: one.seq)]
        self.codes: list[int] = []
        self._client = paho_client.Client("nobody/publishes/this", url, version, "device-w0")
        self._client.paho.on_publish = lambda _c, _u, _m, code, _p: self.codes.append(code.value)
        self._client.paho.loop_start()

    def publish(self, first: int, count: int, *, qos: int = 1) -> list[int]:
        """Windows `first`… one by one, each acknowledged before the next; their PUBACK codes."""
        before = len(self.codes)
        for window in range(first, first + count):
            row = window * WINDOW
            seen = Observation(self.values[row : row + WINDOW], seq=row, epoch="e1")
            payload = encode_observation(seen, Format.CBOR)
            self._client.paho.publish(topics.data(SITE, "w0", STREAM), payload, qos=qos)
            until(lambda wanted=window - first + 1: len(self.codes) - before == wanted, 10, "no PUBACK")  # type: ignore[misc] # mypy cannot type a default
        return self.codes[before:]

    def close(self) -> None:
        self._client.paho.disconnect()
        self._client.paho.loop_stop()


@contextmanager
def sensor(url: str, version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5) -> Iterator[Sensor]:
    made = Sensor(url, version)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def counted(url: str) -> Iterator[paho_client.Client]:
    """What the broker says it dropped, whenever that changes."""
    with paho_client.client(DROPPED, url, MQTTProtocolVersion.MQTTv5, "counter") as client:
        until(lambda: client.received, 10, "the broker does not tell what it dropped")
        yield client


def kill(bridge: RunningProgram, broker: RunningBroker) -> None:
    """SIGKILL; returns once the broker has seen its connection end."""
    bridge.kill()
    until(lambda: "Client gw-1 closed its connection" in broker.log.read_text(), 10, broker.log.read_text)


@pytest.mark.parametrize("seed", seeds(2))
def test_kill_9_while_a_plain_device_publishes(tmp_path: Path, seed: int) -> None:
    """The broker takes most of it while there is no bridge: every window has its Result after the restart."""
    random = dice(seed)
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=SHIPPED) as broker,
        start_bridge(tmp_path, bridge_toml(broker.url)) as bridge,
        Listener(broker.url) as listener,
        counted(broker.url) as dropped,
    ):
        values = rows_of(seed, 3_000)
        expected = expect("w0", "e1", values)
        device = Device(broker.url, "w0", values, pack=5, pace=0.002)
        try:
            device.start()
            until(lambda: listener.ids, 10, "no Result at all")
            time.sleep(random.uniform(0.0, 0.4))  # the moment of the kill is the test's input
            bridge.kill()
            answered = len(listener.ids)
            until(lambda: device.done, 20, "the broker did not take everything")
            bridge.start()
            listener.wait_for(expected, 20, lambda: f"seed {seed}\n{bridge.stderr[-3000:]}")
        finally:
            device.stop()
        assert answered < len(expected), "all was answered before the kill: nothing was queued"
        listener.check(expected)
        assert listener.errors == []
        assert {bytes(said) for said in dropped.received} == {b"0"}


@BOTH
def test_beyond_the_queue_the_broker_drops_and_says_how_many(tmp_path: Path, version: MQTTProtocolVersion) -> None:
    """The oldest `max_queued_messages` come, the bridge's will among them; who sent the others holds PUBACKs too."""
    sent = QUEUE + 7
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=f"max_queued_messages {QUEUE}\nsys_interval 1") as broker,
        start_bridge(tmp_path, bridge_toml(broker.url, windows="whole")) as bridge,
        Listener(broker.url) as listener,
        counted(broker.url) as dropped,
        sensor(broker.url, version) as device,
    ):
        kill(bridge, broker)
        assert device.publish(0, sent) == [0] * sent
        bridge.start()
        device.publish(sent, 1)
        listener.wait_for({device.ids[sent]}, 15, lambda: bridge.stderr[-3000:])
        kept = listener.ids - {device.ids[sent]}
        assert len(kept) in {QUEUE - 1, QUEUE}
        assert kept == set(device.ids[: len(kept)])
        lost = str(sent - len(kept)).encode()
        until(lambda: dropped.received[-1] == lost, 10, lambda: f"not {lost!r}: {dropped.received}")
        assert listener.errors == []


def test_a_session_that_has_expired_is_forgotten(tmp_path: Path) -> None:
    """What came within `session_expiry` is gone too; from then on an MQTT 5 sender is told that nobody listens."""
    toml = bridge_toml("URL", windows="whole").replace("[mqtt]", "[mqtt]\nsession_expiry = 1")
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=SHIPPED) as broker,
        start_bridge(tmp_path, toml.replace("URL", broker.url)) as bridge,
        Listener(broker.url) as listener,
        sensor(broker.url) as device,
    ):
        kill(bridge, broker)
        assert device.publish(0, 1) == [0]
        until(lambda: device.publish(1, 1) == [NO_SUBSCRIBERS], 20, "the session does not expire")
        bridge.start()
        device.publish(2, 1)
        listener.wait_for({device.ids[2]}, 15, lambda: bridge.stderr[-3000:])
        assert listener.ids == {device.ids[2]}


def test_qos_0_is_not_kept(tmp_path: Path) -> None:
    """Mosquitto's `queue_qos0_messages` is off unless asked for."""
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=SHIPPED) as broker,
        start_bridge(tmp_path, bridge_toml(broker.url, windows="whole")) as bridge,
        Listener(broker.url) as listener,
        sensor(broker.url) as device,
    ):
        kill(bridge, broker)
        device.publish(0, 1, qos=0)
        assert device.publish(1, 1) == [0]
        bridge.start()
        listener.wait_for({device.ids[1]}, 15, lambda: bridge.stderr[-3000:])
        assert listener.ids == {device.ids[1]}


def test_a_broker_stopped_and_started_keeps_what_it_held(tmp_path: Path) -> None:
    """With persistence, by SIGTERM; while neither broker nor bridge runs, nothing is lost."""
    with (
        start_mosquitto(tmp_path / "mosquitto", persistence=True, extra=SHIPPED) as broker,
        start_bridge(tmp_path, bridge_toml(broker.url, windows="whole")) as bridge,
        Listener(broker.url) as listener,
        sensor(broker.url) as device,
    ):
        kill(bridge, broker)
        device.publish(0, 50)
        broker.stop()
        broker.start()
        bridge.start()
        listener.wait_for(device.ids[:50], 20, lambda: bridge.stderr[-3000:])
        listener.check(device.expected)
