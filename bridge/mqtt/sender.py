"""The sending side of a session: what is to be published, what is under way, and what its PUBACKs tell of the link."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from bridge.mqtt import codec
from bridge.mqtt.aliases import OurAliases
from bridge.mqtt.messages import Acked, Publish, Settings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

PACKET_TOO_LARGE = 0x95
BLAMES = frozenset((0x81, 0x82, 0x90, 0x95, 0x99, 0x9A, 0x9B))  # reasons of a DISCONNECT that speak of a packet
SUSPECT = 3  # connections in a row that end with the same publish alone under way, or on which nothing is acknowledged
MOST_FLYING = 1_000  # whatever the broker allows: a reconnect sends all of them again before anything else


class _Departure(msgspec.Struct):
    """Shared by the publishes that leave in one write: when that was."""

    at: float | None = None


class _Flight(msgspec.Struct, gc=False):
    """A publish under way. `left` is None until it has been written on this connection."""

    message: Publish
    size: int
    left: _Departure | None
    again: bool = False


class Sender:
    """Publishes of one session.

    Args:
        settings: what was asked of the broker.
        out: takes the packets to write.

    Attributes:
        bytes_in_flight: bytes of the PUBLISH packets written on this connection and not acknowledged.
        acknowledgements: how many publishes were acknowledged so far.
        acked: collects what the PUBACKs tell; None while nobody wants to know.
    """

    def __init__(self, settings: Settings, out: list[bytes]) -> None:
        self._out = out
        self._queue: deque[Publish] = deque()
        self._flying: dict[int, _Flight] = {}
        self._resend: deque[int] = deque()  # of those under way, the ones not written on this connection yet
        self._next_id = 1
        self._subscribing: Collection[int] = ()  # packet ids of the subscriptions, the session's
        self._open = False
        self._present = False  # whether the broker knew our session
        self._receive_maximum = 65_535
        self._most = 65_535  # under way at once: that, or less while careful
        self._careful = False  # one of those under way ends connections, or seems to; until all of them are through
        self._blame: int | None = None  # why a connection ended over one of them, if the broker said so
        self._alone = 0  # connections in a row that ended with a single one under way
        self._fruitless = 0  # connections in a row on which something was written and nothing acknowledged
        self._before = 0  # acknowledgements when this connection began
        self._maximum_packet: int | None = None
        self._aliases = OurAliases(settings.aliases)
        self._departure = _Departure()
        self.bytes_in_flight = 0
        self.acknowledgements = 0
        self.acked: list[Acked] | None = None

    @property
    def waiting(self) -> int:
        """Messages handed over and not acknowledged by the broker."""
        return len(self._queue) + len(self._flying)

    @property
    def queued(self) -> int:
        """Of these, the ones that have not been written on any connection."""
        return len(self._queue)

    @property
    def receive_maximum(self) -> int:
        """Messages of QoS 1 that may be under way on this connection."""
        return self._receive_maximum

    @property
    def maximum_packet(self) -> int | None:
        """Bytes of the largest packet that the broker takes on this connection; None: it did not say."""
        return self._maximum_packet

    @property
    def oldest(self) -> int | None:
        """Packet id of the first message under way."""
        return next(iter(self._flying), None)

    def begin(self, connack: codec.ConnAckPacket, subscribing: Collection[int]) -> None:
        """A new connection, with the broker's limits.

        What was under way leaves before anything new and in its old order, at the next `fill`.

        Args:
            connack: what the broker said.
            subscribing: packet ids that SUBSCRIBE and UNSUBSCRIBE use.
        """
        self._open = True
        self._present = connack.session_present
        self._receive_maximum = min(connack.receive_max, MOST_FLYING)
        self._most = 1 if self._careful else self._receive_maximum
        self._before = self.acknowledgements
        self._maximum_packet = connack.max_packet_size
        self._aliases.begin(connack.topic_alias_max)
        self._resend = deque(self._flying)
        self._subscribing = subscribing

    def lost(self) -> None:
        """The connection is gone."""
        if self._open:
            if self._blame is not None:
                self._suspect(self._blame)
            self._count_fruitless()
        self._open = False
        self.bytes_in_flight = 0
        for flight in self._flying.values():
            if flight.left is not None and flight.left.at is not None:
                flight.again = True
            flight.left = None

    def blamed(self, code: int) -> None:
        """The broker ended the connection over a packet of ours.

        A publish that it takes so would end every connection to come, for it is sent again first. So the next one
        begins with a single message under way, twice as many with each PUBACK, and a publish that is alone when it
        happens again is refused: at once if the broker says so again, else (a reset may overtake the DISCONNECT) at the
        third time in a row.

        Where no DISCONNECT came at all, connections on which nothing was acknowledged make the next one as careful, but
        nothing is refused for that: it may be the network. Alone, and written when all else is answered, a publish
        leaves the broker nothing unread, so that its DISCONNECT arrives.

        Args:
            code: reason code of its DISCONNECT; others than `BLAMES` say nothing about packets.
        """
        if code in BLAMES:
            self._alone = 0 if self._blame is None else SUSPECT
            self._blame, self._careful = code, True

    def _count_fruitless(self) -> None:
        written = any(flight.left is not None for flight in self._flying.values())
        fruitless = written and self.acknowledgements == self._before
        self._fruitless = self._fruitless + 1 if fruitless else 0
        self._careful = self._careful or self._fruitless >= SUSPECT

    def _suspect(self, code: int) -> None:
        written = [packet_id for packet_id, flight in self._flying.items() if flight.left is not None]
        if len(written) != 1:
            self._alone = 0
            return
        self._alone += 1
        if self._alone >= SUSPECT:
            self._alone = 0
            flight = self._flying.pop(written[0])
            if flight.message.done is not None:
                flight.message.done(code)

    def departed(self, now: float) -> None:
        """What was written until now leaves."""
        self._departure.at = now
        self._departure = _Departure()

    def publish(self, messages: Iterable[Publish]) -> None:
        """Queue messages; they leave as the broker's Receive Maximum allows, also on a later connection."""
        self._queue.extend(messages)
        self.fill()

    def acknowledged(self, packet_id: int, code: int, now: float) -> None:
        """Take a PUBACK; one of nothing is no error."""
        flight = self._flying.pop(packet_id, None)
        if flight is None:
            return
        self.acknowledgements += 1
        if self._careful:
            self._trust()
        left = flight.left
        if left is None:  # the PUBACK of the last connection's copy
            self._resend.remove(packet_id)
        else:
            self.bytes_in_flight -= flight.size
            if self.acked is not None and left.at is not None:
                self.acked.append(Acked(now - left.at, flight.size, flight.again))
        if (done := flight.message.done) is not None:
            done(code)

    def fill(self) -> None:
        """Write what is to be sent again, then queued messages, up to the broker's Receive Maximum."""
        if not self._open or (self._careful and self._subscribing):
            return
        if self._resend:
            self._fill_again()
        queue, flying, departure = self._queue, self._flying, self._departure
        room = self._most + len(self._resend)
        written = 0
        while queue and len(flying) < room:
            message = queue.popleft()
            if not message.qos:
                self._write_once(message)
                continue
            packet_id = self._next_id
            if packet_id in flying or packet_id in self._subscribing:
                packet_id = self.free_id()
            self._next_id = packet_id % 65_535 + 1
            size = self._write(message, packet_id)
            if size:
                written += size
                flying[packet_id] = _Flight(message, size, departure)
            elif message.done is not None:
                message.done(PACKET_TOO_LARGE)
        self.bytes_in_flight += written

    def _trust(self) -> None:
        """One that was under way is through."""
        self._alone = 0
        self._most = min(2 * self._most, self._receive_maximum)
        if self._most == self._receive_maximum:
            self._blame, self._careful = None, False

    def _write_once(self, message: Publish) -> None:
        """QoS 0."""
        packet = codec.publish(message, None)
        fits = self._fits(packet)
        if fits:
            self._out.append(packet)
        if message.done is not None:
            message.done(0 if fits else PACKET_TOO_LARGE)

    def _fill_again(self) -> None:
        flying, resend = self._flying, self._resend
        while resend and len(flying) - len(resend) < self._most:
            packet_id = resend.popleft()
            flight = flying[packet_id]
            # DUP only where the broker may know the first copy.
            size = self._write(flight.message, packet_id, duplicate=self._present)
            if size:
                self.bytes_in_flight += size
                flight.size, flight.left = size, self._departure
                continue
            del flying[packet_id]
            if flight.message.done is not None:
                flight.message.done(PACKET_TOO_LARGE)

    def _write(self, message: Publish, packet_id: int, *, duplicate: bool = False) -> int:
        """Put a message into the way out; its bytes, or 0 when that is above the broker's Maximum Packet Size."""
        if self._aliases.limit and (size := self._write_aliased(message, packet_id, duplicate=duplicate)):
            return size
        packet = codec.publish(message, packet_id, duplicate=duplicate)
        size = len(packet)
        if self._maximum_packet is not None and size > self._maximum_packet:
            return 0
        self._out.append(packet)
        return size

    def _write_aliased(self, message: Publish, packet_id: int, *, duplicate: bool) -> int:
        """The same by an alias; 0 also when the topic gets none."""
        alias, known = self._aliases.choose(message.topic)
        if not alias:
            return 0
        packet = codec.publish_in_full(message, packet_id, duplicate=duplicate, alias=alias, known=known)
        if not self._fits(packet):
            return 0
        self._aliases.given(message.topic, alias)
        self._out.append(packet)
        return len(packet)

    def _fits(self, packet: bytes) -> bool:
        return self._maximum_packet is None or len(packet) <= self._maximum_packet

    def free_id(self) -> int:
        """A packet id that nothing under way uses."""
        candidate = self._next_id
        while candidate in self._flying or candidate in self._subscribing:
            candidate = candidate % 65_535 + 1
        self._next_id = candidate % 65_535 + 1
        return candidate
