"""What the choice between ways asks of the MQTT uplink, on real brokers: questions, QoS 0, receipts on and off."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from bridge import topics
from bridge.errors import LinkError
from bridge.messages import Error, Receipt
from bridge.wire.answers import encode_answer
from edge_agent.config import parse_url
from edge_agent.dialling import Dialler, Unanswered
from edge_agent.login import Login
from edge_agent.mqtt import AT_ONCE, PERSISTENCE, SHORT, MqttUplink
from tests.support.cut import TcpCut, tcp_cut
from tests.support.peers import Peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.brokers import RunningBroker

pytestmark = pytest.mark.real


class Heard:
    """A listener that can be waited for."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.up = 0
        self.ends: list[str] = []
        self.receipts: list[list[tuple[int, int]]] = []

    def connected(self, *, fresh: bool) -> None:  # noqa: ARG002 # as every listener
        self.up += 1
        self.came.set()

    def disconnected(self, why: str) -> None:
        self.ends.append(why)
        self.came.set()

    def receipt(self, _stream: str, receipt: Receipt) -> None:
        self.receipts.append(list(receipt.safe))
        self.came.set()

    def refusal(self, error: Error) -> None:
        raise AssertionError(error)

    async def until(self, true: Any) -> None:
        async with asyncio.timeout(10):
            while not true():
                self.came.clear()
                await self.came.wait()


@contextlib.asynccontextmanager
async def uplink(url: str, protocol: str = "5") -> AsyncIterator[tuple[MqttUplink, Heard]]:
    made = MqttUplink(Login(url=parse_url(url), client_id="x", protocol=protocol), site="s", device="d")
    heard = Heard()
    task = asyncio.create_task(made.run(heard))
    await heard.until(lambda: heard.up)
    yield made, heard
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await made.close()


@pytest.fixture(params=["mosquitto-5", "mosquitto-3.1.1", "embedded-5", "embedded-3.1.1"])
def address(request: pytest.FixtureRequest) -> tuple[str, str]:
    """URL and protocol version."""
    name, _, protocol = request.param.partition("-")
    broker: RunningBroker = request.getfixturevalue(name)
    return broker.url if protocol == "5" else broker.url311, protocol


async def test_every_broker_answers_and_the_kernel_tells(address: tuple[str, str]) -> None:
    async with uplink(*address) as (made, _):
        for _ in range(3):
            async with asyncio.timeout(5):
                await made.ask()
        info = made.kernel()
        assert info is not None
        assert info.segments >= 3
        assert 0 < info.rtt < 1
        assert made.asked == 3
    assert not made.is_up
    with pytest.raises(LinkError):
        await made.ask()
    with pytest.raises(LinkError):
        made.post("wrist", b"{}")


async def test_receipts_come_only_while_they_are_wanted(address: tuple[str, str]) -> None:
    url, protocol = address
    async with uplink(url, protocol) as (made, heard):
        with Peer(url, "edge/v1/s/d/data/+", version=int(protocol[0])) as peer:
            for number, wanted in enumerate((True, False, False, True)):
                made.listen(wanted=wanted)
                await made.ask()  # answered after what was asked before
                receipt = encode_answer(Receipt("e", [(number, number)]))
                await asyncio.to_thread(peer.publish, topics.receipt("s", "d", "wrist"), receipt)
            await heard.until(lambda: len(heard.receipts) == 2)
            made.post("wrist", b'{"values": [[1]]}')
            found = await asyncio.to_thread(peer.expect, topics.data("s", "d", "wrist"))
    assert heard.receipts == [[(0, 0)], [(3, 3)]]
    assert found[0].payload == b'{"values": [[1]]}'


async def test_connections_that_were_only_tried_harm_no_broker(address: tuple[str, str]) -> None:
    url, _ = address
    async with uplink(*address) as (made, heard):
        for _ in range(5):
            (await Dialler(parse_url(url)).dial(patience_s=5.0)).close()
        async with asyncio.timeout(5):
            await made.ask()
    async with uplink(*address):
        pass
    assert heard.ends == []


