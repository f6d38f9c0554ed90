"""The journal's disk refuses: nothing is acknowledged, it says so, and it goes on by itself when there is room."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from typing import TYPE_CHECKING

import pytest

from bridge import topics
from bridge.coap.client import CoapClient
from bridge.messages import Observation
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from tests.support.brokers import start_mosquitto
from tests.support.fleet import (
    KEPT,
    SITE,
    STREAM,
    Listener,
    bridge_toml,
    free_udp_port,
    mixed_fleet,
    rows_of,
    stop_all,
    until,
)
from tests.support.programs import start_bridge
from tests.support.standin import Tap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.programs import RunningProgram

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]


@contextlib.contextmanager
def full_disk(bridge: RunningProgram) -> Iterator[None]:
    """No file of that process may grow beyond 16 kB: room for its log, none for its journal; needs no root."""
    _, hard = resource.prlimit(bridge.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(bridge.pid, resource.RLIMIT_FSIZE, (16_384, hard))
    try:
        yield
    finally:
        if bridge.running:
            resource.prlimit(bridge.pid, resource.RLIMIT_FSIZE, (hard, hard))


async def post(port: int, seq: int, *, timeout_s: float = 3.0) -> str:
    """Answer to a CoAP post of 128 rows, in the contract's words."""
    client = CoapClient(f"coap://127.0.0.1:{port}", timeout_s=timeout_s)
    try:
        seen = Observation(rows_of(0, 128), seq=seq, epoch="c1")
        path = topics.data(SITE, "coaper", STREAM)
        return (await client.post(path, encode_observation(seen, Format.CBOR), 60)).code
    finally:
        await client.close()


@pytest.mark.parametrize("killed", [False, True], ids=["room-again", "killed-while-full"])
def test_nothing_is_acknowledged_while_the_disk_refuses(tmp_path: Path, killed: bool) -> None:
    port = free_udp_port()
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        Tap(broker.port) as tap,
        start_bridge(tmp_path, bridge_toml(tap.url, coap=port)) as bridge,
        Listener(broker.url) as listener,
    ):
        devices, expected = mixed_fleet(broker.url, 4, 900, packs=(25, 128), pace=lambda pack: 3.0 * pack / 900)
        assert asyncio.run(post(port, 0)) == "changed"
        try:
            for device in devices:
                device.start()
            until(lambda: tap.of("acked", "/data/"), 5, "nothing acknowledged at all")
            with full_disk(bridge):
                bridge.says("nothing is acknowledged until it can be written")
                assert asyncio.run(post(port, 128)) == "overload"
                before = len(tap.of("acked", "/data/"))
                came = len(tap.of("came", "/data/"))
                time.sleep(1.0)  # that nothing happens takes time to see
                assert len(tap.of("acked", "/data/")) == before
                assert came > before
                if killed:
                    bridge.kill()
            if killed:
                bridge.start()
            else:
                bridge.says("the journal takes writes again")
            listener.wait_for(expected, 20, lambda: bridge.stderr[-3000:])
            assert asyncio.run(post(port, 256)) == "changed"
        finally:
            stop_all(devices)
        results = [result for result in listener.results if result["device"] != "coaper"]
        listener.results[:] = results
        listener.check(expected)
        assert listener.errors == []


def test_sigterm_with_a_full_disk_ends_it(tmp_path: Path) -> None:
    """It cannot make anything safe any more: it says so and ends, and the broker keeps what it did not acknowledge."""
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        Tap(broker.port) as tap,
        start_bridge(tmp_path, bridge_toml(tap.url)) as bridge,
        Listener(broker.url) as listener,
    ):
        devices, expected = mixed_fleet(broker.url, 2, 600, packs=(25,), pace=lambda _: 0.02)
        try:
            for device in devices:
                device.start()
            until(lambda: tap.of("acked", "/data/"), 5, "nothing acknowledged at all")
            with full_disk(bridge):
                bridge.says("nothing is acknowledged until it can be written")
                code = bridge.terminate()
            assert code in {0, 1}
            assert "Traceback" not in bridge.stderr
            bridge.start()
            listener.wait_for(expected, 15, lambda: bridge.stderr[-3000:])
        finally:
            stop_all(devices)
        listener.check(expected)
