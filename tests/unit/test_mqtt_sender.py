"""What a session publishes: in what order, how much at once, and again on the next connection."""

from __future__ import annotations

import mqtt5
import pytest

from bridge.mqtt.messages import Publish, Settings
from bridge.mqtt.sender import MOST_FLYING
from bridge.mqtt.session import Session
from tests.support.mqtt_packets import connack, connected, out, puback, reconnect, sent


def test_publishes_wait_for_a_connection_and_for_room() -> None:
    session = Session(Settings("me"))
    codes: list[int] = []
    session.publish([out(number, codes) for number in range(3)])
    assert session.waiting == 3
    session.connect(0.0)
    session.outgoing(0.0)
    session.receive(connack(receive_max=2), 0.0)
    assert [packet.payload for packet in sent(session)] == [b"0", b"1"]
    session.receive(puback(1, 0x10), 0.0)
    assert [packet.payload for packet in sent(session)] == [b"2"]
    session.receive(puback(2) + puback(3, 0x87) + puback(3), 0.0)
    assert (codes, session.waiting) == ([0x10, 0, 0x87], 0)


def test_qos_0_is_done_once_written_and_takes_no_room() -> None:
    codes: list[int] = []
    session = connected(receive_max=1)
    session.publish([out(number, codes, qos=0) for number in range(3)])
    assert [(packet.qos, packet.packet_id) for packet in sent(session)] == [(0, None)] * 3
    assert (codes, session.waiting) == ([0, 0, 0], 0)


@pytest.mark.parametrize("present", [True, False])
def test_what_was_under_way_is_sent_again_in_order_before_anything_new(present: bool) -> None:
    session = connected()
    session.publish([out(number) for number in range(3)])
    session.outgoing(0.0)
    session.receive(puback(2), 0.0)
    session.publish([out(3)])
    again = reconnect(session, session_present=present)
    assert [(packet.payload, packet.packet_id, packet.duplicate) for packet in again] == [
        (b"0", 1, present),
        (b"2", 3, present),
        (b"3", 4, present),
    ]


def test_a_smaller_receive_maximum_after_a_reconnect_is_kept() -> None:
    codes: list[int] = []
    session = connected(receive_max=10)
    session.publish([out(number, codes) for number in range(5)])
    again = reconnect(session, receive_max=2, session_present=True)
    assert [packet.payload for packet in again] == [b"0", b"1"]
    session.receive(puback(1), 0.0)
    assert [packet.payload for packet in sent(session)] == [b"2"]
    session.receive(puback(5, 0x10), 0.0)  # which was not sent again yet: the broker had the first copy
    assert sent(session) == []
    session.receive(puback(2) + puback(3), 0.0)
    assert [packet.payload for packet in sent(session)] == [b"3"]
    session.receive(puback(4), 0.0)
    assert (codes, session.waiting) == ([0, 0x10, 0, 0, 0], 0)


def test_what_is_larger_than_the_broker_takes_is_told_and_not_sent() -> None:
    codes: list[int] = []
    session = connected(max_packet_size=100)
    long = {"response_topic": "é" * 20, "correlation": b"c" * 50}
    for qos in (0, 1):
        session.publish([out(1, codes, qos=qos, **long), Publish("t", b"x" * 101, qos=qos, done=codes.append)])
    assert (codes, session.waiting, sent(session)) == ([0x95] * 4, 0, [])
    session.publish([Publish("t", b"x" * 90, done=codes.append)])
    assert [len(packet.payload) for packet in sent(session)] == [90]


def test_what_the_next_broker_does_not_take_is_told_too() -> None:
    codes: list[int] = []
    session = connected()
    session.publish([Publish("t", b"x" * 200, done=codes.append), out(1, codes), Publish("t", b"x" * 200)])
    again = reconnect(session, max_packet_size=100)
    assert [packet.payload for packet in again] == [b"1"]
    assert (codes, session.waiting) == ([0x95], 1)


def test_a_publish_from_within_done_leaves_too() -> None:
    session = connected(receive_max=1)
    session.publish([Publish("out", b"first", done=lambda _: session.publish([out(2), out(3)]))])
    session.outgoing(0.0)
    session.receive(puback(1), 0.0)
    assert [packet.payload for packet in sent(session)] == [b"2"]
    assert session.waiting == 2


def test_packet_ids_wrap_around_those_under_way() -> None:
    session = connected()
    session._sender._next_id = 65_534
    session.publish([out(number) for number in range(3)])
    session._sender._next_id = 65_534
    session.publish([out(3)])
    assert [packet.packet_id for packet in sent(session)] == [65_534, 65_535, 1, 2]


def test_an_id_is_left_to_subscribe_with_however_much_is_under_way() -> None:
    session = connected(Settings("me", subscriptions=("a",)))
    session.publish([Publish("t", b"")] * 66_000)
    assert session.waiting == 66_000
    assert len(session._sender._flying) == MOST_FLYING
    again = reconnect(session, session_present=True)
    assert sum(isinstance(packet, mqtt5.SubscribePacket) for packet in again) == 1
    assert len(again) == MOST_FLYING + 1
