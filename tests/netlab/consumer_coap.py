"""The consumer: a small aiocoap server. The argument is a `Task`."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiocoap
from aiocoap import resource

from tests.netlab import traffic
from tests.netlab.record import Log

if TYPE_CHECKING:
    from tests.netlab.traffic import Task


class Data(resource.Resource):  # type: ignore[misc] # aiocoap ships no py.typed
    """Notes each POST."""

    def __init__(self, arrived: Log) -> None:
        super().__init__()
        self._arrived = arrived

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        self._arrived.note(traffic.number_of(request.payload))
        return aiocoap.Message(code=aiocoap.CHANGED)


async def run(task: Task) -> None:
    """Serve until the end of stdin."""
    with Log(task.path("arrived")) as arrived:
        site = resource.Site()
        site.add_resource(traffic.TOPIC.split("/"), Data(arrived))
        context = await aiocoap.Context.create_server_context(site, bind=(task.gateway, task.port))
        traffic.say_ready()
        await asyncio.to_thread(traffic.wait_end)
        await context.shutdown()


if __name__ == "__main__":
    asyncio.run(run(traffic.task()))
