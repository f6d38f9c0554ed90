"""QoS 2, Topic Aliases and the round trips of PUBACKs with real brokers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from bridge.mqtt.connection import Connection
from bridge.mqtt.endpoint import Endpoint
from bridge.mqtt.messages import Acked, Delivery, Publish, Settings
from tests.support.brokers import HOST, RunningBroker
from tests.support.paho_client import client, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SOON = 8.0


class Line:
    """A connection that runs, what came over it, and what its PUBACKs told."""

    def __init__(self, port: int, name: str = "me", **settings: Any) -> None:
        self.got: list[Delivery] = []
        self.acked: list[Acked] = []
        self.connected = 0
        self.acknowledging = True
        self.connection = Connection(
            Endpoint(HOST, port),
            Settings(name, subscriptions=("t/+",), **settings),
            self._received,
            on_connected=self._connected,
            on_acknowledged=self.acked.extend,
        )
        self.running = asyncio.ensure_future(self.connection.run())

    def _received(self, deliveries: list[Delivery]) -> None:
        self.got += deliveries
        if self.acknowledging:
            self.connection.acknowledge(deliveries)

    def _connected(self, _: object) -> None:
        self.connected += 1

    @property
    def session(self) -> Any:
        return self.connection.session

    @property
    def heard(self) -> list[tuple[str, bytes, int]]:
        return [(delivery.topic, delivery.payload, delivery.qos) for delivery in self.got]


@pytest.fixture
async def line() -> AsyncIterator[Callable[..., Line]]:
    """Opens connections, and closes them at the end."""
    lines: list[Line] = []

    def opened(port: int, **more: Any) -> Line:
        lines.append(Line(port, **more))
        return lines[-1]

    yield opened
    for one in lines:
        await one.connection.close()
        with contextlib.suppress(asyncio.CancelledError):
            await one.running


async def ready(line: Line) -> None:
    async with asyncio.timeout(SOON):
        await line.connection.ready()


async def test_qos_2_is_handed_over_and_released(broker: RunningBroker, line: Callable[..., Line]) -> None:
    me = line(broker.port, qos=2)
    await ready(me)
    with client("t/a", broker.url, MQTTProtocolVersion.MQTTv5, "device") as device:
        await until(lambda: device.subscribed)
        sent = [device.paho.publish("t/a", b"%d" % number, qos=2) for number in range(100)]
        await until(lambda: len(me.got) == 100)
        await until(lambda: all(one.is_published() for one in sent))
    assert me.heard == [("t/a", b"%d" % number, 2) for number in range(100)]
    await until(lambda: not me.session._receiver._held)  # each has been released


async def across_a_broken_link(url: str, me: Line) -> None:
    """Three messages, of which one is acknowledged before the link breaks and two after."""
    me.acknowledging = False
    await ready(me)
    with client("t/a", url, MQTTProtocolVersion.MQTTv5, "device") as device:
        await until(lambda: device.subscribed)
        for number in range(3):
            device.paho.publish("t/a", b"%d" % number, qos=2)
        await until(lambda: len(me.got) == 3)
        me.connection.acknowledge(me.got[:1])
        await until(lambda: len(me.session._receiver._held) == 2)
        assert me.connection._transport is not None
        me.connection._transport.abort()
        await until(lambda: me.connected == 2, SOON)
        await until(lambda: me.session.unacknowledged == 2)  # the two came again
        me.connection.acknowledge(me.got[1:])
        await until(lambda: me.session.unacknowledged == 0)


@pytest.mark.real
async def test_qos_2_is_handed_over_once_across_a_broken_link(
    mosquitto: RunningBroker, line: Callable[..., Line]
) -> None:
    me = line(mosquitto.port, qos=2)
    await across_a_broken_link(mosquitto.url, me)
    await until(lambda: not me.session._receiver._held)
    assert [payload for _, payload, _ in me.heard] == [b"0", b"1", b"2"]


async def test_rumqttd_numbers_qos_2_anew_on_the_next_connection_so_it_comes_twice(
    embedded: RunningBroker, line: Callable[..., Line]
) -> None:
    """Against [MQTT-4.4.0-1]. Nothing is lost: what comes under another's packet id counts as new."""
    me = line(embedded.port, qos=2)
    await across_a_broken_link(embedded.url, me)
    assert [payload for _, payload, _ in me.heard] == [b"0", b"1", b"2", b"1", b"2"]
    assert [delivery.packet_id for delivery in me.got] == [1, 2, 3, 1, 2]


