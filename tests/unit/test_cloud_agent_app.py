"""The cloud agent's composition root: when it says that it is there."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import mqtt5

from bridge import topics
from bridge.mqtt.endpoint import Endpoint
from bridge.runtime.fake import FakeEngine
from bridge.wire.answers import encode_status
from cloud_agent.app import App
from cloud_agent.config import Cloud, Settings
from cloud_agent.engines.inprocess import InProcess
from tests.support.brokers import HOST
from tests.support.mqtt_packets import connack, incoming, packets, puback, suback
from tests.support.paho_client import until

if TYPE_CHECKING:
    import pytest

STATUS = topics.cloud_status("gpu-1")
EARLIER = encode_status(online=False, t=0.0, instance="an earlier run", why="vanished")


async def test_it_is_ready_on_the_first_connection_with_subscriptions_whatever_an_earlier_run_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said: list[bytes] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await reader.read(4096))
        writer.write(connack())
        if len(said) == 1:
            writer.close()  # before its SUBACK
            return
        (subscribe,) = packets(await reader.read(4096))
        writer.write(suback(subscribe.packet_id, 1, 1, 1))
        writer.write(incoming(1, STATUS, EARLIER, retain=True))
        while data := await reader.read(4096):
            said.append(data)
            for packet in packets(data):
                if isinstance(packet, mqtt5.PublishPacket) and packet.packet_id is not None:
                    writer.write(puback(packet.packet_id))
                elif isinstance(packet, mqtt5.DisconnectPacket):
                    writer.close()

    engine = InProcess([FakeEngine(rows=4, channels=2, model="activity")])
    server = await asyncio.start_server(speak, HOST, 0)
    async with server:
        settings = Settings(cloud=Cloud(id="gpu-1", url=f"mqtt://{HOST}"))
        app = App(settings, Endpoint(HOST, server.sockets[0].getsockname()[1]), engine)
        stop = asyncio.Event()
        running = asyncio.create_task(app.run(stop))
        with contextlib.suppress(TimeoutError):
            await until(lambda: len(said) > 2 or running.done(), 8)
        assert not running.done(), "it took an earlier run for a twin"
        out = capsys.readouterr().out
        assert out.startswith("ready {")
        assert json.loads(out.removeprefix("ready "))["id"] == "gpu-1"
        stop.set()
        assert await running == 0
    engine.close()
    statuses = [packet for packet in packets(b"".join(said[2:])) if isinstance(packet, mqtt5.PublishPacket)]
    assert json.loads(bytes(statuses[0].payload))["online"] is True
