"""The rival: aiocoap, CON with the timers of RFC 7252, one request at a time, in order. The argument is a `Task`."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiocoap
from aiocoap.error import Error
from aiocoap.numbers.constants import Reliable

from tests.netlab import traffic
from tests.netlab.record import Log

if TYPE_CHECKING:
    from tests.netlab.traffic import Task

JSON = 50


async def deliver(context: aiocoap.Context, uri: str, payload: bytes) -> None:
    """Post until it is acknowledged: a request that ran out of retransmissions is made again."""
    while True:
        message = aiocoap.Message(
            code=aiocoap.POST, uri=uri, payload=payload, content_format=JSON, transport_tuning=Reliable()
        )
        try:
            await context.request(message).response
        except Error:
            continue
        return


async def send(context: aiocoap.Context, uri: str, waiting: asyncio.Queue[bytes], count: int) -> None:
    for _ in range(count):
        await deliver(context, uri, await waiting.get())


async def run(task: Task) -> None:
    """Reach the server once, then hand over on time; whatever waits, waits in our queue."""
    context = await aiocoap.Context.create_client_context()
    uri = f"coap://{task.gateway}:{task.port}/{traffic.TOPIC}"
    await context.request(aiocoap.Message(code=aiocoap.GET, uri=f"coap://{task.gateway}:{task.port}/")).response
    traffic.say_ready()
    start = await asyncio.to_thread(traffic.wait_go)
    waiting: asyncio.Queue[bytes] = asyncio.Queue()
    sender = asyncio.create_task(send(context, uri, waiting, task.count))
    with Log(task.path("sent")) as sent:
        for number, payload in zip(range(task.count), traffic.payloads(task.seed), strict=False):
            await asyncio.sleep(traffic.until(start + number / task.rate))
            sent.note(number)
            waiting.put_nowait(payload)
    await asyncio.wait([sender], timeout=task.drain)
    await context.shutdown()


if __name__ == "__main__":
    asyncio.run(run(traffic.task()))
