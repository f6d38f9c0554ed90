"""When what the agent counts is worth a status. Pure: `now` is given.

What is new besides counters is told at once. Counters of rows move all the time: while they do, the status takes at
most `SHARE` of what the rows take, so that it is no load on a thin link, however large it is.
"""

from __future__ import annotations

from typing import Any

SHARE = 0.01  # bytes of statuses, of those of messages that came through
LEAST, MOST = 30.0, 1_800.0  # seconds between two tellings of which only counters moved
ADVANCE = 8_192  # bytes that may be owed when counters that came to rest are told: ten statuses


class News:
    """Which facts are worth a status, and when; each status is paid for by the messages after it."""

    def __init__(self) -> None:
        self._told: dict[str, Any] | None = None
        self._told_at = float("-inf")
        self._seen: dict[str, Any] | None = None
        self._sent = 0
        self._owed = 0.0
        self._counters = False  # only they had moved when it was told last

    def are(self, facts: dict[str, Any], now: float, *, sent: int) -> bool:
        """Whether these are to be told now; then they count as told.

        Args:
            facts: what the status is to say.
            now: seconds on any clock.
            sent: bytes of all messages that came through so far.
        """
        rests, self._seen = facts == self._seen, facts
        self._owed = max(0.0, self._owed - SHARE * (sent - self._sent))
        self._sent = sent
        if facts == self._told:
            return False
        counters = self._told is not None and _besides(facts) == _besides(self._told)
        if counters and not self._is_due(now, rests=rests):
            return False
        self._told, self._told_at, self._counters = facts, now, counters
        return True

    def told(self, size: int) -> None:
        """A status of so many bytes left; of those that were news, counters pay for the last at most."""
        self._owed = self._owed + size if self._counters else max(self._owed, float(size))

    def _is_due(self, now: float, *, rests: bool) -> bool:
        """Counters at rest take no link away from rows, so a few of them may be told in advance of their pay."""
        since = now - self._told_at
        return since >= MOST or (since >= LEAST and self._owed <= 0.0) or (rests and self._owed <= ADVANCE)


def _besides(facts: dict[str, Any]) -> dict[str, Any]:
    """All but the counters of rows that come and go."""
    streams = {
        name: [{key: value for key, value in one.items() if key not in {"accepted", "kept"}} for one in them]
        for name, them in facts["streams"].items()
    }
    return {**facts, "streams": streams}
