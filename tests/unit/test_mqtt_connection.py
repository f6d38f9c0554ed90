"""The connection against real brokers: resumes, gives way, waits, and says what is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from typing import TYPE_CHECKING, Any

import mqtt5
import pytest

from bridge.errors import TakenOver
from bridge.mqtt.connection import Connection
from bridge.mqtt.endpoint import Endpoint
from bridge.mqtt.messages import Delivery, Publish, Settings
from tests.support.brokers import HOST, RunningBroker, TlsFiles, start_mosquitto
from tests.support.paho_client import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

# The first retries come after a quarter to half a second; a test waits at most this long.
SOON = 8.0


class Line:
    """A connection that runs, and what came over it."""

    def __init__(self, port: int, name: str, *topics: str, tls: ssl.SSLContext | None = None, **settings: Any) -> None:
        self.got: list[Delivery] = []
        self.acknowledging = True
        self.connected = 0
        asked = Settings(name, subscriptions=topics, **settings)
        self.connection = Connection(
            Endpoint("localhost" if tls else HOST, port, tls),
            asked,
            self._received,
            on_connected=self._connected,
            backlog=5,
        )
        self.running = asyncio.ensure_future(self.connection.run())

    def _received(self, deliveries: list[Delivery]) -> None:
        self.got += deliveries
        if self.acknowledging:
            self.connection.acknowledge(deliveries)

    def _connected(self, _: object) -> None:
        self.connected += 1

    @property
    def payloads(self) -> list[bytes]:
        return [delivery.payload for delivery in self.got]

    def publish(self, *payloads: bytes, topic: str = "t", codes: list[int] | None = None) -> None:
        done = None if codes is None else codes.append
        self.connection.publish([Publish(topic, payload, done=done) for payload in payloads])

    async def ready(self) -> None:
        async with asyncio.timeout(SOON):
            await self.connection.ready()

    async def drained(self) -> None:
        async with asyncio.timeout(SOON):
            await self.connection.drained()


@pytest.fixture
async def line() -> AsyncIterator[Callable[..., Line]]:
    """Opens connections, and closes them at the end."""
    lines: list[Line] = []

    def opened(port: int, name: str, *topics: str, **more: Any) -> Line:
        lines.append(Line(port, name, *topics, **more))
        return lines[-1]

    yield opened
    for one in lines:
        if not one.running.done():
            await one.connection.close()
        one.running.cancel()
        with contextlib.suppress(asyncio.CancelledError, TakenOver):
            await one.running
        if one.connection._transport is not None:  # it was just connecting when it was closed
            one.connection._transport.abort()
            await asyncio.sleep(0)


async def test_what_is_published_arrives_in_order(broker: RunningBroker, line: Callable[..., Line]) -> None:
    me = line(broker.port, "me", "t")
    await me.ready()
    assert me.connection.connected
    codes: list[int] = []
    sent = [b"%d" % number for number in range(500)]
    me.publish(*sent, codes=codes)
    assert me.connection.full
    await me.drained()
    await until(lambda: len(me.got) == 500)
    assert me.payloads == sent
    assert (codes, me.connection.full) == ([0] * 500, False)


async def test_what_was_not_acknowledged_comes_again_after_the_link_breaks(
    broker: RunningBroker, line: Callable[..., Line]
) -> None:
    me = line(broker.port, "me", "t")
    me.acknowledging = False
    await me.ready()
    me.publish(b"1", b"2", b"3")
    await until(lambda: len(me.got) == 3)
    one, two, three = me.got
    me.connection.acknowledge([one])
    await asyncio.sleep(0)
    transport = me.connection._transport
    assert transport is not None
    await me.drained()
    transport.close()
    await until(lambda: me.connected == 2, SOON)
    await until(lambda: len(me.got) == 5)
    assert me.payloads[3:] == [b"2", b"3"]
    me.connection.acknowledge([three, two])  # stale: these came on the old connection
    me.connection.acknowledge(me.got[3:])
    me.publish(b"4")
    await until(lambda: me.payloads[-1] == b"4")
    assert len(me.got) == 6
    assert me.connection.session.session_present


@pytest.mark.real
async def test_a_topic_for_which_mosquitto_ends_the_connection_is_refused_and_the_rest_arrives(
    mosquitto: RunningBroker, line: Callable[..., Line]
) -> None:
    me = line(mosquitto.port, "me", "t")
    await me.ready()
    good, bad = list[int](), list[int]()
    me.publish(b"1", b"2", codes=good)
    me.publish(b"3", topic="t" + "/a" * 201, codes=bad)
    me.publish(b"4", codes=good)
    await until(lambda: len(good) == 3 and len(bad) == 1, 2 * SOON)
    assert (good, bad) == ([0, 0, 0], [0x82])
    await until(lambda: {b"1", b"2", b"4"} <= set(me.payloads), SOON)


async def test_a_killed_broker_is_found_again_and_gets_what_waited(
    mosquitto: RunningBroker, line: Callable[..., Line]
) -> None:
    me = line(mosquitto.port, "me", "t")
    await me.ready()
    mosquitto.kill()
    await until(lambda: not me.connection.connected)
    codes: list[int] = []
    me.publish(b"1", b"2", codes=codes)
    assert codes == []
    mosquitto.start()
    await me.drained()
    await until(lambda: len(me.got) == 2, SOON)
    assert (me.payloads, len(codes), me.connected) == ([b"1", b"2"], 2, 2)
    assert not me.connection.session.session_present


@pytest.mark.real
async def test_a_broker_that_comes_later_is_found(tmp_path: Path, line: Callable[..., Line], free: int) -> None:
    me = line(free, "me")
    await until(lambda: me.connection._ended is not None and me.connection._ended.done())
    with start_mosquitto(tmp_path / "late", port=free):
        await me.ready()


@pytest.fixture
def free(tmp_path: Path) -> int:
    """A port where a broker was, and is no more."""
    with start_mosquitto(tmp_path / "gone") as broker:
        return broker.port


async def test_a_takeover_ends_it(line: Callable[..., Line]) -> None:
    """Told by hand: Mosquitto 2.0.11 and rumqttd drop the older twin without a word (see bridge.twins)."""
    taken = mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER)
    calls: list[bytes] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(await reader.read(4096))
        writer.write(mqtt5.ConnAckPacket().write())
        calls.append(await reader.read(4096))
        writer.write(taken.write())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, HOST, 0)
    async with server:
        me = line(server.sockets[0].getsockname()[1], "me")
        await me.ready()
        me.publish(b"1")
        with pytest.raises(TakenOver, match="'me'"):
            async with asyncio.timeout(SOON):
                await me.running
    assert (len(calls), me.connection.connected) == (2, False)


async def test_a_connection_that_ends_in_the_read_in_which_it_began_is_no_failure_to_connect(
    line: Callable[..., Line], caplog: pytest.LogCaptureFixture
) -> None:
    ended = mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.PROTOCOL_ERROR)

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(mqtt5.ConnAckPacket().write() + ended.write())
        writer.close()

    server = await asyncio.start_server(speak, HOST, 0)
    async with server:
        me = line(server.sockets[0].getsockname()[1], "me")
        await until(lambda: me.connection.session.connects >= 4, SOON)
    waits = [float(found) for found in re.findall(r"trying again in ([0-9.]+) s", caplog.text)]
    assert len(waits) >= 3
    assert max(waits) <= 0.25


@pytest.mark.real
async def test_where_the_older_twin_is_dropped_without_a_word_it_asks_whether_there_is_one(
    mosquitto: RunningBroker, line: Callable[..., Line], caplog: pytest.LogCaptureFixture
) -> None:
    await line(mosquitto.port, "me").ready()
    await line(mosquitto.port, "me").ready()
    await until(lambda: "does another client use the id 'me'?" in caplog.text, SOON)


@pytest.mark.real
async def test_a_refusal_is_logged_with_its_reason(
    tmp_path: Path, line: Callable[..., Line], caplog: pytest.LogCaptureFixture
) -> None:
    with start_mosquitto(tmp_path / "closed", password=("me", "right")) as broker:
        line(broker.port, "me", username="me", password=b"wrong")
        await until(lambda: "0x87 not authorized" in caplog.text)
        assert "trying again" in caplog.text
        assert "wrong" not in caplog.text
        right = line(broker.port, "other", username="me", password=b"right")
        await right.ready()


@pytest.mark.real
async def test_an_unknown_certificate_is_a_tls_failure(
    tmp_path: Path, tls_files: TlsFiles, line: Callable[..., Line], caplog: pytest.LogCaptureFixture
) -> None:
    with start_mosquitto(tmp_path / "tls", tls=tls_files) as broker:
        line(broker.port, "doubtful", tls=ssl.create_default_context())
        await until(lambda: "TLS failed" in caplog.text)
        assert "certificate verify failed" in caplog.text
        trusting = line(broker.port, "trusting", "t", tls=ssl.create_default_context(cafile=tls_files.ca))
        await trusting.ready()
        trusting.publish(b"1")
        await until(lambda: trusting.payloads == [b"1"])


async def test_while_paused_nothing_is_read_and_afterwards_everything(
    broker: RunningBroker, line: Callable[..., Line]
) -> None:
    me, other = line(broker.port, "me", "t"), line(broker.port, "other")
    await me.ready()
    await other.ready()
    me.connection.pause()
    other.publish(*(b"%d" % number for number in range(100)))
    await other.drained()
    assert me.got == []
    me.connection.resume()
    await until(lambda: len(me.got) == 100)
    assert me.payloads == [b"%d" % number for number in range(100)]


async def test_it_reads_on_while_its_own_publishes_wait_for_the_broker(
    broker: RunningBroker, line: Callable[..., Line]
) -> None:
    me = line(broker.port, "me")
    await me.ready()
    me.connection.pause()
    me.publish(*(b"%d" % number for number in range(100)))
    await me.drained()
    assert not me.connection.full


async def test_after_stop_delivering_messages_stay_with_the_broker(
    broker: RunningBroker, line: Callable[..., Line]
) -> None:
    me = line(broker.port, "me", "t")
    await me.ready()
    me.connection.stop_delivering()
    me.publish(b"1")
    await me.drained()
    await until(lambda: me.connection.session.unacknowledged == 1)
    assert me.got == []
    await me.connection.close()
    again = line(broker.port, "me", "t")
    await again.ready()
    await until(lambda: again.payloads == [b"1"])


@pytest.mark.real
async def test_once_unsubscribed_a_shared_subscription_gives_all_to_the_others(
    mosquitto: RunningBroker, line: Callable[..., Line]
) -> None:
    me, other = line(mosquitto.port, "me", "$share/g/t"), line(mosquitto.port, "other", "$share/g/t")
    await me.ready()
    await other.ready()
    async with asyncio.timeout(SOON):
        await me.connection.unsubscribe(["$share/g/t"])
    assert me.connection.session.ready
    other.publish(*(b"%d" % number for number in range(10)))
    await until(lambda: len(other.got) == 10)
    assert me.got == []


@pytest.mark.real
async def test_close_ends_the_run_and_says_goodbye(mosquitto: RunningBroker, line: Callable[..., Line]) -> None:
    watcher, me = line(mosquitto.port, "watcher", "gone"), line(mosquitto.port, "me", will=("gone", b"vanished"))
    await watcher.ready()
    await me.ready()
    me.publish(b"last", topic="gone")
    await me.connection.close()
    async with asyncio.timeout(SOON):
        await me.running
    await until(lambda: watcher.payloads == [b"last"])
    watcher.publish(b"after", topic="gone")
    await until(lambda: len(watcher.got) == 2)
    assert watcher.payloads == [b"last", b"after"]  # and no will


@pytest.mark.real
async def test_a_broken_link_leaves_the_will(mosquitto: RunningBroker, line: Callable[..., Line]) -> None:
    watcher = line(mosquitto.port, "watcher", "gone")
    await watcher.ready()
    me = line(mosquitto.port, "me", will=("gone", b"vanished"), session_expiry=0)
    await me.ready()
    assert me.connection._transport is not None
    me.connection._transport.abort()
    await until(lambda: watcher.payloads == [b"vanished"])


async def test_bytes_that_are_not_mqtt_end_the_connection_not_the_run(
    line: Callable[..., Line], caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[bytes] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(await reader.read(4096))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n" + b"Server: somebody else\r\n" * 9)
        calls.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(speak, HOST, 0)
    async with server:
        me = line(server.sockets[0].getsockname()[1], "me")
        await until(lambda: len(calls) >= 4, SOON)  # it came back
        assert "not MQTT 5" in caplog.text
        assert not me.running.done()
        await me.connection.close()
