"""The agent's part of the ledger, as its retained status tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from bridge.store.outbox import Outbox, Series

MOST_SERIES = 16  # of one stream, the newest
MOST_RANGES = 64  # given up, of one series, the newest; `dropped_rows` counts all


class Ledger:
    """What was accepted, is kept and was given up, by stream and numbering; blocks on the disk.

    Args:
        box: the outbox.
        streams: names of the streams to tell of.
    """

    def __init__(self, box: Outbox, streams: Collection[str]) -> None:
        self._box = box
        self._streams = streams
        self._version = -1
        self._dropped: dict[int, dict[str, Any]] = {}

    def facts(self) -> dict[str, Any]:
        """`streams`: for each name its series, the newest last.

        Of each `epoch`, `accepted` (the row after the last accepted), `kept` (rows not yet receipted), `dropped`
        (ranges given up: first, last, rule) and `dropped_rows`.
        """
        if self._box.given_up.version != self._version:
            self._version = self._box.given_up.version
            self._dropped.clear()
        found: dict[str, list[Series]] = {name: [] for name in self._streams}
        for one in self._box.series():
            if one.stream in found and one.next:
                found[one.stream].append(one)
        return {"streams": {name: [self._told(one) for one in them[-MOST_SERIES:]] for name, them in found.items()}}

    def _told(self, one: Series) -> dict[str, Any]:
        return {
            "epoch": one.epoch,
            "accepted": one.next,
            "kept": self._box.rows(one.id),
            **(self._dropped.get(one.id) or self._read(one.id)),
        }

    def _read(self, series: int) -> dict[str, Any]:
        newest = self._box.dropped(series, MOST_RANGES)
        self._dropped[series] = {
            "dropped": [[one.first, one.last, one.rule] for one in newest],
            "dropped_rows": self._box.given_up.rows(series),
        }
        return self._dropped[series]
