"""A model of a broker for one client: it keeps what MQTT 5 says a broker keeps, and checks the client's every packet.

Messages are numbers. A number tells the topic and the QoS, so that each side can be checked for both.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import mqtt5

RECEIVE_MAXIMUM = 4  # of the client
ALIASES = 2  # Topic Alias Maximum of the client
IDS = 6  # packet ids that the broker uses: few, so that they come again soon


def topic_in(number: int) -> str:
    """Where the broker's message goes."""
    return f"in/{number % 3}"


def topic_out(number: int) -> str:
    """Where the client's message goes."""
    return f"out/{number % 4}"


def qos_in(number: int) -> int:
    """QoS of the broker's message."""
    return 2 if number % 5 in {1, 2} else 1


@dataclass(slots=True)
class Flight:
    """A message for the client; `received` once its PUBREC is here, and its PUBREL out."""

    number: int
    received: bool = False


class ModelBroker:
    """One client's session on a broker, with the checks a strict broker makes."""

    def __init__(self) -> None:
        self.kept = False  # whether it knows the client from before
        self.queue: deque[int] = deque()  # for the client, not sent yet
        self.flying: dict[int, Flight] = {}  # sent to the client, by packet id, in order
        self.next_id = 1
        self.seen: set[int] = set()  # publishes of the client that arrived
        self.answered: dict[int, int] = {}  # their reason codes
        self.lost_maybe: frozenset[int] = frozenset()  # what the client wrote on earlier connections
        self.again: set[int] = set()  # sent again to a client whose session was forgotten
        self.cut()

    def cut(self) -> None:
        """The connection is gone, and with it what was under way."""
        self.connected = False
        self.session_present = False
        self.maximum = 65_535
        self.to_client = bytearray()
        self.arrived: deque[tuple[int, int]] = deque()  # packet id and number, not answered on this connection
        self.acked_now: list[int] = []  # packet ids of PUBACK and PUBREC, in order
        self.last_number = -1
        self.alias_maximum = 0
        self.client_aliases: dict[int, str] = {}
        self.own_aliases: dict[int, str] = {}

    def accept(self, maximum: int, aliases: int) -> None:
        self.connected, self.maximum, self.alias_maximum = True, maximum, aliases
        self.session_present = self.kept
        self.kept = True
        self.to_client += mqtt5.ConnAckPacket(
            session_present=self.session_present, receive_max=maximum, topic_alias_max=aliases
        ).write()
        for packet_id, flight in self.flying.items():
            if flight.received:
                self.to_client += mqtt5.PubRelPacket(packet_id).write()
            else:
                self.send(packet_id, flight.number, duplicate=True)

    def forget(self) -> None:
        """As after a crash without persistence."""
        self.kept = False
        self.queue.extend(flight.number for flight in self.flying.values() if not flight.received)
        self.again.update(self.queue)
        self.flying.clear()

    def send(self, packet_id: int, number: int, *, duplicate: bool = False) -> None:
        topic, alias = self.abbreviated(number)
        self.to_client += mqtt5.PublishPacket(
            topic,
            b"%d" % number,
            qos=mqtt5.QoS(qos_in(number)),
            packet_id=packet_id,
            duplicate=duplicate,
            topic_alias=alias,
        ).write()

    def abbreviated(self, number: int) -> tuple[str, int | None]:
        """Topic and alias as sent: some topics have an alias, and now and then it goes to another one."""
        topic = topic_in(number)
        for alias, known in self.own_aliases.items():
            if known == topic:
                return "", alias
        if number % 4 == 0:
            return topic, None
        alias = number % ALIASES + 1
        self.own_aliases[alias] = topic
        return topic, alias

    def push(self) -> None:
        while self.queue and len(self.flying) < RECEIVE_MAXIMUM:
            while self.next_id in self.flying:
                self.next_id = self.next_id % IDS + 1
            packet_id, self.next_id = self.next_id, self.next_id % IDS + 1
            self.flying[packet_id] = Flight(self.queue.popleft())
            self.send(packet_id, self.flying[packet_id].number)

    def take(self, data: bytes) -> None:
        while data:
            packet, size = mqtt5.read(memoryview(data))
            data = data[size:]
            if isinstance(packet, mqtt5.PublishPacket):
                self.take_publish(packet)
            elif isinstance(packet, mqtt5.PubAckPacket):
                assert qos_in(self.acknowledged(packet.packet_id).number) == 1
                del self.flying[packet.packet_id]
            elif isinstance(packet, mqtt5.PubRecPacket):
                self.take_pubrec(packet)
            elif isinstance(packet, mqtt5.PubCompPacket):
                assert self.flying.pop(packet.packet_id).received, "a PUBCOMP without PUBREL"
            elif isinstance(packet, mqtt5.SubscribePacket):
                assert packet.packet_id not in {one for one, _ in self.arrived}
                granted = mqtt5.SubAckReasonCode.GRANTED_QOS_EXACTLY_ONCE
                self.to_client += mqtt5.SubAckPacket(packet.packet_id, [granted]).write()
            else:
                assert isinstance(packet, mqtt5.ConnectPacket)
                assert not packet.clean_start
                assert (packet.receive_max, packet.topic_alias_max) == (RECEIVE_MAXIMUM, ALIASES)

    def acknowledged(self, packet_id: int) -> Flight:
        expected = next(one for one, flight in self.flying.items() if not flight.received)
        assert packet_id == expected, "a PUBACK or PUBREC out of order, or of nothing"
        self.acked_now.append(packet_id)
        return self.flying[packet_id]

    def take_pubrec(self, packet: mqtt5.PubRecPacket) -> None:
        flight = self.acknowledged(packet.packet_id)
        assert qos_in(flight.number) == 2
        if int(packet.reason_code) >= 0x80:
            del self.flying[packet.packet_id]
        else:
            flight.received = True
            self.to_client += mqtt5.PubRelPacket(packet.packet_id).write()

    def take_publish(self, packet: mqtt5.PublishPacket) -> None:
        number = int(packet.payload)
        assert packet.packet_id is not None
        assert packet.packet_id not in {one for one, _ in self.arrived}, "a packet id twice in flight"
        assert self.resolved(packet) == topic_out(number), "an alias that stands for another topic"
        self.arrived.append((packet.packet_id, number))
        assert len(self.arrived) <= self.maximum, "more than our Receive Maximum"
        assert number > self.last_number, "not in the order of publishing"
        self.last_number = number
        assert not packet.duplicate or self.session_present, "DUP without a session"
        assert not packet.duplicate or number <= max(self.seen, default=-1) or number in self.lost_maybe
        self.seen.add(number)

    def resolved(self, packet: mqtt5.PublishPacket) -> str:
        alias = packet.topic_alias
        if alias is None:
            return packet.topic
        assert alias <= self.alias_maximum
        if packet.topic:
            self.client_aliases[alias] = packet.topic
        return self.client_aliases[alias]

    def answer(self, code: int) -> None:
        packet_id, number = self.arrived.popleft()
        self.answered[number] = code
        self.to_client += mqtt5.PubAckPacket(packet_id, reason_code=mqtt5.PubAckReasonCode(code)).write()
