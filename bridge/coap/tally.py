"""How a post went, counted as it goes. Pure: `now` is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bridge.link.events import Acked, GivenUp, Resent, Sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.link.events import Event

HEADERS = 28
"""Bytes of IPv4 and UDP."""


class Timing(msgspec.Struct, frozen=True):
    """How a post went; times are seconds of the event loop's clock.

    Attributes:
        sent_at: first sending.
        ended_at: the answer, or when the post was given up.
        answered: False if it was given up: nobody knows whether it arrived.
        datagrams: different ones that the body took; block-wise several.
        transmissions: sendings of all of them, repetitions and copies included.
        sent_bytes: UDP payload of all transmissions; IPv4 and UDP add 28 bytes each, IPv6 48.
        received_bytes: UDP payload of everything that came back.
        round_trips_s: seconds from sending to acknowledgement of each datagram that was sent once and acknowledged
            (Karn's rule); the bridge's work until then is in it.
    """

    sent_at: float
    ended_at: float
    answered: bool
    datagrams: int
    transmissions: int
    sent_bytes: int
    received_bytes: int
    round_trips_s: tuple[float, ...]

    @property
    def repeats(self) -> int:
        """Transmissions beyond one for each datagram."""
        return self.transmissions - self.datagrams


class Tally:
    """Counts for one post, and tells a link estimate of each datagram as it goes.

    Args:
        now: when the post began.
        name: of the post, for the messages of the events.
        tell: takes the events.

    Attributes:
        progress: when the post began, last got a datagram onto the way for the first time, or was last acknowledged.
        received_bytes: UDP payload that came back so far.
        is_answered: whether the whole answer is there.
    """

    def __init__(self, now: float, *, name: str = "", tell: Callable[[Event], None] = lambda _event: None) -> None:
        self.progress = now
        self.received_bytes = 0
        self.is_answered = False
        self._first: float | None = None
        self._datagrams = 0
        self._transmissions = 0
        self._bytes = 0
        self._round_trips: list[float] = []
        self._fresh = True
        self._name, self._tell = name, tell

    @property
    def _message(self) -> str:
        return f"{self._name}/{self._datagrams}"

    def sent(self, size: int, now: float) -> None:
        """A datagram of so many bytes left."""
        if self._first is None:
            self._first = now
        if self._fresh:
            self._fresh = False
            self._datagrams += 1
            self.progress = now
            self._tell(Sent(self._message, now, "coap", size + HEADERS))
        else:
            self._tell(Resent(self._message, now))
        self._transmissions += 1
        self._bytes += size

    def answered(self, sent: list[float], now: float) -> None:
        """The present datagram, sent at those times, was acknowledged; what is sent next is another."""
        self._fresh = True
        self.progress = now
        self._tell(Acked(self._message, now))
        if len(sent) == 1:
            self._round_trips.append(now - sent[0])

    def ended(self, now: float) -> None:
        """The post is over; a datagram without an answer is given up."""
        if not self._fresh:
            self._tell(GivenUp(self._message, now))

    def timing(self, now: float) -> Timing | None:
        """The whole; None if nothing ever left."""
        if self._first is None:
            return None
        return Timing(
            sent_at=self._first,
            ended_at=now,
            answered=self.is_answered,
            datagrams=self._datagrams,
            transmissions=self._transmissions,
            sent_bytes=self._bytes,
            received_bytes=self.received_bytes,
            round_trips_s=tuple(self._round_trips),
        )
