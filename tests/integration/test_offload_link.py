"""The connection to the cloud's broker that goes silent: half-open it is replaced, stalled it is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge import tcp
from bridge.offload.link import BEYOND, TICK, TRIPS, replace_after
from bridge.offload.messages import Answered, Ask, Unanswered
from bridge.wire.offload import Reply
from tests.support.brokers import start_mosquitto
from tests.support.hand_cloud import Cloud, clouds
from tests.support.paho_client import until
from tests.support.relay import TcpRelay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.brokers import RunningBroker

pytestmark = pytest.mark.real


@contextlib.asynccontextmanager
async def behind(relay: TcpRelay) -> AsyncIterator[Cloud]:
    """A client that has asked and heard."""
    cloud = Cloud(relay.port)
    try:
        await cloud.ready()
        await cloud.there(direct=True)
        cloud.ask("first")
        await until(lambda: cloud.was_asked(1))
        cloud.reply(Reply("first", "gpu-1", "sit", 0.9, "1"))
        await until(lambda: any(isinstance(event, Answered) for event in cloud.events))
        yield cloud
    finally:
        await cloud.close()


async def test_a_half_open_connection_is_noticed_and_replaced(
    mosquitto: RunningBroker, caplog: pytest.LogCaptureFixture
) -> None:
    with TcpRelay(mosquitto.port) as relay:
        async with behind(relay) as cloud:
            connects = cloud.client.connection.session.connects
            relay.half_open()
            began = time.monotonic()
            cloud.ask("second", patience=30.0)
            await until(lambda: not cloud.view().there)
            noticed = time.monotonic() - began
            assert cloud.why() == "the cloud's broker is silent"
            assert cloud.client.facts()["link"]["silent"] is True
            await until(lambda: cloud.client.connection.session.connects == connects + 1)
            await until(lambda: cloud.client.connection.connected)
            assert cloud.client.facts()["link"]["silent"] is False
            assert "half-open" in caplog.text
            assert noticed > BEYOND - 2 * TICK  # three round trips here are next to nothing


async def test_a_stalled_path_is_not_replaced_before_it_was_given_time(mosquitto: RunningBroker) -> None:
    with TcpRelay(mosquitto.port) as relay:
        async with behind(relay) as cloud:
            connects = cloud.client.connection.session.connects
            relay.stall()
            cloud.ask("second", patience=30.0)
            await until(lambda: cloud.client.facts()["link"]["silent"])
            relay.flow()
            await until(lambda: not cloud.client.facts()["link"]["silent"])
            assert cloud.view().there
            assert cloud.client.connection.session.connects == connects


async def test_a_broker_that_takes_small_packets_gets_them_and_what_fits_none_is_no_silence(tmp_path: Path) -> None:
    with start_mosquitto(tmp_path, extra="max_packet_size 16384") as broker:
        async with clouds(broker.port) as make:
            cloud = make()
            cloud.client._max_open = 10
            await cloud.ready()
            await cloud.there(direct=True)
            deadline = time.monotonic() + 30.0
            windows = [np.full((256, 4), n, np.float32) for n in range(6)]  # 4 KiB each, 24 KiB together
            cloud.client.ask_all([Ask(f"w{n}", "m", one, deadline) for n, one in enumerate(windows)])
            await until(lambda: cloud.was_asked(6) or cloud.events)
            assert [len(message.payload) < 16_384 for message in cloud.messages] == [True, True]
            assert [question.id for _, question in cloud.asked] == [f"w{n}" for n in range(6)]
            cloud.reply(*(Reply(f"w{n}", "gpu-1", "sit", 0.9, "1") for n in range(6)))
            await until(lambda: len(cloud.events) == 6)
            assert all(isinstance(event, Answered) for event in cloud.events)

            cloud.ask("large", patience=30.0, values=np.zeros((1_024, 5), np.float32))
            await until(lambda: len(cloud.events) == 7)
            assert cloud.events[6] == Unanswered("large", "the cloud's broker refused the question (0x95)")
            await asyncio.sleep(BEYOND + 5 * TICK)  # after which what is under way would count as silence
            assert cloud.view().there
            assert cloud.client.facts()["link"]["silent"] is False
            assert cloud.client.connection.session.connects == 1


def test_what_loss_explains_is_waited_for() -> None:
    assert replace_after(0.001, 0.05) == pytest.approx(TRIPS * 0.05 + BEYOND)
    patience = [replace_after(loss, 0.05) for loss in (0.01, 0.05, 0.1, 0.2, 0.5, 1.0)]
    assert patience == sorted(patience)
    assert patience[3] > 4 * tcp.LONGEST_RTO
    assert patience[-1] < 60.0
    assert replace_after(0.2, 2.0, tcp.repeat_within(2.0, 0.1)) > replace_after(0.2, 2.0)
    assert replace_after(0.001, 1.0) == pytest.approx(TRIPS + BEYOND)
