"""What a lossy link does to one direction of a TCP connection, emulated above TCP: bytes come late, and in order.

A program cannot lose a segment of a connection that the kernel carries. So what an application would see is played
instead: the bytes are cut into segments, and each passes the `Link`; what comes behind a lost one is held until that
has been repeated, as Linux would:

* where a segment that left later has arrived, a round trip and a quarter after the loss, but not before the news of
  that is back (RACK, RFC 8985);
* else after a time-out of the round trip + 200 ms (RFC 6298 with TCP_RTO_MIN, while the round trip is steady), or 1 s
  before anything arrived. It doubles with each further loss, and after it nothing new leaves until a repetition got
  through. In an outage that goes on and on.

What it is not: tail-loss probes are left out, the window stays at ten segments (RFC 6928), and acknowledgements neither
take room nor get lost. And the kernel's own view of the connection, TCP_INFO, is of loopback: it tells the agent of no
loss and of no delay, so that MQTT looks better to it than it is here, and its silence longer than it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from bridge.demo.link import Clock, Link, Timer, Way

MSS = 1_448  # bytes: an MTU of 1,500 less HEADERS
HEADERS = 52  # bytes of IPv4 and TCP with timestamps
FIRST_RTO, RTO_MIN, RTO_MAX = 1.0, 0.2, 120.0  # seconds; RFC 6298 section 2, and Linux's TCP_RTO_MIN and TCP_RTO_MAX
RACK = (
    1.25  # round trips after which a segment that was overtaken is lost: RFC 8985 section 6.2, a quarter for reordering
)
WINDOW = 10  # segments under way


class Segment(msgspec.Struct):
    """A part of the stream.

    Attributes:
        number: its place.
        size: bytes above TCP.
        deliver: called when it and all before it have arrived.
        sent: when it left last, seconds of the clock.
    """

    number: int
    size: int
    deliver: Callable[[], object]
    sent: float = 0.0


class Stream:
    """One direction of one connection.

    Args:
        link: what it passes.
        way: in this direction.
        clock: the link's.

    Attributes:
        waiting: bytes that have not arrived yet.
    """

    def __init__(self, link: Link, way: Way, clock: Clock) -> None:
        self._link, self._way, self._clock = link, way, clock
        self._unsent: deque[Segment] = deque()
        self._holes: deque[Segment] = deque()
        self._arrived: dict[int, Callable[[], object]] = {}
        self._next = 0  # to be delivered
        self._count = 0
        self._flying = 0
        self._expired = 0  # time-outs in a row
        self._timer: Timer | None = None
        self._quick = False  # what the timer is for: a repair, not a time-out
        self._closed = False
        self.waiting = 0

    def send(self, size: int, deliver: Callable[[], object]) -> None:
        """One segment.

        Args:
            size: bytes above TCP; 0 for SYN and FIN.
            deliver: called when it and all before it have arrived.
        """
        self._unsent.append(Segment(self._count, size, deliver))
        self._count += 1
        self.waiting += size
        self._push()

    def close(self) -> None:
        """The connection was reset: nothing arrives any more."""
        self._closed = True
        self._unsent.clear()
        self._holes.clear()

    def _push(self) -> None:
        while self._unsent and not self._expired and self._flying + len(self._holes) < WINDOW:
            segment = self._unsent.popleft()
            if self._offer(segment):
                continue
            self._holes.append(segment)
            if len(self._holes) == 1:
                self._repeat_at(self._clock.time() + self._time_out())

    def _offer(self, segment: Segment) -> bool:
        sent = segment.sent = self._clock.time()
        arrives = self._link.carry(self._way, segment.size + HEADERS, lambda: self._came(segment, sent))
        self._flying += arrives
        return arrives

    def _time_out(self) -> float:
        first = FIRST_RTO if self._next == 0 else self._link.round_trip + RTO_MIN
        return float(min(first * 2**self._expired, RTO_MAX))

    def _repeat_at(self, when: float, *, quick: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._quick = quick
        self._timer = self._clock.call_at(when, self._repeat)

    def _repeat(self) -> None:
        self._timer = None
        if self._closed:
            return
        quick = self._quick
        if not self._offer(self._holes[0]):
            self._expired += not quick
            self._repeat_at(self._clock.time() + self._time_out())
            return
        self._holes.popleft()
        self._expired = 0
        if self._holes:  # found out alike; after a time-out by the acknowledgement of what has just been repeated
            wait = 0.0 if quick else self._link.round_trip
            self._repair(wait)
        self._push()

    def _repair(self, wait: float) -> None:
        """The oldest hole is known to be one after `wait`, s: the time-out need not be waited for."""
        when = max(self._clock.time() + wait, self._holes[0].sent + RACK * self._link.round_trip)
        if self._timer is None or when < self._timer.when():
            self._repeat_at(when, quick=True)

    def _came(self, segment: Segment, sent: float) -> None:
        self._flying -= 1
        if self._closed:
            return
        self._arrived[segment.number] = segment.deliver
        self.waiting -= segment.size
        while self._next in self._arrived and not self._closed:
            ready = self._arrived.pop(self._next)
            self._next += 1
            ready()
        if self._holes and sent > self._holes[0].sent:
            self._repair(self._link.round_trip / 2)
        self._push()
