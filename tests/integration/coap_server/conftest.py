"""A server with narrow bounds, what its handler saw, and a client of aiocoap's."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiocoap import Context, Message

from bridge.coap.server import CoapServer, Limits
from tests.support.coap_server import MAX_BODY, Seen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def server(seen: Seen) -> AsyncIterator[CoapServer]:
    limits = Limits(max_pending=8, max_observers=2, duplicates=64, max_assemblies=4, drain_s=2)
    server = CoapServer(seen, host="127.0.0.1", port=0, max_body=MAX_BODY, limits=limits)
    yield server
    await server.stop()


@pytest.fixture
async def url(server: CoapServer) -> str:
    return await server.start()


@pytest.fixture
async def client() -> AsyncIterator[Context]:
    context = await Context.create_client_context(transports=["udp6"])
    yield context
    await context.shutdown()


@pytest.fixture
def ask(client: Context, url: str) -> Callable[..., Awaitable[Message]]:
    async def ask(code: Any, path: str, payload: bytes = b"", **options: Any) -> Message:
        message = Message(code=code, payload=payload, uri=f"{url}/{path}", **options)
        return await asyncio.wait_for(client.request(message).response, 10)

    return ask
