"""The MQTT 5 session against a small broker that is cut off, restarted and slow at will.

The broker here is a model: it keeps what MQTT 5 says a broker keeps, checks each packet of the client against the
rules, and is driven step by step by hypothesis.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import mqtt5
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.mqtt.messages import Delivery, Publish, Settings
from bridge.mqtt.session import Session, State

OURS = 4  # the session's Receive Maximum


class Broker:
    """One client's session on a broker, with the checks a strict broker makes."""

    def __init__(self) -> None:
        self.kept = False  # whether it knows the client from before
        self.queue: deque[int] = deque()  # for the client, not sent yet
        self.flying: dict[int, int] = {}  # sent to the client, by packet id, in order
        self.next_id = 1
        self.seen: set[int] = set()  # publishes of the client that arrived
        self.answered: dict[int, int] = {}  # their reason codes
        self.cut()

    def cut(self) -> None:
        """The connection is gone, and with it what was under way."""
        self.connected = False
        self.session_present = False
        self.maximum = 65_535
        self.to_client = bytearray()
        self.arrived: deque[tuple[int, int]] = deque()  # packet id and number, not answered on this connection
        self.acked_now: list[int] = []
        self.last_number = -1
        self.subscribed = False

    def accept(self, maximum: int) -> None:
        self.connected, self.maximum = True, maximum
        self.session_present = self.kept
        self.kept = True
        self.to_client += mqtt5.ConnAckPacket(session_present=self.session_present, receive_max=maximum).write()
        for packet_id, number in self.flying.items():
            self.send(packet_id, number, duplicate=True)

    def forget(self) -> None:
        """As after a crash without persistence."""
        self.kept = False
        self.queue.extend(self.flying.values())
        self.flying.clear()

    def send(self, packet_id: int, number: int, *, duplicate: bool = False) -> None:
        self.to_client += mqtt5.PublishPacket(
            "in", b"%d" % number, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id, duplicate=duplicate
        ).write()

    def push(self) -> None:
        while self.queue and len(self.flying) < OURS:
            while self.next_id in self.flying:
                self.next_id = self.next_id % 6 + 1  # few ids, so that they come again soon
            packet_id, self.next_id = self.next_id, self.next_id % 6 + 1
            self.flying[packet_id] = self.queue.popleft()
            self.send(packet_id, self.flying[packet_id])

    def take(self, data: bytes) -> None:
        while data:
            packet, size = mqtt5.read(memoryview(data))
            data = data[size:]
            if isinstance(packet, mqtt5.PublishPacket):
                self.take_publish(packet)
            elif isinstance(packet, mqtt5.PubAckPacket):
                assert packet.packet_id == next(iter(self.flying)), "a PUBACK out of order, or of nothing"
                del self.flying[packet.packet_id]
                self.acked_now.append(packet.packet_id)
            elif isinstance(packet, mqtt5.SubscribePacket):
                assert packet.packet_id not in {one for one, _ in self.arrived}
                self.to_client += mqtt5.SubAckPacket(
                    packet.packet_id, [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE]
                ).write()
                self.subscribed = True
            else:
                assert isinstance(packet, mqtt5.ConnectPacket)
                assert not packet.clean_start

    def take_publish(self, packet: mqtt5.PublishPacket) -> None:
        number = int(packet.payload)
        assert packet.packet_id is not None
        assert packet.packet_id not in {one for one, _ in self.arrived}, "a packet id twice in flight"
        self.arrived.append((packet.packet_id, number))
        assert len(self.arrived) <= self.maximum, "more than our Receive Maximum"
        assert number > self.last_number, "not in the order of publishing"
        self.last_number = number
        assert not packet.duplicate or self.session_present, "DUP without a session"
        assert not packet.duplicate or number <= max(self.seen, default=-1) or number in self.lost_maybe
        self.seen.add(number)

    lost_maybe: frozenset[int] = frozenset()

    def answer(self, code: int) -> None:
        packet_id, number = self.arrived.popleft()
        self.answered[number] = code
        self.to_client += mqtt5.PubAckPacket(packet_id, reason_code=mqtt5.PubAckReasonCode(code)).write()


class SessionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.session = Session(Settings("me", subscriptions=("in",), receive_maximum=OURS))
        self.broker = Broker()
        self.now = 0.0
        self.published = 0
        self.written: set[int] = set()
        self.done: dict[int, list[int]] = {}
        self.offered = 0
        self.deliveries: list[tuple[int, Delivery]] = []  # connection on which it came, not settled yet
        self.connection = 0
        self.arrivals: list[Delivery] = []  # of this connection, in order

    # ---- the link

    def hand_over(self, size: int | None = None) -> None:
        """Bytes from the broker to the session."""
        size = len(self.broker.to_client) if size is None else size
        data = bytes(self.broker.to_client[:size])
        del self.broker.to_client[:size]
        if data:
            for delivery in self.session.receive(data, self.now):
                self.deliveries.append((self.connection, delivery))
                self.arrivals.append(delivery)

    def send_out(self) -> None:
        """Bytes from the session to the broker."""
        data = self.session.outgoing(self.now)
        self.broker.lost_maybe = frozenset(self.written)
        rest = data
        while rest:
            packet, size = mqtt5.read(memoryview(rest))
            rest = rest[size:]
            if isinstance(packet, mqtt5.PublishPacket):
                self.written.add(int(packet.payload))
        self.broker.take(data)

    def drop(self) -> None:
        self.session.lost()
        self.broker.cut()
        self.arrivals.clear()

    @property
    def up(self) -> bool:
        return self.broker.connected

    @precondition(lambda self: not self.up)
    @rule(maximum=st.sampled_from([1, 2, 5, 65_535]), forget=st.booleans())
    def connect(self, maximum: int, forget: bool) -> None:
        if forget:
            self.broker.forget()
        self.connection += 1
        self.session.connect(self.now)
        self.send_out()
        self.broker.accept(maximum)

    @precondition(lambda self: self.up)
    @rule(written=st.booleans())
    def cut(self, written: bool) -> None:
        if written:  # what left reached the broker, its answers reach nobody
            self.send_out()
        else:  # what left was lost on the way
            data = self.session.outgoing(self.now)
            while data:
                packet, size = mqtt5.read(memoryview(data))
                data = data[size:]
                if isinstance(packet, mqtt5.PublishPacket):
                    self.written.add(int(packet.payload))
        self.drop()

    @precondition(lambda self: self.up)
    @rule(size=st.integers(1, 60) | st.none())
    def bytes_arrive(self, size: int | None) -> None:
        self.hand_over(size)
        self.send_out()

    # ---- what both ends do

    @rule(many=st.integers(1, 6))
    def publish(self, many: int) -> None:
        numbers = range(self.published, self.published + many)
        self.published += many
        for number in numbers:
            self.done[number] = []
        self.session.publish([Publish("out", b"%d" % number, done=self.done[number].append) for number in numbers])

    @rule(many=st.integers(1, 6))
    def offer(self, many: int) -> None:
        self.broker.queue.extend(range(self.offered, self.offered + many))
        self.offered += many

    @precondition(lambda self: self.up)
    @rule()
    def broker_sends(self) -> None:
        self.broker.push()

    @precondition(lambda self: self.broker.arrived)
    @rule(many=st.integers(1, 5), code=st.sampled_from([0, 0, 0x10, 0x87]))
    def broker_answers(self, many: int, code: int) -> None:
        for _ in range(min(many, len(self.broker.arrived))):
            self.broker.answer(code)

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data())
    def settle(self, data: Any) -> None:
        """Any delivery, also one of a connection long gone."""
        _, delivery = self.deliveries.pop(data.draw(st.integers(0, len(self.deliveries) - 1)))
        self.session.acknowledge(delivery)

    # ---- what must hold

    @invariant()
    def only_what_was_settled_in_a_row_is_acknowledged(self) -> None:
        if not self.up:
            return
        self.send_out()
        settled_in_a_row = 0
        for delivery in self.arrivals:
            if delivery.settled is None:
                break
            settled_in_a_row += 1
        assert self.broker.acked_now == [delivery.packet_id for delivery in self.arrivals[:settled_in_a_row]]
        assert self.session.unacknowledged == len(self.arrivals) - settled_in_a_row

    @invariant()
    def each_outcome_is_told_once_and_is_the_broker_s(self) -> None:
        for number, codes in self.done.items():
            assert len(codes) <= 1
            if codes:
                assert number in self.broker.answered
        assert self.session.waiting == sum(not codes for codes in self.done.values())

    def teardown(self) -> None:
        """In the end a broker that behaves gets everything, and gives everything."""
        if self.up:
            self.drop()
        self.connect(maximum=2, forget=False)
        for _ in range(10_000):
            self.hand_over()
            self.send_out()
            while self.broker.arrived:
                self.broker.answer(0)
            self.broker.push()
            for connection, delivery in self.deliveries:
                if connection == self.connection:
                    self.session.acknowledge(delivery)
            self.deliveries = [one for one in self.deliveries if one[0] != self.connection]
            self.send_out()
            if not (self.broker.to_client or self.broker.arrived or self.broker.queue or self.broker.flying):
                break
        assert all(len(codes) == 1 for codes in self.done.values())
        assert not self.broker.flying
        assert not self.broker.queue
        assert (self.session.waiting, self.session.unacknowledged) == (0, 0)
        assert self.session.state is State.CONNECTED
        assert self.session.ready


TestSessionMachine = SessionMachine.TestCase
TestSessionMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
