"""Subscriptions of a session: asked for, granted, refused, and ended."""

from __future__ import annotations

import mqtt5
import pytest

from bridge.errors import ConnectionRefusedByPeer
from bridge.mqtt.messages import Settings
from bridge.mqtt.session import Session, State
from tests.support.mqtt_packets import QOS1, connack, connected, reconnect, sent, suback, unsuback


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


def test_what_is_to_be_told_once_is_asked_for_at_a_new_subscription_only() -> None:
    session = Session(Settings("me", subscriptions=("a", "b"), retained_once=("b",)))
    session.connect(0.0)
    session.receive(connack(), 0.0)
    _, subscribe = sent(session)
    handling = [one.retain_handling for one in subscribe.topic_filters]
    assert handling == [mqtt5.RetainHandling.SEND_ALWAYS, mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS]
