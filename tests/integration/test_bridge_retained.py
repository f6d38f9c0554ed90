"""A retained reading is one reading, however often the bridge reconnects."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from bridge import topics
from bridge.messages import Observation
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from tests.support.fleet import SITE, STREAM, WINDOW, Listener, bridge_toml, rows_of, until
from tests.support.programs import start_bridge
from tests.support.standin import Tap

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.brokers import RunningBroker

pytestmark = pytest.mark.real


def test_a_retained_reading_is_taken_once(tmp_path: Path, mosquitto: RunningBroker) -> None:
    """Without a row number nothing tells a repeated reading from a new one but the broker's silence."""
    client = paho.Client(CallbackAPIVersion.VERSION2, "plain")
    client.connect("127.0.0.1", mosquitto.port)
    client.loop_start()
    reading = encode_observation(Observation(rows_of(0, WINDOW)), Format.CBOR)
    client.publish(topics.data(SITE, "w0", STREAM), reading, qos=1, retain=True).wait_for_publish(5)
    with (
        Listener(mosquitto.url) as listener,
        Tap(mosquitto.port) as tap,
        start_bridge(tmp_path, bridge_toml(tap.url)) as bridge,
    ):
        until(lambda: listener.ids, 5, "a reading retained from before the bridge's first start gave no Result")
        until(lambda: tap.of("acked", topics.data(SITE, "w0", STREAM)), 5, "it was not acknowledged, so it may return")
        for _ in range(2):
            seen = bridge.stderr.count(": connected")
            tap.cut()
            until(lambda: bridge.stderr.count(": connected") > seen, 10, "no reconnect")  # noqa: B023 # waited for here
        bridge.restart()
        time.sleep(0.5)  # that nothing comes takes time to see
        assert len(listener.results) == 1
    client.disconnect()
    client.loop_stop()
