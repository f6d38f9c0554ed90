"""Row ranges that are safe, as Receipts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge import topics
from bridge.messages import Receipt
from bridge.mqtt.messages import Publish
from bridge.ranges import union
from bridge.wire.answers import encode_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.messages import SeriesKey

MAX_RANGES = 64  # of one Receipt


def receipts(key: SeriesKey, rows: list[tuple[int, int]], done: Callable[[int], None]) -> list[Publish]:
    """Receipts for rows of one series.

    Args:
        key: the series.
        rows: inclusive ranges, in any order.
        done: told what the broker said of each.
    """
    merged = union(rows)
    topic = topics.receipt(key.site, key.device, key.stream)
    return [
        Publish(topic, encode_answer(Receipt(key.epoch, merged[i : i + MAX_RANGES])), done=done)
        for i in range(0, len(merged), MAX_RANGES)
    ]
