"""The rate of a link from messages that stood in its queue one behind the other. No clock, no network.

While a queue stands, a link delivers what it carries, whether it grows or not. That it stands, one message tells: it
left, and would have arrived over an empty link, before the one before it arrived. So what went onto the wire between
the two took the time between their arrivals (a busy period; J. C. Bolot, "End-to-End Packet Delay and Loss Behavior in
the Internet", SIGCOMM 1993). What comes between on the way back delays an arrival, but not a row of them.
"""

from __future__ import annotations

import itertools
from collections import deque
from typing import Final, NamedTuple

KEPT: Final = 24  # answers
LEAST: Final = 4  # answers of a row
SPAN: Final = 0.5  # seconds between the first and the last: a reply that comes between shifts each by some hundredths


class _Answer(NamedTuple):
    at: float
    sent: float
    carried: int


class Standing:
    """The latest answers of one connection."""

    def __init__(self) -> None:
        self._answers: deque[_Answer] = deque(maxlen=KEPT)

    def clear(self) -> None:
        """Forget all."""
        self._answers.clear()

    def answered(self, at: float, sent: float, carried: int) -> None:
        """A message was answered.

        Args:
            at: monotonic seconds.
            sent: at which it left.
            carried: bytes that had gone onto the wire by then, its own among them.
        """
        self._answers.append(_Answer(at, sent, carried))

    def rate(self, base: float) -> float | None:
        """Bytes a second of the row that the last answer ends; None: it is too short, or no queue stands.

        Args:
            base: seconds that a message of no bytes takes over the empty link, or more.

        Returns:
            Above 0.
        """
        if len(self._answers) < LEAST:
            return None
        last = first = self._answers[-1]
        count = 1
        for one in itertools.islice(reversed(self._answers), 1, None):
            if first.sent + base > one.at or one.at > first.at:
                break
            first, count = one, count + 1
        seconds, carried = last.at - first.at, last.carried - first.carried
        return carried / seconds if count >= LEAST and seconds >= SPAN and carried > 0 else None
