"""The agent's part of the ledger, as its retained status tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from bridge.store.outbox import Outbox, Series

MOST_SERIES = 16  # of one stream, the newest
MOST_RANGES = 64  # given up, of one series, the newest; `dropped_rows` counts all
TELL_FLOW = 30.0  # seconds between two tellings of which only counters moved: it is 800 bytes, 105 ms of 64 kbit/s


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


class News:
    """Which facts are worth a status.

    Counters of rows that come and go move all the time: they are told once they rest, and every 30 s while they don't.
    """

    def __init__(self) -> None:
        self._told: dict[str, Any] | None = None
        self._told_at = float("-inf")
        self._seen: dict[str, Any] | None = None

    def are(self, facts: dict[str, Any], now: float) -> bool:
        """Whether these are to be told now, s on any clock; then they count as told."""
        rest, self._seen = facts == self._seen, facts
        due = rest or now - self._told_at >= TELL_FLOW or self._told is None or _besides(facts) != _besides(self._told)
        if not due or facts == self._told:
            return False
        self._told, self._told_at = facts, now
        return True


def _besides(facts: dict[str, Any]) -> dict[str, Any]:
    """All but the counters of rows that come and go."""
    streams = {
        name: [{key: value for key, value in one.items() if key not in {"accepted", "kept"}} for one in them]
        for name, them in facts["streams"].items()
    }
    return {**facts, "streams": streams}
