"""A connection can be closed at any time, and `run` ends then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from bridge.mqtt.connection import Connection
from bridge.mqtt.endpoint import Endpoint
from bridge.mqtt.messages import Settings
from tests.support.brokers import free_port

if TYPE_CHECKING:
    from tests.support.brokers import RunningBroker


def to(port: int) -> Connection:
    return Connection(Endpoint("127.0.0.1", port), Settings("closer"), lambda _deliveries: None)


async def ended(running: asyncio.Task[None]) -> None:
    async with asyncio.timeout(3):
        await running


async def test_while_it_connects(mosquitto: RunningBroker) -> None:
    connection = to(mosquitto.port)
    running = asyncio.create_task(connection.run())
    await asyncio.sleep(0)
    await connection.close()
    await ended(running)
    assert not connection.connected


async def test_while_it_waits_to_try_again() -> None:
    connection = to(free_port())
    running = asyncio.create_task(connection.run())
    await asyncio.sleep(0.1)
    await connection.close()
    await ended(running)


async def test_while_it_is_connected(mosquitto: RunningBroker) -> None:
    connection = to(mosquitto.port)
    running = asyncio.create_task(connection.run())
    await connection.ready()
    await connection.close()
    await ended(running)
    assert not connection.connected


async def test_a_cancelled_run_leaves_nothing_open(mosquitto: RunningBroker) -> None:
    connection = to(mosquitto.port)
    running = asyncio.create_task(connection.run())
    await connection.ready()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not connection.connected
