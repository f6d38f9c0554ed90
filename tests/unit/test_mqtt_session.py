"""The session's states and refusals, packet by packet."""

from __future__ import annotations

import mqtt5
import pytest

from bridge.errors import ConnectionRefusedByPeer, LinkError, LocalProtocolError, RemoteProtocolError, TakenOver
from bridge.mqtt.liveness import ACK_WITHIN, ANSWER_WITHIN, OVERTAKEN_WITHIN, PONG_WITHIN
from bridge.mqtt.messages import Delivery, Publish, Settings
from bridge.mqtt.sender import MOST_FLYING
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


def test_it_is_ready_once_all_subscriptions_are_confirmed() -> None:
    session = Session(Settings("me", subscriptions=("a", "b/+")))
    session.connect(0.0)
    session.outgoing(0.0)
    session.receive(connack(session_present=True), 0.0)
    assert (session.state, session.session_present, session.connects) == (State.CONNECTED, True, 1)
    assert not session.ready
    (subscribe,) = sent(session)
    assert [(one.pattern, one.max_qos) for one in subscribe.topic_filters] == [("a", QOS1), ("b/+", QOS1)]
    session.receive(suback(subscribe.packet_id, 1, 1), 0.0)
    assert session.ready


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


def test_a_refused_subscription_is_named() -> None:
    session = Session(Settings("me", subscriptions=("a", "b")))
    session.connect(0.0)
    session.receive(connack(), 0.0)
    _, subscribe = sent(session)
    with pytest.raises(ConnectionRefusedByPeer, match="subscription 'b': 0x87 not authorized") as caught:
        session.receive(suback(subscribe.packet_id, 1, 0x87), 0.0)
    assert caught.value.code == 0x87
    assert session.state is State.DISCONNECTED


def test_a_subscription_at_a_lower_qos_is_refused() -> None:
    session = Session(Settings("me", subscriptions=("a", "b")))
    session.connect(0.0)
    session.receive(connack(), 0.0)
    _, subscribe = sent(session)
    with pytest.raises(ConnectionRefusedByPeer, match="subscription 'b' QoS 0 only; QoS 1 is needed") as caught:
        session.receive(suback(subscribe.packet_id, 1, 0), 0.0)
    assert caught.value.code == 0x9B
    assert session.state is State.DISCONNECTED


def test_a_broker_without_qos_1_is_refused() -> None:
    session = Session(Settings("me"))
    session.connect(0.0)
    with pytest.raises(ConnectionRefusedByPeer, match="QoS 0 only") as caught:
        session.receive(connack(max_qos=mqtt5.QoS.AT_MOST_ONCE), 0.0)
    assert caught.value.code == 0x9B
    assert session.state is State.DISCONNECTED


def test_ended_subscriptions_are_ended_again_and_not_asked_for_on_the_next_connection() -> None:
    session = connected(Settings("me", subscriptions=("a", "b")))
    session.receive(suback(1, 1, 1), 0.0)
    session.unsubscribe(["a"])
    (unsubscribe,) = sent(session)
    assert unsubscribe.patterns == ["a"]
    assert not session.ready
    subscribe, unsubscribe = reconnect(session, session_present=True)
    assert [one.pattern for one in subscribe.topic_filters] == ["b"]
    assert unsubscribe.patterns == ["a"]
    session.receive(suback(subscribe.packet_id, 1), 0.0)
    assert not session.ready
    session.receive(unsuback(unsubscribe.packet_id), 0.0)
    assert session.ready


def test_subscriptions_ended_while_away_are_ended_at_the_next_connection() -> None:
    session = connected(Settings("me", subscriptions=("a",)))
    session.lost()
    session.unsubscribe(["a"])
    assert session.outgoing(0.0) == b""
    (unsubscribe,) = reconnect(session, session_present=True)
    assert unsubscribe.patterns == ["a"]


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


def test_silence_is_asked_about_and_then_the_end() -> None:
    session = connected(Settings("me", keep_alive=20))
    session.tick(14.9)
    assert sent(session) == []
    session.tick(15.0)
    assert [type(packet) for packet in sent(session, 15.0)] == [mqtt5.PingReqPacket]
    session.receive(mqtt5.PingRespPacket().write(), 15.1)
    session.tick(29.0)
    assert sent(session) == []
    session.tick(45.0)
    with pytest.raises(LinkError, match="nothing heard from the broker for 30 s"):
        session.tick(45.2)


def test_sending_alone_is_no_sign_that_the_broker_lives() -> None:
    session = connected(Settings("me", keep_alive=20))
    session.publish([out(1)])
    session.outgoing(14.0)
    session.tick(15.0)
    assert [type(packet) for packet in sent(session)] == [mqtt5.PingReqPacket]


def test_the_broker_s_keep_alive_goes_before_ours() -> None:
    session = connected(Settings("me", keep_alive=20), server_keep_alive=4)
    session.tick(3.0)
    assert [type(packet) for packet in sent(session)] == [mqtt5.PingReqPacket]


@pytest.mark.parametrize(
    ("asked", "granted", "after"), [(20, None, 1.0), (20, 1, 0.25), (2, None, 0.5), (0, None, 1.0)]
)
def test_it_is_looked_at_often_enough_for_a_short_keep_alive(asked: int, granted: int | None, after: float) -> None:
    session = connected(Settings("me", keep_alive=asked), server_keep_alive=granted)
    assert session.tick_after == after


