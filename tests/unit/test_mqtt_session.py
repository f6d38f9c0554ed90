"""The session's states and refusals, packet by packet."""

from __future__ import annotations

import mqtt5
import pytest

from bridge.errors import ConnectionRefusedByPeer, LinkError, LocalProtocolError, RemoteProtocolError, TakenOver
from bridge.mqtt.messages import Settings
from bridge.mqtt.session import Session, State
from tests.support.mqtt_packets import (
    QOS1,
    connack,
    connected,
    incoming,
    out,
    puback,
    reconnect,
    sent,
    suback,
    unsuback,
)


def test_connect_says_what_was_asked() -> None:
    session = Session(
        Settings(
            "me",
            username="u",
            password=b"p",
            keep_alive=7,
            session_expiry=9,
            receive_maximum=5,
            maximum_packet=999,
            will=("gone", b"w"),
        )
    )
    session.connect(0.0)
    assert session.state is State.CONNECTING
    (packet,) = sent(session)
    assert (packet.client_id, packet.username, packet.password, packet.clean_start) == ("me", "u", b"p", False)
    assert (packet.keep_alive, packet.session_expiry_interval) == (7, 9)
    assert (packet.receive_max, packet.max_packet_size) == (5, 999)
    assert (packet.will.topic, packet.will.payload, packet.will.qos, packet.will.retain) == ("gone", b"w", QOS1, True)
    assert session.outgoing(0.0) == b""


def test_a_password_is_never_shown() -> None:
    assert "secret" not in repr(Settings("me", password=b"secret"))


def test_connecting_twice_is_our_mistake() -> None:
    session = connected()
    with pytest.raises(LocalProtocolError):
        session.connect(0.0)


@pytest.mark.parametrize(("code", "words"), [(0x87, "0x87 not authorized (acl)"), (0x89, "0x89 server busy")])
def test_a_refusal_says_why(code: int, words: str) -> None:
    session = Session(Settings("me"))
    session.connect(0.0)
    reason = mqtt5.ConnAckReasonCode(code)
    with pytest.raises(ConnectionRefusedByPeer) as caught:
        session.receive(connack(reason_code=reason, reason_str="acl" if code == 0x87 else None), 0.0)
    assert caught.value.code == code
    assert words in str(caught.value)
    assert session.state is State.DISCONNECTED


def test_a_broker_without_qos_1_is_refused() -> None:
    session = Session(Settings("me"))
    session.connect(0.0)
    with pytest.raises(ConnectionRefusedByPeer, match="QoS 0 only") as caught:
        session.receive(connack(max_qos=mqtt5.QoS.AT_MOST_ONCE), 0.0)
    assert caught.value.code == 0x9B
    assert session.state is State.DISCONNECTED


@pytest.mark.parametrize(
    "early",
    [incoming(1), puback(1), suback(1, 1), mqtt5.PingRespPacket().write()],
    ids=["PUBLISH", "PUBACK", "SUBACK", "PINGRESP"],
)
def test_nothing_comes_before_connack(early: bytes) -> None:
    codes: list[int] = []
    session = connected()
    session.publish([out(1, codes)])
    session.lost()
    session.connect(0.0)
    with pytest.raises(RemoteProtocolError, match="before CONNACK"):
        session.receive(early, 0.0)
    assert codes == []


def test_a_second_connack_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="a second CONNACK"):
        connected().receive(connack(), 0.0)


def test_bytes_after_the_end_are_refused() -> None:
    session = connected()
    session.lost()
    with pytest.raises(RemoteProtocolError):
        session.receive(incoming(1), 0.0)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (mqtt5.PublishPacket("a", b"", qos=mqtt5.QoS.EXACTLY_ONCE, packet_id=1).write(), 0x9B),
        (mqtt5.PublishPacket("", b"", topic_alias=1).write(), 0x94),
        (mqtt5.PingReqPacket().write(), 0x82),
        (mqtt5.ConnectPacket("x").write(), 0x82),
        (unsuback(1), 0x82),
        (mqtt5.SubscribePacket(1, [mqtt5.TopicFilter("a")]).write(), 0x82),
    ],
)
def test_what_a_broker_may_not_send_us_is_answered_with_its_code(data: bytes, code: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        connected().receive(data, 0.0)
    assert caught.value.code == code


def test_a_takeover_is_told_apart_from_other_ends() -> None:
    session = connected()
    with pytest.raises(TakenOver, match="'me'"):
        session.receive(mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER).write(), 0.0)
    assert session.state is State.DISCONNECTED
    ended = mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SERVER_SHUTTING_DOWN, reason_str="bye")
    with pytest.raises(LinkError, match=r"0x8B server shutting down \(bye\)") as caught:
        connected().receive(ended.write(), 0.0)
    assert not isinstance(caught.value, TakenOver)


def test_it_knows_on_which_connection_the_broker_s_session_began_and_which_got_as_far_as_its_subscriptions() -> None:
    session = Session(Settings("me", subscriptions=("a",)))
    assert (session.connects, session.begun, session.established) == (0, 0, 0)
    (subscribe,) = reconnect(session, session_present=True)
    assert (session.connects, session.begun, session.established) == (1, 0, 0)
    session.receive(suback(subscribe.packet_id, 1), 0.0)
    assert (session.begun, session.established) == (0, 1)
    reconnect(session)  # and is lost before its SUBACK
    assert (session.connects, session.begun, session.established) == (2, 2, 1)
    (subscribe,) = reconnect(session, session_present=True)
    assert (session.connects, session.begun, session.established) == (3, 2, 1)
    session.receive(suback(subscribe.packet_id, 1), 0.0)
    assert (session.begun, session.established) == (2, 3)


def test_a_connection_that_ends_in_the_read_of_its_last_suback_was_established() -> None:
    session = connected(Settings("me", subscriptions=("a",)))
    ended = mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.PROTOCOL_ERROR)
    with pytest.raises(LinkError):
        session.receive(suback(1, 1) + ended.write(), 0.0)
    session.lost()
    assert (session.connects, session.established) == (1, 1)


def test_goodbye_is_said_only_when_connected() -> None:
    session = connected()
    session.disconnect(0x04)
    assert [packet.reason_code for packet in sent(session)] == [0x04]
    session.lost()
    session.disconnect()
    assert sent(session) == []
