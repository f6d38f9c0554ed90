"""The MQTT 5 session against a small broker that is cut off, restarted and slow at will.

The broker is a model (tests/support/model_broker.py), driven step by step by hypothesis: QoS 1 both ways, QoS 2 towards
the session, aliases both ways.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import mqtt5
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.mqtt.messages import Delivery, Publish, Settings
from bridge.mqtt.session import Session, State
from tests.support.model_broker import ALIASES, RECEIVE_MAXIMUM, ModelBroker, qos_in, topic_in, topic_out

ASKED = Settings(
    "me", subscriptions=("in/+",), receive_maximum=RECEIVE_MAXIMUM, qos=2, topic_alias_maximum=ALIASES, aliases=2
)


class SessionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.session = Session(ASKED, timing=True)
        self.broker = ModelBroker()
        self.now = 0.0
        self.published = 0
        self.written: set[int] = set()  # numbers, on any connection
        self.written_before: set[int] = set()  # numbers, on an earlier one
        self.flying: dict[int, tuple[int, int]] = {}  # number and bytes by packet id, on this connection
        self.samples: list[tuple[int, bool]] = []  # bytes and ambiguity that the PUBACKs of one read tell
        self.done: dict[int, list[int]] = {}
        self.offered = 0
        self.deliveries: list[Delivery] = []  # of any connection, not settled yet
        self.handed = Counter[int]()
        self.refused: set[int] = set()
        self.unread = b""  # the beginning of a packet from the broker
        self.arrivals: list[Delivery] = []  # what came on this connection, copies too, in order
        self.held: dict[int, Delivery] = {}  # QoS 2, by packet id

    # ---- the link

    def hand_over(self, size: int | None = None) -> None:
        """Bytes from the broker to the session."""
        size = len(self.broker.to_client) if size is None else size
        data = bytes(self.broker.to_client[:size])
        del self.broker.to_client[:size]
        if not data:
            return
        self.now += 1.0
        new = self.session.receive(data, self.now)
        self.deliveries += new
        self.follow(data, iter(new))
        acked = self.session.take_acked()
        assert [(one.size, one.ambiguous) for one in acked] == self.samples
        self.samples.clear()

    def follow(self, data: bytes, new: Any) -> None:
        """What a read brought, packet by packet."""
        self.unread += data
        while True:
            try:
                packet, size = mqtt5.read(memoryview(self.unread))
            except IndexError:
                break
            self.unread = self.unread[size:]
            if isinstance(packet, mqtt5.PublishPacket):
                self.follow_publish(packet, new)
            elif isinstance(packet, mqtt5.PubRelPacket):
                self.held.pop(packet.packet_id, None)
            elif isinstance(packet, mqtt5.ConnAckPacket) and not packet.session_present:
                self.held.clear()
            elif isinstance(packet, mqtt5.PubAckPacket) and packet.packet_id in self.flying:
                number, size = self.flying.pop(packet.packet_id)
                self.samples.append((size, number in self.written_before))
        assert next(new, None) is None

    def follow_publish(self, packet: mqtt5.PublishPacket, new: Any) -> None:
        assert packet.packet_id is not None
        delivery = self.held.get(packet.packet_id) if packet.qos == 2 else None
        if delivery is None or delivery.payload != packet.payload:  # the broker forgot, and its CONNACK was lost
            delivery = next(new)
            number = int(delivery.payload)
            assert (delivery.packet_id, delivery.payload) == (packet.packet_id, packet.payload)
            assert (delivery.topic, delivery.qos) == (topic_in(number), qos_in(number))
            self.handed[number] += 1
            if delivery.qos == 2:
                self.held[packet.packet_id] = delivery
        self.arrivals.append(delivery)

    def send_out(self, *, arrives: bool = True) -> None:
        """Bytes from the session to the broker, or to nobody."""
        data = rest = self.session.outgoing(self.now)
        self.broker.lost_maybe = frozenset(self.written)
        while rest:
            packet, size = mqtt5.read(memoryview(rest))
            rest = rest[size:]
            if isinstance(packet, mqtt5.PublishPacket):
                assert packet.packet_id is not None
                number = int(packet.payload)
                self.written.add(number)
                self.flying[packet.packet_id] = (number, size)
            elif isinstance(packet, mqtt5.PubRecPacket) and int(packet.reason_code) >= 0x80:
                del self.held[packet.packet_id]
        if arrives:
            self.broker.take(data)

    def drop(self) -> None:
        self.session.lost()
        self.broker.cut()
        self.arrivals.clear()
        self.flying.clear()
        self.unread = b""
        self.written_before |= self.written

    @property
    def up(self) -> bool:
        return self.broker.connected

    @precondition(lambda self: not self.up)
    @rule(maximum=st.sampled_from([1, 2, 5, 65_535]), aliases=st.sampled_from([0, 1, 3]), forget=st.booleans())
    def connect(self, maximum: int, aliases: int, forget: bool) -> None:
        if forget:
            self.broker.forget()
        self.session.connect(self.now)
        self.send_out()
        self.broker.accept(maximum, aliases)

    @precondition(lambda self: self.up)
    @rule(arrives=st.booleans())
    def cut(self, arrives: bool) -> None:
        """What left reached the broker, and its answers reach nobody; or it was lost on the way."""
        self.send_out(arrives=arrives)
        self.drop()

    @precondition(lambda self: self.deliveries and self.up)
    @rule(data=st.data())
    def settle_and_cut(self, data: Any) -> None:
        """An acknowledgement that never arrives."""
        self.settle(data, 0)
        self.cut(arrives=False)

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
        self.session.publish(
            [Publish(topic_out(number), b"%d" % number, done=self.done[number].append) for number in numbers]
        )

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
    @rule(data=st.data(), code=st.sampled_from([0, 0, 0, 0x83]))
    def settle(self, data: Any, code: int) -> None:
        """Any delivery, also one of a connection long gone."""
        delivery = self.deliveries.pop(data.draw(st.integers(0, len(self.deliveries) - 1)))
        if code:
            self.refused.add(int(delivery.payload))
        self.session.acknowledge(delivery, code)

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

    @invariant()
    def qos_2_is_handed_over_once(self) -> None:
        """Unless we refused it, and the refusal was lost; or the broker forgot that it had sent it."""
        for number, times in self.handed.items():
            assert times == 1 or qos_in(number) == 1 or number in self.refused or number in self.broker.again

    @invariant()
    def bytes_in_flight_are_those_written_and_not_acknowledged(self) -> None:
        if self.up:
            self.send_out()
        assert self.session.bytes_in_flight == sum(size for _, size in self.flying.values())

    def teardown(self) -> None:
        """In the end a broker that behaves gets everything, and gives everything."""
        if self.up:
            self.drop()
        self.connect(maximum=2, aliases=1, forget=False)
        for _ in range(10_000):
            self.hand_over()
            self.send_out()
            while self.broker.arrived:
                self.broker.answer(0)
            self.broker.push()
            for delivery in self.deliveries:
                self.session.acknowledge(delivery)
            self.deliveries.clear()
            self.send_out()
            if not (self.broker.to_client or self.broker.arrived or self.broker.queue or self.broker.flying):
                break
        assert all(len(codes) == 1 for codes in self.done.values())
        assert not self.broker.flying
        assert not self.broker.queue
        assert (self.session.waiting, self.session.unacknowledged, self.session.bytes_in_flight) == (0, 0, 0)
        assert set(self.handed) == set(range(self.offered))
        assert self.broker.again or not self.session._receiver._held
        assert self.session.state is State.CONNECTED
        assert self.session.ready


TestSessionMachine = SessionMachine.TestCase
TestSessionMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
