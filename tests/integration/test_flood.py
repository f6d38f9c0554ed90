"""More than the bridge can compute: one device floods, the others do not feel it; what would be late is refused."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bridge import topics
from bridge.catalog import load_manifest
from bridge.messages import Observation, SeriesKey, window_id
from bridge.runtime.load import load
from bridge.runtime.machine import cores, lanes
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
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
    recordings,
    rows_of,
    until,
)
from tests.support.models import SLOW_CHANNELS, SLOW_ROWS, make_slow
from tests.support.peers import Peer
from tests.support.programs import start_bridge
from tests.support.standin import Tap

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

AHEAD = f"{KEPT}\nmax_inflight_messages 0"  # Mosquitto sends all it has: what waits, waits at the bridge
BIGGEST = 43_000  # rows: 1.03 MB, just below the limit of a message
FLOOD = 28  # such messages
LANES = lanes(1, cores())  # of the bridge
LENIENT = 1.25  # times the deadline: the machine may have become slower than the warm-up saw; test_lanes is exact


def test_a_flood_of_the_biggest_messages_does_not_starve_a_lone_window(tmp_path: Path) -> None:
    """The lone device publishes when the broker has the whole flood; most of that is unanswered when it is answered."""
    flood = np.resize(np.concatenate(recordings()), (FLOOD * BIGGEST, 6))
    windows = len(range(0, len(flood) - WINDOW + 1, HOP))
    values = rows_of(1, WINDOW + 4 * HOP)
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=AHEAD) as broker,
        start_bridge(tmp_path, bridge_toml(broker.url)) as bridge,
        Listener(broker.url) as listener,
        Peer(broker.url) as lone,
    ):
        device = Device(broker.url, "flood", flood, pack=BIGGEST, bound=FLOOD)
        try:
            device.start()
            until(lambda: device.done, 20, "the broker does not take the flood")
            for first, end in [(0, WINDOW), *((WINDOW + i * HOP, WINDOW + (i + 1) * HOP) for i in range(4))]:
                payload = encode_observation(Observation(values[first:end], seq=first, epoch="e1"), Format.CBOR)
                lone.publish(topics.data(SITE, "lone", STREAM), payload)
            until(lambda: len(listener.results) == windows + 5, 40, lambda: f"{len(listener.results)} of {windows + 5}")
        finally:
            device.stop()
        devices = [result["device"] for result in listener.results]
        last = len(devices) - 1 - devices[::-1].index("lone")
        assert last < windows / 2, f"{last} of {windows} Results of the flood came before the lone device's last"
        assert devices.count("lone") == 5
        assert listener.errors == []
        assert bridge.rss_mib < 400


def window_of(number: int) -> bytes:
    """A whole window of the slow model; odd ones add up to less than nothing."""
    values = np.full((SLOW_ROWS, SLOW_CHANNELS), -0.1 if number % 2 else 0.1, np.float32)
    return encode_observation(Observation(values, seq=number, epoch="e1"), Format.CBOR)


def id_of(device: str, number: int) -> str:
    return window_id(SeriesKey(SITE, device, STREAM, "e1"), number, "slow")


def test_over_capacity_each_window_is_answered_in_time_or_refused_as_stale(tmp_path: Path) -> None:
    """Three times what the lanes can compute, and beside it a device that asks for little and gets all of it."""
    models = tmp_path / "models"
    manifest = load_manifest(make_slow(models))
    seconds = load(manifest, manifest.for_tier("bridge")).run_seconds(1)
    count, deadline = 150 * LANES, 16 * seconds
    config = bridge_toml("URL", windows="whole", deadline=deadline, limits="errors = 1e6").replace(MODEL, "slow")
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=AHEAD) as broker,
        Tap(broker.port) as tap,
        start_bridge(
            tmp_path, config.replace("URL", tap.url).replace("[bridge]", '[bridge]\nmodels = "models"')
        ) as bridge,
        Listener(broker.url) as listener,
        Peer(broker.url) as flood,
        Peer(broker.url) as lone,
    ):
        before = bridge.rss_mib
        asked = itertools.count()
        over = threading.Event()

        def ask_for_little() -> None:
            while not over.wait(4 * seconds):
                lone.publish(topics.data(SITE, "lone", STREAM), window_of(next(asked)))

        thread = threading.Thread(target=ask_for_little)
        thread.start()
        try:
            for number in range(count):
                flood._client.publish(topics.data(SITE, "flood", STREAM), window_of(number), 1)
                time.sleep(seconds / LANES / 3)  # the load itself, not a wait for something
        finally:
            over.set()
            thread.join(20)
        little = next(asked)

        def told() -> int:
            return len(listener.results) + len(listener.errors)

        until(lambda: told() >= count + little, 20, lambda: f"{told()} of {count + little} are answered or refused")
        until(lambda: len(tap.of("acked", "/data/")) == count + little, 10, "not all are acknowledged")
        _check(listener, count, little, deadline)
        assert bridge.rss_mib < before + 100


def _check(listener: Listener, count: int, little: int, deadline: float) -> None:
    answered = {result["id"]: result for result in listener.results}
    refused = {(topic.split("/")[3], error["seq"]) for topic, error in listener.errors}
    assert {error["reason"] for _, error in listener.errors} == {"stale"}
    assert len(answered) == len(listener.results)
    assert not refused & {(result["device"], result["seq"]) for result in listener.results}
    asked = [("flood", number) for number in range(count)] + [("lone", number) for number in range(little)]
    for who in asked:
        assert (who in refused) != (id_of(*who) in answered), f"{who} is neither answered nor refused, or both"
    for result in listener.results:
        assert result["label"] == ("no" if result["seq"] % 2 else "yes")
    for device in ("flood", "lone"):
        seqs = [result["seq"] for result in listener.results if result["device"] == device]
        assert seqs == sorted(seqs)
    by_device: dict[str, list[Any]] = {"flood": [], "lone": []}
    for result in listener.results:
        by_device[result["device"]].append(result["latency_ms"] <= 1e3 * LENIENT * deadline)
    assert len(by_device["flood"]) >= count / 30, "goodput collapsed"
    assert sum(by_device["flood"]) >= 0.5 * len(by_device["flood"]), "answers come when they help no more"
    assert len(by_device["lone"]) >= 0.6 * little, "the flood took the lone device's turns"
