"""Posts without a task of their own: when they leave, and how `close` ends them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from bridge.coap.client import CoapClient, CoapReply
from bridge.coap.server import CoapRequest, CoapServer
from bridge.errors import LinkError
from tests.unit.coap.support import DATA_PATH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Gate:
    """Answers once it is open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, _request: CoapRequest) -> CoapReply:
        await self.open.wait()
        return CoapReply("changed")


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@pytest.fixture
async def url(gate: Gate) -> AsyncIterator[str]:
    server = CoapServer(gate, port=0, max_body=200_000)
    yield await server.start()
    gate.open.set()
    await server.stop()


async def test_a_datagram_leaves_in_the_turn_in_which_its_post_begins(url: str, gate: Gate) -> None:
    gate.open.set()
    told: list[Any] = []
    client = CoapClient(url, on_event=told.append)
    await client.post(DATA_PATH, b"x", 60)
    told.clear()
    post = asyncio.create_task(client.post(DATA_PATH, b"x", 60))
    await asyncio.sleep(0)
    assert [type(one).__name__ for one in told] == ["Sent"]
    assert (await post).code == "changed"
    await client.close()


async def test_who_is_given_up_by_close_goes_on_and_who_is_cancelled_too_does_not(url: str) -> None:
    sent = asyncio.Semaphore(0)
    client = CoapClient(url, on_event=lambda _event: sent.release())

    async def caller() -> str:
        with pytest.raises(LinkError, match="was closed"):
            await client.post(DATA_PATH, b"x", 60)
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        await asyncio.sleep(0)
        return "went on"

    stays, leaves = asyncio.create_task(caller()), asyncio.create_task(client.post(DATA_PATH, b"x", 60))
    for _ in range(2):
        await sent.acquire()
    leaves.cancel()
    await asyncio.gather(client.close(), client.close())
    assert await stays == "went on"
    with pytest.raises(asyncio.CancelledError):
        await leaves
