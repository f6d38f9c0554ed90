"""What asyncio's and uvloop's transports lose at the end of a connection, and `Wire` does not."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest

from bridge.mqtt.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

RESET = struct.pack("ii", 1, 0)


def uvloop_loop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
    return loop


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop_loop])
@pytest.mark.parametrize("cut", [False, True])
def test_last_words_are_heard_though_a_write_found_the_connection_reset(
    new_loop: Callable[[], asyncio.AbstractEventLoop], *, cut: bool
) -> None:
    heard = bytearray()
    room = memoryview(bytearray(4))

    async def talk() -> Exception | None:
        loop = asyncio.get_running_loop()
        gone: asyncio.Future[Exception | None] = loop.create_future()

        def closed(why: Exception | None) -> None:
            gone.set_result(why)

        wire = Wire(
            lambda _wire, _transport: None,
            lambda: room,
            lambda count: heard.extend(room[:count]),
            closed,
            lambda _choked: None,
        )
        with socket.create_server(("127.0.0.1", 0)) as server:
            await loop.create_connection(lambda: wire, *server.getsockname())
            far, _ = server.accept()
        far.sendall(b"last words")
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        far.close()
        time.sleep(0.05)  # noqa: ASYNC251 # the reset is there before the loop reads
        wire.write(b"too late")
        if cut:
            wire.cut()
            await asyncio.sleep(0.05)
            return None
        return await asyncio.wait_for(gone, 5)

    loop = new_loop()
    try:
        why = loop.run_until_complete(talk())
    finally:
        loop.close()
    assert bytes(heard) == (b"" if cut else b"last words")
    assert cut or isinstance(why, OSError)
