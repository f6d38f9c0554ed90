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
from tests.netlab.log import Log

if TYPE_CHECKING:
    from tests.netlab.traffic import Task

JSON = 50
PATH = tuple(traffic.TOPIC.split("/"))
AGAIN = 1.0  # s until a refused request is made again, if the server does not say


async def deliver(context: aiocoap.Context, server: object, payload: bytes) -> None:
    """Post until it is taken: a request that ran out of retransmissions, or shall come again, is made again.

    Args:
        context: of aiocoap.
        server: its address, found before: with a URI aiocoap would look it up for every message.
        payload: what to post.
    """
    while True:
        message = aiocoap.Message(
            code=aiocoap.POST, uri_path=PATH, payload=payload, content_format=JSON, transport_tuning=Reliable()
        )
        message.remote = server
        try:
            answer = await context.request(message).response
        except Error:
            continue
        if answer.code.is_successful():
            return
        await asyncio.sleep(answer.opt.max_age or AGAIN)


async def send(context: aiocoap.Context, server: object, waiting: asyncio.Queue[bytes], count: int) -> None:
    for _ in range(count):
        await deliver(context, server, await waiting.get())


async def run(task: Task) -> None:
    """Reach the server once, then hand over on time; whatever waits, waits in our queue."""
    context = await aiocoap.Context.create_client_context()
    uri = f"coap://{task.gateway}:{task.port}/"
    server = (await context.request(aiocoap.Message(code=aiocoap.GET, uri=uri)).response).remote
    traffic.say_ready()
    start = await asyncio.to_thread(traffic.wait_go)
    waiting: asyncio.Queue[bytes] = asyncio.Queue()
    sender = asyncio.create_task(send(context, server, waiting, task.count))
    with Log(task.path("sent")) as sent:
        for number, payload in enumerate(traffic.payloads(task)):
            await asyncio.sleep(traffic.until(start + number / task.rate))
            sent.note(number)
            waiting.put_nowait(payload)
    await asyncio.wait([sender], timeout=task.drain)
    await context.shutdown()


if __name__ == "__main__":
    asyncio.run(run(traffic.task()))