async def test_a_connection_that_has_ended_holds_no_socket(mosquitto: RunningBroker) -> None:
    async with uplink(mosquitto.url) as (made, heard):
        assert made._connection is not None
        dropped = made._connection._client
        made.drop("silent")
        await heard.until(lambda: heard.up == 2)
        closed = made._connection._client
        assert closed._sockpairR is not None
    for client in (dropped, closed):
        assert (client.socket(), client._sockpairR, client._sockpairW) == (None, None, None)


@pytest.mark.parametrize("how", ["dropped", "closed"])
async def test_a_connection_that_takes_no_more_bytes_holds_nobody_up(relay: TcpCut, how: str) -> None:
    async with uplink(f"mqtt://127.0.0.1:{relay.port}") as (made, heard):
        connection = made._connection
        assert connection is not None
        relay.cut()
        made.post("wrist", bytes(1 << 26))  # more than the kernels take
        await asyncio.sleep(0.3)
        began = time.monotonic()
        if how == "dropped":
            made.drop("silent")
            await heard.until(lambda: heard.ends)
            while connection._client.socket() is not None or connection._client._sockpairR is not None:
                await asyncio.sleep(0.01)
                assert time.monotonic() - began < 5
    assert time.monotonic() - began < 5


@pytest.fixture
async def relay(mosquitto: RunningBroker) -> AsyncIterator[TcpCut]:
    async with tcp_cut(mosquitto.port) as made:
        yield made


async def test_a_connection_that_is_dropped_is_dialled_again(relay: TcpCut) -> None:
    async with uplink(f"mqtt://127.0.0.1:{relay.port}") as (made, heard):
        relay.cut()
        question = asyncio.create_task(made.ask())
        await asyncio.sleep(0)
        made.drop("silent")
        with pytest.raises(LinkError, match="silent"):
            await question
        await heard.until(lambda: heard.ends == ["silent"])
        relay.mend()
        made.hurry()
        await heard.until(lambda: heard.up == 2)
        assert relay.opened == 2
        await made.tell({"profile": "x"})
    made.drop("nothing to drop")


async def test_receipts_come_on_the_next_connection_too_which_begins_at_once(mosquitto: RunningBroker) -> None:
    with Peer(mosquitto.url, "edge/v1/s/d/data/+") as peer:
        async with uplink(mosquitto.url) as (made, heard):
            for number in range(3):
                rows = [(number, number)]
                await made.ask()  # answered after the subscription
                receipt = encode_answer(Receipt("e", rows))
                await asyncio.to_thread(peer.publish, topics.receipt("s", "d", "wrist"), receipt)
                await heard.until(lambda: rows in heard.receipts)  # noqa: B023 # called in this turn only
                made.drop("silent")  # resets: a receipt that the broker was not told of yet comes again
                await heard.until(lambda: heard.up == number + 2)  # noqa: B023


async def test_while_a_link_is_gone_there_is_next_to_no_pause_and_a_broker_that_refuses_gets_the_long_one() -> None:
    made = MqttUplink(Login(url=parse_url("mqtt://127.0.0.1:1"), client_id="x"), site="s", device="d")
    silent, refused = Unanswered("no answer"), LinkError("refused")
    assert made._pause_after(silent, 8, 10.0) > SHORT, "nobody ever answered there"
    made._heard = time.monotonic()
    assert made._pause_after(silent, 8, 10.0) <= AT_ONCE
    assert AT_ONCE < made._pause_after(silent, 8, 0.0) <= SHORT
    assert made._pause_after(refused, 8, 10.0) > SHORT
    made._heard -= PERSISTENCE
    assert made._pause_after(silent, 8, 10.0) > SHORT


async def test_a_broker_that_stalls_again_and_again_gets_more_time_each_time() -> None:
    made = MqttUplink(Login(url=parse_url("mqtt://127.0.0.1:1"), client_id="x"), site="s", device="d")
    made._came_up = True
    given = []
    for more in (True, True, True, True, True, True, False, True):
        made._be_lenient(more)
        given.append(made._leniency)
    assert given == [1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 0.0, 1.0]
