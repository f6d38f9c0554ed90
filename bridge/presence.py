"""The bridge's retained status: that it is there, which models it has, what it counted."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bridge import topics
from bridge.mqtt.messages import Publish
from bridge.wire.answers import encode_status

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from bridge.mqtt.connection import Connection

EVERY = 5.0  # seconds between two publications


class Presence:
    """Tells who we are.

    Args:
        bridge: our id.
        instance: name of this process, never the same twice.
        counts: what is counted.

    Attributes:
        facts: what else is told.
        also: asked for more of that at each publication.
        cloud: asked what is chosen for the way to the cloud; None: there is no cloud.
    """

    def __init__(self, bridge: str, instance: str, counts: Counter[str]) -> None:
        self._topic = topics.bridge_status(bridge)
        self._instance = instance
        self._counts = counts
        self.facts: dict[str, Any] = {}
        self.also: Callable[[], dict[str, Any]] = dict
        self.cloud: Callable[[], dict[str, Any]] | None = None
        self._news = asyncio.Event()

    def hurry(self) -> None:
        """There is news: the next publication comes at once."""
        self._news.set()

    def will(self) -> tuple[str, bytes]:
        """Topic and payload that the broker publishes when we vanish."""
        return self._topic, encode_status(online=False, t=time.time(), instance=self._instance)

    def message(self, *, online: bool) -> Publish:
        """The status now."""
        told = {**self.facts, **self.also(), "counts": dict(self._counts)}
        if self.cloud is not None:
            told["cloud"] = self.cloud()
        payload = encode_status(online=online, t=time.time(), instance=self._instance, **told)
        return Publish(self._topic, payload, retain=True)

    async def keep_telling(self, connection: Connection) -> None:
        """Publish it now and then while connected, for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._news.wait()
            self._news.clear()
            if connection.connected:
                connection.publish([self.message(online=True)])
