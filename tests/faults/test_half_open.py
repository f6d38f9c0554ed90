"""A connection to a real broker falls silent, without RST or FIN: how long until the agent notices and goes on.

The bound is 3 round trips and 1 s. Time here is real, so a loaded machine gets `SLACK` on top; on an idle one the agent
takes 0.9 s, and without watching it would take the kernel's time-out or the publish's, 20 s.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from bridge import topics
from bridge.errors import LinkError
from bridge.link import Estimator
from bridge.wire.formats import Format
from edge_agent.config import parse_url
from edge_agent.login import Login
from edge_agent.mqtt import MqttUplink
from edge_agent.uplink import TAKEN
from edge_agent.ways import MqttWay
from tests.support.cut import tcp_cut
from tests.support.peers import Peer
from tests.support.relay import TcpRelay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.messages import Error, Receipt
    from tests.support.brokers import RunningBroker

pytestmark = pytest.mark.real

BOUND, SLACK = 1.0, 1.5  # seconds
PAYLOAD = b'{"values": [[1]]}'


class Heard:
    """A listener that notes when what came."""

    def __init__(self) -> None:
        self.ups: list[float] = []
        self.ends: list[tuple[float, str]] = []
        self._came = asyncio.Event()

    def connected(self, *, fresh: bool) -> None:  # noqa: ARG002 # as every listener
        self.ups.append(asyncio.get_running_loop().time())
        self._came.set()

    def disconnected(self, why: str) -> None:
        self.ends.append((asyncio.get_running_loop().time(), why))
        self._came.set()

    def receipt(self, _stream: str, _receipt: Receipt) -> None: ...

    def refusal(self, error: Error) -> None:
        raise AssertionError(error)

    async def until(self, true: Any) -> None:
        async with asyncio.timeout(20):
            while not true():
                self._came.clear()
                await self._came.wait()


@pytest.fixture(params=["plain", "way"])
def kind(request: pytest.FixtureRequest) -> str:
    """As `url` alone makes it, and as one of the ways between which the link decides."""
    return str(request.param)


@contextlib.asynccontextmanager
async def uplink(port: int, kind: str) -> AsyncIterator[tuple[MqttUplink, Heard]]:
    made = MqttUplink(Login(url=parse_url(f"mqtt://127.0.0.1:{port}"), client_id=f"half-{port}"), site="s", device="d")
    heard, clock = Heard(), asyncio.get_running_loop().time
    way = MqttWay(made, tell=Estimator().on, clock=clock, name_bytes=30, patience=20.0)
    task = asyncio.create_task(made.run(heard) if kind == "plain" else way.run(heard))
    await heard.until(lambda: heard.ups)
    assert await made.send("wrist", PAYLOAD, Format.JSON) == TAKEN
    yield made, heard
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await made.close()


async def test_an_agent_that_the_broker_forgot_notices_and_gets_through(mosquitto: RunningBroker, kind: str) -> None:
    topic = topics.data("s", "d", "wrist")
    with TcpRelay(mosquitto.port) as relay, Peer(mosquitto.url, topic) as peer:
        async with uplink(relay.port, kind) as (made, heard):
            trip = made.kernel()
            assert trip is not None
            relay.half_open()
            began = asyncio.get_running_loop().time()
            with pytest.raises(LinkError, match="half-open"):
                await made.send("wrist", PAYLOAD, Format.JSON)
            await heard.until(lambda: heard.ends)
            assert heard.ends[0][0] - began <= 3 * trip.rtt + BOUND + SLACK
            await heard.until(lambda: len(heard.ups) == 2)
            assert heard.ups[1] - heard.ends[0][0] <= BOUND + SLACK
            assert await made.send("wrist", PAYLOAD, Format.JSON) == TAKEN
        found = await asyncio.to_thread(peer.expect, topic, 2)
    assert len(found) == 2


async def test_what_needs_no_puback_is_missed_as_soon(mosquitto: RunningBroker) -> None:
    with TcpRelay(mosquitto.port) as relay:
        async with uplink(relay.port, "plain") as (made, heard):
            relay.half_open()
            began = asyncio.get_running_loop().time()
            made.post("wrist", PAYLOAD)
            await heard.until(lambda: heard.ends)
            assert heard.ends[0][0] - began <= BOUND + SLACK
            assert "half-open" in heard.ends[0][1]
            await heard.until(lambda: len(heard.ups) == 2)


async def test_silence_on_all_connections_and_the_return(mosquitto: RunningBroker, kind: str) -> None:
    async with tcp_cut(mosquitto.port) as relay, uplink(relay.port, kind) as (made, heard):
        relay.cut()
        began = asyncio.get_running_loop().time()
        with pytest.raises(LinkError, match="half-open"):
            await made.send("wrist", PAYLOAD, Format.JSON)
        await heard.until(lambda: heard.ends)
        assert heard.ends[0][0] - began <= BOUND + SLACK
        relay.mend()
        back = asyncio.get_running_loop().time()
        await heard.until(lambda: len(heard.ups) == 2)
        assert heard.ups[1] - back <= BOUND + SLACK
        assert await made.send("wrist", PAYLOAD, Format.JSON) == TAKEN
