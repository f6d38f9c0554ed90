"""Uplink over CoAP: an answer is the receipt."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from bridge import topics
from bridge.coap.client import CoapClient
from edge_agent.uplink import SAFE, Outcome

if TYPE_CHECKING:
    from bridge.wire.formats import Format
    from edge_agent.config import Url
    from edge_agent.uplink import Listener

OVERLOAD_WAIT = 5.0  # seconds, where 5.03 came without Max-Age


class CoapUplink:
    """See `edge_agent.uplink.Uplink`. One message of a stream at a time: datagrams overtake each other.

    Args:
        url: coap.
        site: first level of our paths.
        device: second.
        window: most messages under way.
        timeout: seconds without an answer after which the outcome counts as unknown.
    """

    transport = "coap"
    in_order = True

    def __init__(self, url: Url, *, site: str, device: str, window: int = 16, timeout: float = 30.0) -> None:
        self.window = window
        self.most_bytes: int | None = None
        self._site, self._device = site, device
        self._client = CoapClient(str(url), window=window, timeout_s=timeout)

    async def run(self, listener: Listener) -> None:
        """There is no connection to keep."""
        listener.connected(fresh=False)
        await asyncio.Event().wait()

    async def send(self, stream: str, payload: bytes, form: Format) -> Outcome:
        """POSTs one Observation or Skip.

        Raises:
            LinkError: no answer: unknown.
        """
        path = topics.data(self._site, self._device, stream)
        reply = await self._client.post(path, payload, form.coap)
        if reply.code in {"changed", "content"}:
            return SAFE
        if reply.code == "overload":
            return Outcome("wait", "overload", OVERLOAD_WAIT if reply.max_age is None else float(reply.max_age))
        return Outcome("refused", reply.code)

    async def tell(self, facts: dict[str, Any], *, at_once: bool = True) -> None:  # as every uplink
        """CoAP has no retained status."""

    async def close(self) -> None:
        """Closes the sockets."""
        await self._client.close()
