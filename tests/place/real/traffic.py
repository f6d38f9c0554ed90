"""Devices that send held-out recordings at a steady rate, and know when each window's last row left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from bridge import topics
from bridge.messages import SeriesKey, window_id
from tests.place.real.judge import Sent
from tests.support.fleet import HOP, MODEL, SITE, WINDOW, Device, answers, recordings

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.messages import Rows

Stream: TypeAlias = Literal["rows", "whole"]
ROWS: Literal["rows"] = "rows"
WHOLE: Literal["whole"] = "whole"
PACK = 32  # rows of a message of a row stream
BOUND = 10_000  # messages under way: the schedule decides, not the broker


class Source(Device):
    """A device with a schedule.

    Args:
        url: the broker.
        name: device name.
        stream: `ROWS`, in messages of `PACK` rows, or `WHOLE`, a window a message.
        count: windows that it sends.
        number: which recordings; sources differ.
        due: seconds after the start at which a window's last row leaves, by the window's number.

    Attributes:
        stream: as given.
    """

    def __init__(
        self, url: str, name: str, stream: Stream, *, count: int, number: int, due: Callable[[int], float]
    ) -> None:
        self._values = rows_of(number, WINDOW + (count - 1) * HOP)
        whole = stream == WHOLE
        super().__init__(
            url, name, self._values, pack=WINDOW if whole else PACK, hop=HOP if whole else None, bound=BOUND
        )
        self.stream = stream
        self._due = due
        self._left: dict[int, float] = {}

    @property
    def sent(self) -> list[Sent]:
        """Windows whose last row has left."""
        key = SeriesKey(SITE, self.name, self.stream, "e1")
        firsts = [first for first in range(0, len(self._values) - WINDOW + 1, HOP) if self._last(first) in self._left]
        said = answers(self._values[first : first + WINDOW] for first in firsts)
        return [
            Sent(window_id(key, first, MODEL), self.name, self._left[self._last(first)], answer.label, answer.score)
            for first, answer in zip(firsts, said, strict=True)
        ]

    def _last(self, first: int) -> int:
        """First row of the message that completes the window which begins there."""
        return first if self.stream == WHOLE else (first + WINDOW - 1) // PACK * PACK

    def _publish(self) -> None:
        topic = topics.data(SITE, self.name, self.stream)
        begin = time.monotonic()
        for first, payload in self.messages:
            time.sleep(max(0.0, begin + self._when(first) - time.monotonic()))
            if self._stop:
                return
            self._left[first] = time.monotonic()
            self._client.publish(topic, payload, qos=1)

    def _when(self, first: int) -> float:
        if self.stream == WHOLE:
            return self._due(first // HOP)
        end = first + PACK - WINDOW  # the first row of a window that would end with this message
        number, part = divmod(max(0, end), HOP)
        return self._due(number) + (self._due(number + 1) - self._due(number)) * part / HOP


def rows_of(number: int, count: int) -> Rows:
    """So many rows of held-out recordings, in an order of this number's own."""
    found = recordings()
    turn = number * 5 % len(found)
    every = np.concatenate([*found[turn:], *found[:turn]])
    return np.resize(every, (count, every.shape[1]))


def steady(url: str, prefix: str, *, rate: float, seconds: float, sources: int = 8) -> list[Source]:
    """Sources that together send so many windows a second for so long, half of them as row streams."""
    every = sources / rate
    made = []
    for number in range(sources):
        begin = every * number / sources
        made.append(
            Source(
                url,
                f"{prefix}{number}",
                (ROWS, WHOLE)[number % 2],
                count=round(seconds / every),
                number=number,
                due=lambda window, begin=begin: begin + window * every,  # type: ignore[misc]
            )
        )
    return made
