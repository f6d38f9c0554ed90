"""What is under way: bounded, and never taken for lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.link.events import MessageId, Protocol

MOST = 1024  # messages; the oldest is forgotten unjudged
MOST_VOLLEYS = 16  # of a message; further ones count into the last
COPY_GAP = 0.02  # seconds; transmissions closer than this are copies of one volley


class Flight:
    """One message under way.

    Attributes:
        number: place in the order of sending.
        carried: bytes of all transmissions before its first.
        protocol: how it left.
        size: bytes.
        probe: it carries no rows.
        volleys: local seconds and number of copies of each volley.
        sent: transmissions in all.
        timed: its times can be trusted: no clock jump since it left.
    """

    __slots__ = ("carried", "number", "probe", "protocol", "sent", "size", "timed", "volleys")

    def __init__(self, number: int, protocol: Protocol, size: int, at: float, *, carried: int, probe: bool) -> None:
        self.number = number
        self.carried = carried
        self.protocol = protocol
        self.size = size
        self.probe = probe
        self.volleys: list[tuple[float, int]] = [(at, 1)]
        self.sent = 1
        self.timed = True

    def again(self, at: float) -> bool:
        """One more transmission; whether it began a new volley."""
        self.sent += 1
        first, copies = self.volleys[-1]
        if at - first < COPY_GAP or len(self.volleys) == MOST_VOLLEYS:
            self.volleys[-1] = (first, copies + 1)
            return False
        self.volleys.append((at, 1))
        return True

    def volley_of(self, transmission: int) -> int:
        """Index of the volley that the transmission (from 1) belongs to."""
        for index, (_, copies) in enumerate(self.volleys):
            transmission -= copies
            if transmission <= 0:
                return index
        return len(self.volleys) - 1


class Flights:
    """All messages under way, by id."""

    def __init__(self) -> None:
        self._open: dict[MessageId, Flight] = {}
        self._next = 0
        self._carried = 0

    def __len__(self) -> int:
        return len(self._open)

    def sent(self, message: MessageId, protocol: Protocol, size: int, at: float, *, probe: bool) -> Flight | None:
        """A message left; what it pushed out of the table."""
        self._open[message] = Flight(self._next, protocol, size, at, carried=self._carried, probe=probe)
        self._next += 1
        self._carried += size
        return self._open.pop(next(iter(self._open))) if len(self._open) > MOST else None

    def again(self, message: MessageId, at: float) -> Flight | None:
        """It left once more; itself, if that was no copy but a new volley."""
        flight = self._open.get(message)
        if flight is None:
            return None
        self._carried += flight.size
        return flight if flight.again(at) else None

    def get(self, message: MessageId) -> Flight | None:
        """The message, if it is under way."""
        return self._open.get(message)

    def end(self, message: MessageId) -> Flight | None:
        """Takes it out."""
        return self._open.pop(message, None)

    def drop(self, protocol: Protocol) -> None:
        """Takes out all of a protocol, unjudged."""
        self._open = {key: flight for key, flight in self._open.items() if flight.protocol != protocol}

    def untime(self) -> None:
        """The clock jumped: no duration from before it means anything."""
        for flight in self._open.values():
            flight.timed = False
