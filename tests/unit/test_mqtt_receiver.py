"""What a session receives, and how it is acknowledged."""

from __future__ import annotations

import mqtt5
import pytest

from bridge.mqtt.messages import Delivery, Settings
from tests.support.mqtt_packets import connected, incoming, reconnect, sent


def test_a_delivery_has_all_that_was_sent() -> None:
    data = incoming(
        5, "a/b", b"p", retain=True, content_type="application/json", response_topic="r", correlation_data=b"c"
    )
    (got,) = connected().receive(data, 0.0)
    assert (got.topic, got.payload, got.qos, got.retain, got.packet_id) == ("a/b", b"p", 1, True, 5)
    assert (got.content_type, got.response_topic, got.correlation) == ("application/json", "r", b"c")


def test_qos_0_waits_for_no_acknowledgement() -> None:
    session = connected()
    (got,) = session.receive(mqtt5.PublishPacket("a", b"x").write(), 0.0)
    assert (got.qos, got.packet_id, session.unacknowledged) == (0, None, 0)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_packets_may_come_in_pieces(size: int) -> None:
    session = connected()
    data = incoming(1, payload=b"one") + incoming(2, payload=b"x" * 300) + incoming(3)
    got: list[Delivery] = []
    for at in range(0, len(data), size):
        got += session.receive(data[at : at + size], 0.0)
    assert [one.packet_id for one in got] == [1, 2, 3]


def test_acknowledgements_leave_in_order_of_arrival() -> None:
    session = connected()
    one, two, three = session.receive(incoming(7) + incoming(3) + incoming(5), 0.0)
    session.acknowledge(three)
    session.acknowledge(two, 0x80)
    assert sent(session) == []
    assert session.unacknowledged == 3
    session.acknowledge(one)
    assert [(ack.packet_id, ack.reason_code) for ack in sent(session)] == [(7, 0), (3, 0x80), (5, 0)]


def test_what_comes_beyond_our_receive_maximum_is_taken_for_mosquitto_ignores_it() -> None:
    session = connected(Settings("me", receive_maximum=2))
    got = session.receive(b"".join(map(incoming, range(1, 6))), 0.0)
    session.acknowledge_all(got)
    assert [packet.packet_id for packet in sent(session)] == [1, 2, 3, 4, 5]


def test_a_stale_acknowledgement_acknowledges_nothing_new() -> None:
    session = connected()
    (old,) = session.receive(incoming(1, payload=b"old"), 0.0)
    reconnect(session, session_present=True)
    (new,) = session.receive(incoming(1, payload=b"another"), 0.0)
    session.acknowledge(old)
    assert sent(session) == []
    session.acknowledge(new)
    assert [ack.packet_id for ack in sent(session)] == [1]


def test_what_was_not_written_before_the_end_does_not_reach_the_next_connection() -> None:
    session = connected()
    (delivery,) = session.receive(incoming(1), 0.0)
    session.acknowledge(delivery)
    session.lost()
    session.connect(0.0)
    assert [type(packet) for packet in sent(session)] == [mqtt5.ConnectPacket]
