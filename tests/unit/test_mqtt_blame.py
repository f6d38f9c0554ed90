"""A publish over which the broker ends the connection is found out and refused; everything else arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mqtt5
import pytest

from bridge.errors import LinkError
from bridge.mqtt.messages import Publish, Settings
from tests.support.mqtt_packets import connected, puback, reconnect, sent, suback

if TYPE_CHECKING:
    from bridge.mqtt.session import Session

PROTOCOL_ERROR, SHUTTING_DOWN = 0x82, 0x8B


class Broker:
    """Takes what it is sent in order, and ends the connection at the first payload that it cannot stand."""

    def __init__(self, session: Session, hates: bytes, code: int = PROTOCOL_ERROR, room: int = 20) -> None:
        self.session, self.hates, self.code, self.room = session, hates, code, room
        self.taken: list[bytes] = []
        self.connections = 1

    def serve(self, most: int = 30) -> None:
        """Until nothing is under way, or so many connections were ended."""
        packets = sent(self.session)
        while packets and self.connections <= most:
            for packet in packets:
                if packet.payload == self.hates:
                    with pytest.raises(LinkError):
                        self.session.receive(ended(self.code), 0.0)
                    packets = reconnect(self.session, receive_max=self.room, session_present=True)
                    self.connections += 1
                    break
                self.taken.append(packet.payload)
                self.session.receive(puback(packet.packet_id), 0.0)
            else:
                packets = sent(self.session)


def ended(code: int) -> bytes:
    return mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode(code)).write()


def out(number: int, codes: dict[int, int]) -> Publish:
    return Publish("t", b"%d" % number, done=lambda code: codes.__setitem__(number, code))


@pytest.mark.parametrize("bad", [0, 1, 7, 99])
def test_it_is_refused_and_the_others_arrive_in_order(bad: int) -> None:
    codes: dict[int, int] = {}
    session = connected(receive_max=20)
    session.publish([out(number, codes) for number in range(100)])
    broker = Broker(session, b"%d" % bad)
    broker.serve()
    assert codes == {number: PROTOCOL_ERROR if number == bad else 0 for number in range(100)}
    assert sorted(broker.taken, key=int) == [b"%d" % number for number in range(100) if number != bad]
    assert broker.connections <= 4
    assert session.waiting == 0


def test_afterwards_as_many_are_under_way_as_before() -> None:
    codes: dict[int, int] = {}
    session = connected(receive_max=20)
    session.publish([out(number, codes) for number in range(60)])
    Broker(session, b"0").serve()
    session.publish([out(number, codes) for number in range(100, 150)])
    assert len(sent(session)) == 20


def test_an_end_that_says_nothing_about_packets_refuses_nothing() -> None:
    codes: dict[int, int] = {}
    session = connected(receive_max=20)
    session.publish([out(0, codes)])
    broker = Broker(session, b"0", SHUTTING_DOWN)
    broker.serve(most=5)
    assert (codes, session.waiting, broker.connections) == ({}, 1, 6)


def test_where_resets_overtake_the_reasons_it_is_refused_at_the_third_in_a_row() -> None:
    codes: dict[int, int] = {}
    session = connected(receive_max=20)
    session.publish([out(number, codes) for number in range(3)])
    with pytest.raises(LinkError):
        session.receive(puback(1) + ended(PROTOCOL_ERROR), 0.0)
    for _ in range(3):
        assert codes == {0: 0}
        assert [packet.payload for packet in reconnect(session, receive_max=20, session_present=True)] == [b"1"]
    assert [packet.payload for packet in reconnect(session, receive_max=20, session_present=True)] == [b"2"]
    assert codes == {0: 0, 1: PROTOCOL_ERROR}
    session.receive(puback(3), 0.0)
    assert (codes[2], session.waiting) == (0, 0)


def test_nobody_need_want_to_know() -> None:
    session = connected(receive_max=20)
    session.publish([Publish("t", b"0")])
    Broker(session, b"0").serve()
    assert session.waiting == 0


def test_where_nothing_is_acknowledged_messages_go_alone_once_subscribed_and_none_is_refused() -> None:
    codes: dict[int, int] = {}
    session = connected(Settings("me", subscriptions=("in",)), receive_max=20)
    session.publish([out(number, codes) for number in range(3)])

    def payloads(packets: list[Any]) -> list[bytes]:
        return [packet.payload for packet in packets if isinstance(packet, mqtt5.PublishPacket)]

    assert payloads(sent(session)) == [b"0", b"1", b"2"]
    for _ in range(2):
        again = reconnect(session, receive_max=20, session_present=True)
        assert payloads(again) == [b"0", b"1", b"2"], "as long as it may be the link"
    packets = reconnect(session, receive_max=20, session_present=True)
    (subscribe,) = packets
    session.receive(suback(subscribe.packet_id, 1), 0.0)
    (first,) = sent(session)
    assert first.payload == b"0"
    session.receive(puback(first.packet_id), 0.0)
    assert payloads(sent(session)) == [b"1", b"2"]
    assert codes == {0: 0}
    for _ in range(5):  # careful again and again, but the broker blames nothing
        (subscribe,) = reconnect(session, receive_max=20, session_present=True)
        session.receive(suback(subscribe.packet_id, 1), 0.0)
        assert payloads(sent(session)) == [b"1"]
    assert codes == {0: 0}
    session.receive(puback(3) + puback(2), 0.0)
    session.publish([out(number, codes) for number in range(4, 40)])
    assert len(sent(session)) <= 20
