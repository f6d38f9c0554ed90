"""When a connection tries again: at once where it was up, later and later where it never gets that far."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING

import mqtt5
import pytest

from bridge.mqtt import connection as module
from bridge.mqtt.connection import Connection
from bridge.mqtt.endpoint import Endpoint
from bridge.mqtt.messages import Settings
from tests.support.brokers import HOST
from tests.support.mqtt_packets import connack, packets, suback
from tests.support.paho_client import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

QUICK = 0.25  # seconds that the first wait takes at most
ENDED = mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.PROTOCOL_ERROR).write()


@contextlib.asynccontextmanager
async def broker(answer: Callable[[asyncio.StreamReader], Awaitable[bytes]]) -> AsyncIterator[Connection]:
    """A broker that reads CONNECT, says CONNACK and this, and ends the connection; and who connects to it."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(connack())
        writer.write(await answer(reader))
        writer.close()

    server = await asyncio.start_server(speak, HOST, 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        made = Connection(Endpoint(HOST, port), Settings("me", subscriptions=("a", "b")), lambda _deliveries: None)
        running = asyncio.create_task(made.run())
        yield made
        await made.close()
        await running


async def subscribed(reader: asyncio.StreamReader) -> int:
    """The packet id of the SUBSCRIBE that comes next."""
    (packet,) = packets(await reader.read(4096))
    assert isinstance(packet, mqtt5.SubscribePacket)
    return packet.packet_id


async def granted(reader: asyncio.StreamReader) -> bytes:
    return suback(await subscribed(reader), 1, 1) + ENDED


async def refused(reader: asyncio.StreamReader) -> bytes:
    return suback(await subscribed(reader), 1, 0x87)


async def nothing_more(_reader: asyncio.StreamReader) -> bytes:
    return b""


def waits(caplog: pytest.LogCaptureFixture) -> list[float]:
    """Seconds of the waits so far."""
    return [float(found) for found in re.findall(r"trying again in ([0-9.]+) s", caplog.text)]


@pytest.mark.parametrize("answer", [refused, nothing_more])
async def test_where_subscriptions_are_never_confirmed_it_waits_longer_and_longer(
    answer: Callable[[asyncio.StreamReader], Awaitable[bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    async with broker(answer) as connection:
        await until(lambda: len(waits(caplog)) >= 3, 8)
        assert connection.session.connects >= 3
    assert waits(caplog)[2] > QUICK


async def test_a_connection_that_was_up_and_ended_in_the_same_read_is_tried_again_soon(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A message for which the broker ends the connection leaves with SUBSCRIBE: SUBACK and the end come together."""
    async with broker(granted):
        await until(lambda: len(waits(caplog)) >= 4, 8)
    assert max(waits(caplog)) <= QUICK


async def test_an_attempt_that_is_given_up_leaves_no_task(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CONNECT_TIMEOUT", 0.02)
    over = asyncio.Event()

    async def silent(_reader: asyncio.StreamReader) -> bytes:
        await over.wait()
        return b""

    async def waiting() -> int:
        await asyncio.sleep(0.02)  # so that what is cancelled has ended
        return sum("Event.wait" in repr(task.get_coro()) for task in asyncio.all_tasks())

    async with broker(silent):
        await until(lambda: len(waits(caplog)) == 1, 8)
        before = await waiting()
        await until(lambda: len(waits(caplog)) == 3, 8)
        after = await waiting()
        over.set()
    assert after == before
