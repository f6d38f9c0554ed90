"""A handler for CoAP servers under test."""

from __future__ import annotations

import asyncio

from bridge.coap.server import CoapReply, CoapRequest

MAX_BODY = 20_000


class Seen:
    """A handler that notes what it got and answers what it is told to."""

    def __init__(self) -> None:
        self.requests: list[CoapRequest] = []
        self.reply: CoapReply | Exception = CoapReply("changed")
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, request: CoapRequest) -> CoapReply:
        self.requests.append(request)
        await self.gate.wait()
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply
