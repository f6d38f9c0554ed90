"""QoS 2 towards us (MQTT 5 section 4.3.3): handed over once, acknowledged in order, remembered across connections."""

from __future__ import annotations

from typing import Any

import mqtt5
import pytest

from bridge.errors import LinkError, RemoteProtocolError
from bridge.mqtt.messages import Settings
from bridge.mqtt.session import Session
from tests.support.mqtt_packets import connack, connected, incoming, reconnect, sent

QOS2 = mqtt5.QoS.EXACTLY_ONCE
ONCE = Settings("me", qos=2)


def once(packet_id: int, payload: bytes = b"x", **fields: Any) -> bytes:
    return incoming(packet_id, payload=payload, qos=QOS2, **fields)


def pubrel(packet_id: int) -> bytes:
    return mqtt5.PubRelPacket(packet_id).write()


def said(session: Session) -> list[tuple[str, int, int]]:
    """Kind, packet id and reason code of what leaves."""
    return [
        (type(packet).__name__.removesuffix("Packet"), packet.packet_id, int(packet.reason_code))
        for packet in sent(session)
    ]


def test_it_is_asked_for_with_the_subscriptions() -> None:
    session = Session(Settings("me", subscriptions=("a",), qos=2))
    session.connect(0.0)
    session.receive(connack(), 0.0)
    assert [one.max_qos for one in sent(session)[1].topic_filters] == [QOS2]


@pytest.mark.parametrize("qos", [0, 1])
def test_unasked_it_is_refused(qos: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"QoS 2, and we subscribed at QoS {qos}") as caught:
        connected(Settings("me", qos=qos)).receive(once(1), 0.0)
    assert caught.value.code == 0x9B


def test_pubrec_leaves_when_it_is_settled_and_pubcomp_when_it_is_released() -> None:
    session = connected(ONCE)
    (got,) = session.receive(once(7, b"p"), 0.0)
    assert (got.qos, got.packet_id, got.payload, session.unacknowledged) == (2, 7, b"p", 1)
    assert said(session) == []
    session.acknowledge(got)
    assert (said(session), session.unacknowledged) == ([("PubRec", 7, 0)], 0)
    assert session.receive(pubrel(7), 0.0) == []
    assert said(session) == [("PubComp", 7, 0)]
    (new,) = session.receive(once(7, b"another"), 0.0)
    assert new.payload == b"another"


def test_acknowledgements_of_both_kinds_leave_in_order_of_arrival() -> None:
    session = connected(ONCE)
    one, two, three = session.receive(once(3) + incoming(2) + once(1), 0.0)
    session.acknowledge(three)
    session.acknowledge(two)
    assert said(session) == []
    session.acknowledge(one)
    assert said(session) == [("PubRec", 3, 0), ("PubAck", 2, 0), ("PubRec", 1, 0)]


def test_what_an_error_in_the_same_read_kept_from_its_owner_is_handed_over_when_it_comes_again() -> None:
    session = connected(ONCE)
    end = mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SERVER_SHUTTING_DOWN).write()
    with pytest.raises(LinkError):
        session.receive(once(7, b"p") + incoming(1) + end, 0.0)
    reconnect(session, session_present=True)
    got, other = session.receive(once(7, b"p", duplicate=True) + incoming(1), 0.0)
    assert got.payload == b"p"
    session.acknowledge_all([got, other])
    assert said(session) == [("PubRec", 7, 0), ("PubAck", 1, 0)]


def test_a_copy_is_not_handed_over_again() -> None:
    session = connected(ONCE)
    (got,) = session.receive(once(7) + once(7, duplicate=True), 0.0)
    session.acknowledge(got)
    assert said(session) == [("PubRec", 7, 0)]
    assert session.receive(once(7, duplicate=True), 0.0) == []
    assert said(session) == [("PubRec", 7, 0)]


def test_an_error_in_pubrec_ends_it_and_frees_the_id() -> None:
    session = connected(ONCE)
    (got,) = session.receive(once(7), 0.0)
    session.acknowledge(got, 0x83)
    assert said(session) == [("PubRec", 7, 0x83)]
    (new,) = session.receive(once(7), 0.0)
    assert new is not got


def test_a_release_of_nothing_is_told_so() -> None:
    session = connected(ONCE)
    session.receive(pubrel(9), 0.0)
    assert said(session) == [("PubComp", 9, 0x92)]


@pytest.mark.parametrize("settled", [False, True])
def test_a_release_before_our_pubrec_is_a_protocol_error(settled: bool) -> None:
    session = connected(ONCE)
    _, second = session.receive(incoming(1) + once(7), 0.0)
    if settled:  # but the first is not, so its PUBREC waits
        session.acknowledge(second)
    with pytest.raises(RemoteProtocolError, match="before our PUBREC") as caught:
        session.receive(pubrel(7), 0.0)
    assert caught.value.code == 0x82


def test_what_was_handed_over_is_not_again_on_the_next_connection() -> None:
    session = connected(ONCE)
    (got,) = session.receive(once(7), 0.0)
    reconnect(session, session_present=True)
    (between,) = session.receive(incoming(3) + once(7, duplicate=True), 0.0)
    assert session.unacknowledged == 2
    session.acknowledge(got)  # of the last connection, and valid on this one
    assert said(session) == []
    session.acknowledge(between)
    assert said(session) == [("PubAck", 3, 0), ("PubRec", 7, 0)]


def test_what_was_settled_without_a_connection_is_acknowledged_when_it_comes_again() -> None:
    session = connected(ONCE)
    (got,) = session.receive(once(7), 0.0)
    session.lost()
    session.acknowledge(got)
    session.connect(0.0)
    session.receive(connack(session_present=True) + once(7, duplicate=True), 0.0)
    assert sent(session)[1].packet_id == 7
    assert session.unacknowledged == 0


def test_a_pubrec_that_was_lost_is_sent_again_and_one_that_arrived_is_completed() -> None:
    session = connected(ONCE)
    for delivery in session.receive(once(1) + once(2), 0.0):
        session.acknowledge(delivery)
    reconnect(session, session_present=True)
    assert session.receive(pubrel(1) + once(2, duplicate=True), 0.0) == []
    assert said(session) == [("PubComp", 1, 0), ("PubRec", 2, 0)]


def test_a_broker_that_forgot_the_session_begins_its_ids_anew() -> None:
    session = connected(ONCE)
    (old,) = session.receive(once(7, b"on"), 0.0)
    reconnect(session, session_present=False)
    (new,) = session.receive(once(7, b"on"), 0.0)
    session.acknowledge(old)
    assert said(session) == []
    session.acknowledge(new)
    assert said(session) == [("PubRec", 7, 0)]


def test_another_message_under_a_held_id_is_new_for_a_lost_connack_may_have_told_of_a_new_session() -> None:
    session = connected(ONCE)
    (old,) = session.receive(once(7, b"old"), 0.0)
    reconnect(session, session_present=True)
    (new,) = session.receive(once(7, b"new"), 0.0)
    session.acknowledge(old)
    assert said(session) == []
    session.acknowledge(new)
    assert said(session) == [("PubRec", 7, 0)]


def test_another_message_under_an_id_we_owe_a_pubrec_is_a_protocol_error() -> None:
    session = connected(ONCE)
    with pytest.raises(RemoteProtocolError, match="packet id 7 for another message"):
        session.receive(once(7, b"one") + once(7, b"two"), 0.0)
