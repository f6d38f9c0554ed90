"""When a session asks whether the broker is there, and when it gives it up."""

from __future__ import annotations

import mqtt5
import pytest

from bridge.errors import LinkError
from bridge.mqtt.liveness import ACK_WITHIN, ANSWER_WITHIN, OVERTAKEN_WITHIN, PONG_WITHIN
from bridge.mqtt.messages import Settings
from bridge.mqtt.session import Session, State
from tests.support.mqtt_packets import connected, out, puback, reconnect, sent


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