async def test_what_is_published_at_qos_1_arrives_as_the_broker_has_it(
    broker: RunningBroker, line: Callable[..., Line]
) -> None:
    """Section 3.8.4: the lower of both; rumqttd takes the subscription's, and raises."""
    me = line(broker.port, qos=2)
    await ready(me)
    me.connection.publish([Publish("t/a", b"x")])
    await until(lambda: me.got)
    assert me.heard == [("t/a", b"x", 2 if broker.name == "embedded" else 1)]


async def test_qos_2_comes_down_to_a_subscription_at_qos_1(broker: RunningBroker, line: Callable[..., Line]) -> None:
    me = line(broker.port)
    await ready(me)
    with client("t/a", broker.url, MQTTProtocolVersion.MQTTv5, "device") as device:
        await until(lambda: device.subscribed)
        device.paho.publish("t/a", b"x", qos=2)
        await until(lambda: me.got)
    assert me.heard == [("t/a", b"x", 1)]


async def test_the_broker_understands_our_aliases(broker: RunningBroker, line: Callable[..., Line]) -> None:
    me = line(broker.port, aliases=2)
    await ready(me)
    sent = [(f"t/{number % 3}", b"%d" % number, 1) for number in range(30)]
    me.connection.publish([Publish(topic, payload) for topic, payload, _ in sent])
    await until(lambda: len(me.got) == 30)
    assert me.heard == sent
    first, known, plain = (me.acked[at].size for at in (0, 3, 2))
    assert (first - plain, plain - known) == (3, 0)  # t/0 is so short that an alias saves nothing


async def test_rumqttd_passes_a_publisher_s_alias_on_as_the_subscriber_s(
    embedded: RunningBroker, line: Callable[..., Line]
) -> None:
    """Why `topic_alias_maximum` is 0 unless asked for: messages arrive under another message's topic."""
    me, other = line(embedded.port, topic_alias_maximum=10), line(embedded.port, name="other", aliases=1)
    await ready(me)
    await ready(other)
    me.connection.publish([Publish("t/a", b"a")])
    await until(lambda: len(me.got) == 1)
    other.connection.publish([Publish("t/b", b"b")])
    await until(lambda: len(me.got) == 2)
    assert me.heard == [("t/a", b"a", 1), ("t/a", b"b", 1)]
    assert other.heard == [("t/a", b"a", 1), ("t/b", b"b", 1)]


async def test_rumqttd_drops_a_3_1_1_subscriber_of_what_we_abbreviate(
    embedded: RunningBroker, line: Callable[..., Line]
) -> None:
    """Why `aliases` is 0 unless asked for."""
    with client("t/a", embedded.url311, MQTTProtocolVersion.MQTTv311, "old") as old:
        await until(lambda: old.subscribed)
        me = line(embedded.port, aliases=2)
        await ready(me)
        me.connection.publish([Publish("t/a", b"x")])
        await until(lambda: old.lost)
    assert old.received == []


async def test_each_puback_tells_its_round_trip(broker: RunningBroker, line: Callable[..., Line]) -> None:
    me = line(broker.port)
    await ready(me)
    me.connection.publish([Publish("t/a", bytes(100)) for _ in range(50)])
    assert me.session.bytes_in_flight > 0
    await until(lambda: len(me.acked) == 50)
    assert me.session.bytes_in_flight == 0
    assert {(one.size, one.ambiguous) for one in me.acked} == {(110, False)}
    assert all(0 < one.round_trip < SOON for one in me.acked)
