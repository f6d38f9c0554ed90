"""The bridge's own status: what it tells of the way to the cloud, and when."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from bridge.presence import EVERY, Presence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.mqtt.connection import Connection
    from bridge.mqtt.messages import Publish

FACTS = {"profile": "mqtt-1/int8/1", "reason": "first choice", "switches": [], "link": {"words": "…"}}


class Paper:
    """A connection that keeps what is published."""

    connected = True

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.came = asyncio.Event()

    def publish(self, messages: Iterable[Publish]) -> None:
        self.told += [json.loads(message.payload) for message in messages]
        self.came.set()


async def test_news_of_the_cloud_is_told_at_once() -> None:
    presence, paper = Presence("gw-1", "i", Counter(windows=3)), Paper()
    presence.cloud = lambda: FACTS
    telling = asyncio.create_task(presence.keep_telling(cast("Connection", paper)))
    presence.hurry()
    async with asyncio.timeout(EVERY / 2):  # the next one by itself is later than that
        await paper.came.wait()
    assert [told["cloud"] for told in paper.told] == [FACTS]
    assert paper.told[0]["counts"] == {"windows": 3}
    telling.cancel()


def test_without_a_cloud_nothing_is_told_of_it() -> None:
    message = Presence("gw-1", "i", Counter()).message(online=True)
    assert "cloud" not in json.loads(message.payload)
