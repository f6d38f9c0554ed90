"""libcoap's coap-client against our server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from bridge.coap.server import CoapReply, CoapRequest, CoapServer
from tests.support.real import require_tool
from tests.unit.coap.support import DATA_PATH, RESULT_PATH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    Run = Callable[..., Coroutine[Any, Any, tuple[bytes, bytes]]]

pytestmark = pytest.mark.real
LARGE = b'{"text":"' + b"0123456789" * 1000 + b'"}'


@pytest.fixture
def requests() -> list[CoapRequest]:
    return []


@pytest.fixture
async def server(requests: list[CoapRequest]) -> AsyncIterator[CoapServer]:
    async def handle(request: CoapRequest) -> CoapReply:
        requests.append(request)
        if request.payload == b"later":
            return CoapReply("overload", b"later", max_age=3)
        return CoapReply("content", LARGE, 50) if request.wants_result else CoapReply("changed")

    server = CoapServer(handle, port=0, max_body=50_000)
    yield server
    await server.stop()


@pytest.fixture
async def coap(server: CoapServer, tmp_path: Path) -> Run:
    """Runs coap-client with options and a path; returns what it wrote to stdout and stderr."""
    tool = require_tool("coap-client")
    url = await server.start()

    async def run(*options: str, path: str = DATA_PATH, body: bytes | None = None) -> tuple[bytes, bytes]:
        if body is not None:
            file = tmp_path / "body"
            file.write_bytes(body)
            options = ("-m", "post", "-f", str(file), *options)
        process = await asyncio.create_subprocess_exec(
            tool, "-B", "10", *options, f"{url}/{path}", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        return await asyncio.wait_for(process.communicate(), 15)

    return run


async def test_a_message_in_one_datagram(coap: Run, requests: list[CoapRequest]) -> None:
    assert await coap("-t", "50", body=b"[1,2]") == (b"", b"")
    assert await coap("-N", "-t", "60", body=b"\x80") == (b"", b"")
    assert [(r.path, r.payload, r.content_format) for r in requests] == [
        (DATA_PATH, b"[1,2]", 50),
        (DATA_PATH, b"\x80", 60),
    ]


@pytest.mark.parametrize("block", ["1024", "64", "16"])
async def test_a_large_message_and_a_large_answer(coap: Run, requests: list[CoapRequest], block: str) -> None:
    body = bytes(range(256)) * 20
    out, _ = await coap("-b", block, "-t", "60", path=f"{DATA_PATH}?result", body=body)
    assert out.rstrip(b"\n") == LARGE
    assert [r.payload for r in requests] == [body]


async def test_refusals_are_shown(coap: Run, requests: list[CoapRequest]) -> None:
    assert b"4.13 too_large: at most 50000 bytes" in (await coap(body=bytes(60_000)))[1]
    assert requests == []
    assert b"5.03 later" in (await coap(body=b"later"))[1]
    assert b"4.04 expected edge/v1/{site}/{device}/data/{stream}" in (await coap(path="nope"))[1]
    assert b"4.05" in (await coap("-m", "delete"))[1]
    assert b"4.02 option 65001" in (await coap("-O", "65001,0x41", body=b"x"))[1]


@pytest.mark.parametrize("block", ["1024", "64"])
async def test_reading_results(coap: Run, server: CoapServer, block: str) -> None:
    assert b"4.04 no Result" in (await coap(path=RESULT_PATH))[1]
    server.publish(RESULT_PATH, b'{"label":"walk"}')
    assert (await coap(path=RESULT_PATH))[0].rstrip(b"\n") == b'{"label":"walk"}'
    server.publish(RESULT_PATH, LARGE)
    assert (await coap("-b", block, path=RESULT_PATH))[0].rstrip(b"\n") == LARGE
    assert (await coap(path=".well-known/core"))[0].startswith(b'</edge/v1>;rt="edge.observation"')


@pytest.mark.parametrize("padding", [0, 3000])
async def test_observing(coap: Run, server: CoapServer, padding: int) -> None:
    server.publish(RESULT_PATH, b"<0>")
    watching = asyncio.create_task(coap("-s", "2", path=RESULT_PATH))
    while server._results.observers == 0:  # noqa: ASYNC110  another process decides when
        await asyncio.sleep(0.01)
    for n in range(1, 4):
        server.publish(RESULT_PATH, b"<%d" % n + b"." * padding + b">")
        await asyncio.sleep(0.2)
    out, _ = await watching
    assert [part for part in out.replace(b"\n", b"").split(b">") if part] == [
        b"<0",
        *(b"<%d" % n + b"." * padding for n in range(1, 4)),
    ]
    assert server._results.observers == 0  # coap-client ends its observation when it leaves
