"""Which topics' Results the broker gave to nobody (PUBACK 0x10), and from where on they are to be published again.

By topic, not for all at once: an operator who reads one device only must not have the others published over and over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

MOST = 16_384  # topics marked; of further ones it is counted that they were not heard


class Mark(NamedTuple):
    """The first Result of a topic that nobody heard.

    Attributes:
        n: number of its record among those kept.
        payload: its bytes, to be tried again.
    """

    n: int
    payload: bytes


class Unheard:
    """The watermarks.

    Args:
        counts: where to count.

    Attributes:
        marks: of each topic nobody listens to; the one tried longest ago first.
        found: topics to which somebody listens again, and the record from which on they are to be published again.
        low: no record below may hold a Result that nobody heard; None when all were heard.
        on_low: called when that becomes lower.
    """

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self.marks: dict[str, Mark] = {}
        self.found: dict[str, int] = {}
        self.low: int | None = None
        self.on_low: Callable[[], None] = _nothing

    def note(self, topic: str, payload: bytes, n: int) -> None:
        """The broker gave this Result to nobody."""
        mark = self.marks.get(topic)
        if mark is not None and mark.n <= n:
            return
        if mark is None and len(self.marks) >= MOST:
            self._counts["results_unheard_unmarked"] += 1
            return
        self.marks[topic] = Mark(n, payload)
        if self.low is None or n < self.low:
            self.low = n
            self.on_low()

    def heard(self, topic: str) -> bool:
        """The broker gave a Result of this topic to somebody; whether that is new."""
        mark = self.marks.pop(topic, None)
        if mark is None:
            return False
        self.found[topic] = min(mark.n, self.found.get(topic, mark.n))
        return True

    def covers(self, topic: str, n: int) -> bool:
        """Whether nobody hears the topic, and the Result of this record is published again once somebody does."""
        mark = self.marks.get(topic)
        return mark is not None and mark.n <= n

    def probes(self, most: int | None = None) -> list[tuple[str, Mark]]:
        """Results to try: of so many topics, those tried longest ago, or of all."""
        chosen = list(self.marks.items())[:most]
        for topic, mark in chosen:
            del self.marks[topic]
            self.marks[topic] = mark
        return chosen

    def take_found(self) -> dict[str, int]:
        """The topics to be published again, each with the first record; forgotten here."""
        found, self.found = self.found, {}
        return found

    def settle(self) -> None:
        """What was found was published again: without marks all were heard."""
        if not self.marks and not self.found:
            self.low = None


def _nothing() -> None:
    pass