def test_a_broker_that_asks_for_no_keep_alive_gets_ours() -> None:
    session = connected(Settings("me", keep_alive=20), server_keep_alive=0)
    session.tick(14.9)
    assert sent(session) == []
    session.tick(15.0)
    assert [type(packet) for packet in sent(session)] == [mqtt5.PingReqPacket]


def test_without_a_keep_alive_silence_is_all_right() -> None:
    session = connected(Settings("me", keep_alive=0))
    session.tick(1e9)
    assert sent(session) == []


def test_without_a_keep_alive_what_is_under_way_is_asked_about_all_the_same() -> None:
    session = connected(Settings("me", keep_alive=0))
    session.publish([out(1)])
    session.outgoing(0.0)
    session.tick(ANSWER_WITHIN)
    assert [type(packet) for packet in sent(session, ANSWER_WITHIN)] == [mqtt5.PingReqPacket]
    with pytest.raises(LinkError, match="no answer to a ping"):
        session.tick(ANSWER_WITHIN + PONG_WITHIN + 0.1)


def test_without_a_keep_alive_a_publish_that_is_never_acknowledged_ends_it() -> None:
    session = connected(Settings("me", keep_alive=0))
    session.publish([out(1)])
    session.tick(0.0)
    session.receive(mqtt5.PingRespPacket().write(), ACK_WITHIN)
    with pytest.raises(LinkError, match="not acknowledged for 30 s"):
        session.tick(ACK_WITHIN + 0.1)


def test_a_broker_that_never_answers_connect_is_given_up() -> None:
    session = Session(Settings("me", keep_alive=20))
    session.connect(0.0)
    session.outgoing(0.0)
    session.tick(29.0)
    assert sent(session) == []
    with pytest.raises(LinkError):
        session.tick(31.0)


def test_while_nobody_listens_silence_proves_nothing() -> None:
    session = connected(Settings("me", keep_alive=20))
    session.tick(1_000.0, listening=False)
    assert [type(packet) for packet in sent(session, 1_000.0)] == [mqtt5.PingReqPacket]
    session.tick(1_000.5)  # listening again, nothing read yet
    assert session.state is State.CONNECTED


def test_a_ping_without_an_answer_ends_it_long_before_the_keep_alive() -> None:
    session = connected(Settings("me", keep_alive=600))
    session.publish([out(1)])
    session.outgoing(0.0)
    session.tick(ANSWER_WITHIN)
    assert [type(packet) for packet in sent(session, ANSWER_WITHIN)] == [mqtt5.PingReqPacket]
    session.tick(ANSWER_WITHIN + PONG_WITHIN)
    assert sent(session) == []
    with pytest.raises(LinkError, match="no answer to a ping"):
        session.tick(ANSWER_WITHIN + PONG_WITHIN + 0.1)


def test_a_puback_that_later_ones_overtook_is_lost_and_its_publish_is_sent_again_soon() -> None:
    session = connected(Settings("me", keep_alive=600))
    session.publish([out(1)])
    (lost,) = (packet.packet_id for packet in sent(session))
    session.tick(1.0)
    for second in (2.0, 3.0, 4.0):  # each is alone beside the lost one at a tick, or gone by then
        session.publish([out(2)])
        (later,) = (packet.packet_id for packet in sent(session))
        session.receive(mqtt5.PubAckPacket(later).write(), second)
        session.tick(second)
    session.tick(2.0 + OVERTAKEN_WITHIN)
    assert session.state is State.CONNECTED
    with pytest.raises(LinkError, match="later publishes were acknowledged"):
        session.tick(2.1 + OVERTAKEN_WITHIN)
    again = [packet.packet_id for packet in reconnect(session) if isinstance(packet, mqtt5.PublishPacket)]
    assert again == [lost]


def test_a_publish_that_is_never_acknowledged_ends_it_however_lively_the_broker() -> None:
    session = connected(Settings("me", keep_alive=600))
    session.publish([out(1), out(2)])
    for second in range(int(ACK_WITHIN) + 1):
        session.receive(mqtt5.PingRespPacket().write(), float(second))
        session.tick(float(second))
    with pytest.raises(LinkError, match="not acknowledged for 30 s"):
        session.tick(ACK_WITHIN + 0.1)
    reconnect(session)
    session.tick(ACK_WITHIN + 0.2)  # the next connection counts from its own beginning
    assert session.state is State.CONNECTED


def test_a_broker_that_acknowledges_slowly_but_steadily_is_kept() -> None:
    session = connected(Settings("me", keep_alive=600))
    session.publish([out(number) for number in range(5)])
    for number in range(5):
        session.tick(20.0 * number)
        session.receive(puback(number + 1), 20.0 * number + 19.0)
        session.tick(20.0 * number + 19.0)
    assert session.waiting == 0


def test_what_is_to_be_told_once_is_asked_for_at_a_new_subscription_only() -> None:
    session = Session(Settings("me", subscriptions=("a", "b"), retained_once=("b",)))
    session.connect(0.0)
    session.receive(connack(), 0.0)
    _, subscribe = sent(session)
    handling = [one.retain_handling for one in subscribe.topic_filters]
    assert handling == [mqtt5.RetainHandling.SEND_ALWAYS, mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS]


def test_goodbye_is_said_only_when_connected() -> None:
    session = connected()
    session.disconnect(0x04)
    assert [packet.reason_code for packet in sent(session)] == [0x04]
    session.lost()
    session.disconnect()
    assert sent(session) == []
