"""Every window once more, through the route that always computes in the cloud: what the cloud alone would score."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bridge import topics
from bridge.demo.scenario import SITE, Recording
from bridge.messages import Observation
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation

if TYPE_CHECKING:
    from bridge.catalog import Manifest
    from bridge.demo.observer import Observer

DEVICE = "cloud-only"
WAIT = 60.0  # seconds for the last answer
UNDER_WAY = 64  # windows asked about and not answered
PACE = 0.005  # seconds between two: rumqttd forgets to go on delivering now and then under a flood


def ask_cloud(
    found: list[Recording], manifest: Manifest, observer: Observer, url: str, stream: str
) -> dict[tuple[str, int], str | None]:
    """What the cloud says of each window.

    Args:
        found: recordings.
        manifest: the model.
        observer: sees the Results.
        url: MQTT 3.1.1 broker.
        stream: stream of the route.

    Returns:
        By recording and first row: the cloud's label, None where the cloud did not answer.
    """
    where = urlsplit(url)
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=DEVICE, protocol=paho.MQTTv311)
    client.connect(where.hostname or "127.0.0.1", where.port or 1883)
    client.loop_start()
    wanted: list[tuple[str, int]] = []
    for recording in found:
        values = recording.values()
        for start in recording.starts(manifest):
            window = values[start : start + manifest.input.rows]
            payload = encode_observation(Observation(window, seq=start, epoch=recording.name), Format.CBOR)
            client.publish(topics.data(SITE, DEVICE, stream), payload, qos=1)
            time.sleep(PACE)
            wanted.append((recording.name, start))
            _wait_for(observer, len(wanted) - UNDER_WAY)
    _wait_for(observer, len(wanted))
    client.disconnect()
    client.loop_stop()
    results = observer.seen(DEVICE).results
    return {
        window: results[window].label if window in results and results[window].tier == "cloud" else None
        for window in wanted
    }


def _wait_for(observer: Observer, count: int) -> None:
    """Wait until so many windows are answered, or nothing came for long."""
    end = time.monotonic() + WAIT
    while observer.count(DEVICE) < count and time.monotonic() < end:
        time.sleep(0.005)
