"""Rows that overtake each other are put in order; a gap is waited for, within bounds; rows after that are late."""

from __future__ import annotations

import asyncio
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
    HOP,
    KEPT,
    SITE,
    STREAM,
    Listener,
    bridge_toml,
    dice,
    expect,
    free_udp_port,
    rows_of,
    seeds,
    until,
)
from tests.support.programs import start_bridge

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.messages import Rows
    from tests.support.fleet import Expected

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]


async def post(client: CoapClient, device: str, values: Rows, first: int, end: int) -> str:
    """Post rows until the bridge says something definite."""
    payload = encode_observation(Observation(values[first:end], seq=first, epoch="e1"), Format.CBOR)
    while True:
        code = (await client.post(topics.data(SITE, device, STREAM), payload, 60)).code
        if code != "overload":
            return code
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("seed", seeds(2))
def test_shuffled_posts(tmp_path: Path, seed: int) -> None:
    """Four devices post rows up to 40 messages out of order; some rows come twice, packed otherwise."""
    random, port = dice(seed), free_udp_port()

    async def device(name: str, values: Rows) -> None:
        messages = [(first, min(len(values), first + 30)) for first in range(0, len(values), 30)]
        messages += [(first, first + 50) for first in random.sample(range(len(values) - 50), 5)]
        order = sorted(messages, key=lambda message: message[0] + random.uniform(0, 1_200))
        client = CoapClient(f"coap://127.0.0.1:{port}", window=4)
        try:
            codes = await asyncio.gather(*(post(client, name, values, *message) for message in order))
        finally:
            await client.close()
        assert set(codes) == {"changed"}

    async def all_of_them() -> None:
        await asyncio.gather(*(device(f"c{i}", rows_of(i, 1_500)) for i in range(4)))

    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        start_bridge(tmp_path, bridge_toml(broker.url, coap=port, limits="gap = 20.0")) as bridge,
        Listener(broker.url) as listener,
    ):
        asyncio.run(all_of_them())
        expected: dict[str, Expected] = {}
        for i in range(4):
            expected |= expect(f"c{i}", "e1", rows_of(i, 1_500))
        listener.wait_for(expected, 15, lambda: f"seed {seed}\n{bridge.stderr[-2000:]}")
        counts = listener.check(expected)
        assert counts == {"bridge": len(expected)}
        assert listener.errors == []


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "killed-in-the-gap"])
def test_a_gap_is_waited_for_and_then_given_up(tmp_path: Path, restarted: bool) -> None:
    """The windows behind it come after the wait; the rows, when they come at last, are refused as stale."""
    port, gap = free_udp_port(), 1.0
    values = rows_of(3, 1_000)
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        start_bridge(tmp_path, bridge_toml(broker.url, coap=port, limits=f"gap = {gap}")) as bridge,
        Listener(broker.url) as listener,
    ):

        def send(*ranges: tuple[int, int]) -> list[str]:
            async def sending() -> list[str]:
                client = CoapClient(f"coap://127.0.0.1:{port}")
                try:
                    return [await post(client, "c0", values, *one) for one in ranges]
                finally:
                    await client.close()

            return asyncio.run(sending())

        assert send((0, 300), (310, 500)) == ["changed", "changed"]
        missed_at = time.monotonic()
        before, after = expect("c0", "e1", values, (0, 64, 128)), expect("c0", "e1", values, (320,))
        listener.wait_for(before, 5)
        assert not listener.ids & set(after), "the gap was not waited for"
        if restarted:
            bridge.restart()
            assert send((500, 600)) == ["changed"]  # a plain device goes on, and the bridge knows that it is one
            after |= expect("c0", "e1", values, (384, 448))
        listener.wait_for(after, 10, lambda: bridge.stderr[-2000:])
        if not restarted:
            assert gap - 0.1 <= time.monotonic() - missed_at <= gap + 1.0
            assert send((500, 600)) == ["changed"]
            after |= expect("c0", "e1", values, (384, 448))
        if restarted:
            bridge.restart()  # what was given up outlives the process
        assert send((300, 310)) == ["malformed"]
        until(lambda: listener.errors, 5, "no Error")
        topic, error = listener.errors[0]
        assert topic == topics.error(SITE, "c0")
        assert (error["reason"], error["seq"]) == ("stale", 300)
        assert "300–309" in error["detail"]
        listener.wait_for(after, 5)
        assert send((600, 1_000)) == ["changed"]
        rest = expect("c0", "e1", values, range(320, 1_000 - 127, HOP))
        listener.wait_for(rest, 5)
        listener.check(before | rest)


def test_windows_that_span_a_gap_never_come(tmp_path: Path) -> None:
    """Every second message is lost for ever: rows that never make 128 in a row give nothing, and nothing is stuck."""
    port = free_udp_port()
    values = rows_of(4, 2_000)
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        start_bridge(tmp_path, bridge_toml(broker.url, coap=port, limits="gap = 0.3")) as bridge,
        Listener(broker.url) as listener,
    ):

        async def sending() -> None:
            client = CoapClient(f"coap://127.0.0.1:{port}")
            try:
                for first in range(0, 1_000, 100):
                    await post(client, "c0", values, first, first + 50)
                await post(client, "c0", values, 1_000, 2_000)
            finally:
                await client.close()

        asyncio.run(sending())
        rest = expect("c0", "e1", values, range(1_024, 2_000 - 127, HOP))
        listener.wait_for(rest, 10, lambda: bridge.stderr[-2000:])
        assert listener.check(rest) == {"bridge": len(rest)}
