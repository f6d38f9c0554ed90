"""When rows were accepted and when their windows were answered, by one clock; without I/O."""

from __future__ import annotations

import bisect
from collections import defaultdict
from typing import TypeAlias

import msgspec

WINDOW, HOP = 128, 64  # rows of the model `activity`
Key: TypeAlias = tuple[str, int]  # a window: stream and first row


class Confirmation(msgspec.Struct, frozen=True):
    """What the agent prints of rows on disk."""

    stream: str
    accepted: tuple[int, int]


class Seen(msgspec.Struct, frozen=True):
    """What matters of a Result."""

    id: str
    stream: str
    seq: int
    epoch: str
    label: str
    score: float
    provisional: bool = False


class Sight:
    """One life of one agent, which has one numbering a stream; times are monotonic seconds.

    Args:
        wanted: windows to wait for.

    Attributes:
        left: of those, the ones without a final Result.
        arrived: when the first final Result of each window came.
        repeated: Results of windows that had one, saying the same.
        contradicted: Results of windows that had one, saying something else, or under another id or epoch.
    """

    def __init__(self, wanted: set[Key] | None = None) -> None:
        self.left: set[Key] = set(wanted or ())
        self.arrived: dict[Key, float] = {}
        self.repeated = self.contradicted = 0
        self._said: dict[Key, Seen] = {}
        self._times: dict[str, list[float]] = defaultdict(list)
        self._lasts: dict[str, list[int]] = defaultdict(list)

    def confirmed(self, line: bytes, now: float) -> None:
        """A line of the agent's stdout; others than confirmations are passed over."""
        if line.startswith(b"{"):
            found = msgspec.json.decode(line, type=Confirmation)
            self._times[found.stream].append(now)
            self._lasts[found.stream].append(found.accepted[1])

    def answered(self, payload: bytes, now: float) -> None:
        """A Result."""
        found = msgspec.json.decode(payload, type=Seen)
        if found.provisional:
            return
        key = (found.stream, found.seq)
        if key not in self._said:
            self._said[key], self.arrived[key] = found, now
            self.left.discard(key)
        elif self._said[key] == found:
            self.repeated += 1
        else:
            self.contradicted += 1

    def ends(self) -> dict[str, int]:
        """Row after the last one accepted, by stream."""
        return {stream: lasts[-1] + 1 for stream, lasts in self._lasts.items()}

    def due(self) -> set[Key]:
        """All windows whose rows are accepted."""
        return {(stream, seq) for stream, end in self.ends().items() for seq in range(0, end - WINDOW + 1, HOP)}

    def accepted(self, stream: str, row: int) -> float:
        """When that row was accepted in this life, or before; infinite: not yet."""
        at = bisect.bisect_left(self._lasts[stream], row)
        return self._times[stream][at] if at < len(self._lasts[stream]) else float("inf")

    def freshness(self, first: int, since: float, until: float, pack: int) -> tuple[list[float], list[float]]:
        """Of windows answered that begin at row `first` or later and were complete between those times, in seconds.

        Args:
            first: row number.
            since: from when on.
            until: till when.
            pack: rows of a message.

        Returns:
            From their last row's acceptance to their Result; and from that of the last row of its message (none, if
            the message went out before it was full).
        """
        rows, messages = [], []
        for (stream, seq), came in self.arrived.items():
            last = seq + WINDOW - 1
            accepted = self.accepted(stream, last)
            if seq >= first and since <= accepted < until:
                rows.append(came - accepted)
                messages.append(max(0.0, came - self.accepted(stream, last // pack * pack + pack - 1)))
        return rows, messages
