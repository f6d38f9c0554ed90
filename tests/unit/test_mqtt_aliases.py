"""Topic Aliases both ways, and what PUBACKs tell of the link."""

from __future__ import annotations

import pytest

from bridge.errors import RemoteProtocolError
from bridge.mqtt.messages import Acked, Publish, Settings
from bridge.mqtt.session import Session
from tests.support.mqtt_packets import connack, connected, incoming, out, puback, reconnect, sent

THREE = Settings("me", topic_alias_maximum=3)
TWO = Settings("me", aliases=2)


def test_our_maximum_is_told_and_is_none_by_default() -> None:
    for settings, maximum in ((THREE, 3), (Settings("me"), 0)):
        session = Session(settings)
        session.connect(0.0)
        assert sent(session)[0].topic_alias_max == maximum


def test_an_alias_stands_for_its_topic_until_it_is_given_another() -> None:
    session = connected(THREE)
    data = incoming(1, "a", topic_alias=3) + incoming(2, "", topic_alias=3) + incoming(3, "b", topic_alias=1)
    data += incoming(4, "c", topic_alias=3) + incoming(5, "", topic_alias=3) + incoming(6, "", topic_alias=1)
    assert [one.topic for one in session.receive(data, 0.0)] == ["a", "a", "b", "c", "c", "b"]


@pytest.mark.parametrize(("topic", "alias"), [("", 2), ("a", 4), ("", 4)])
def test_an_alias_unknown_or_above_our_maximum_is_an_error(topic: str, alias: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"topic alias {alias}") as caught:
        connected(THREE).receive(incoming(1, "b", topic_alias=1) + incoming(2, topic, topic_alias=alias), 0.0)
    assert caught.value.code == 0x94


def test_an_alias_where_none_is_allowed_is_an_error_with_a_topic_too() -> None:
    with pytest.raises(RemoteProtocolError, match="we allowed 0") as caught:
        connected().receive(incoming(1, "a", topic_alias=1), 0.0)
    assert caught.value.code == 0x94


def test_alias_0_is_an_error() -> None:
    data = incoming(1, "a", topic_alias=1).replace(b"\x23\0\1", b"\x23\0\0")
    with pytest.raises(RemoteProtocolError):
        connected(THREE).receive(data, 0.0)


def test_aliases_end_with_their_connection() -> None:
    session = connected(THREE)
    session.receive(incoming(1, "a", topic_alias=1), 0.0)
    reconnect(session, session_present=True)
    with pytest.raises(RemoteProtocolError, match="stands for nothing yet"):
        session.receive(incoming(2, "", topic_alias=1), 0.0)


def written(session: Session) -> list[tuple[str, int | None, bytes]]:
    return [(packet.topic, packet.topic_alias, packet.payload) for packet in sent(session)]


def test_the_first_topics_are_abbreviated_after_their_first_use() -> None:
    session = connected(TWO, topic_alias_max=10)
    session.publish([Publish(topic, b"") for topic in ("a", "a", "b", "c", "b", "c", "a")])
    expected = [("a", 1), ("", 1), ("b", 2), ("c", None), ("", 2), ("c", None), ("", 1)]
    assert [(topic, alias) for topic, alias, _ in written(session)] == expected


def test_no_more_than_the_broker_allows() -> None:
    session = connected(TWO, topic_alias_max=1)
    session.publish([Publish(topic, b"") for topic in ("a", "b", "a", "b")])
    assert [one[:2] for one in written(session)] == [("a", 1), ("b", None), ("", 1), ("b", None)]


@pytest.mark.parametrize(("settings", "maximum"), [(TWO, 0), (Settings("me"), 10)])
def test_none_unless_both_ends_want_it(settings: Settings, maximum: int) -> None:
    session = connected(settings, topic_alias_max=maximum)
    session.publish([out(0), out(1)])
    assert [one[:2] for one in written(session)] == [("out", None)] * 2


def test_resends_use_the_aliases_of_their_own_connection() -> None:
    session = connected(TWO, topic_alias_max=10)
    session.publish([Publish(topic, b"%d" % number) for number, topic in enumerate(["a", "b", "a", "b"])])
    session.outgoing(0.0)
    session.receive(puback(1), 0.0)  # the one that told what 1 stands for
    again = reconnect(session, session_present=True, topic_alias_max=10)
    assert [(one.topic, one.topic_alias, one.duplicate) for one in again] == [
        ("b", 1, True),
        ("a", 2, True),
        ("", 1, True),
    ]


def test_what_only_fits_without_an_alias_goes_without() -> None:
    session = connected(TWO, topic_alias_max=10, max_packet_size=100)
    whole = Publish("t", b"x" * 92)
    session.publish([whole, whole, Publish("t", b"")])
    packets = written(session)
    assert [one[:2] for one in packets] == [("t", None), ("t", None), ("t", 1)]


def timed() -> Session:
    session = Session(Settings("me"), timing=True)
    session.connect(0.0)
    session.receive(connack(), 0.0)
    session.outgoing(0.0)
    return session


def test_each_puback_tells_its_round_trip_and_its_bytes() -> None:
    session = timed()
    session.publish([out(0), out(1)])
    first = len(session.outgoing(1.0)) // 2
    session.publish([out(2), out(3, qos=0)])
    assert session.bytes_in_flight == 3 * first
    session.outgoing(2.0)
    session.receive(puback(1) + puback(3, 0x10), 2.5)
    assert session.take_acked() == [Acked(1.5, first, ambiguous=False), Acked(0.5, first, ambiguous=False)]
    assert session.take_acked() == []
    assert session.bytes_in_flight == first
    session.receive(puback(2) + puback(2), 3.0)
    assert (session.bytes_in_flight, len(session.take_acked())) == (0, 1)


def test_what_was_sent_before_is_ambiguous_and_what_only_waited_is_not() -> None:
    session = timed()
    session.publish([out(0)])
    session.outgoing(1.0)
    session.publish([out(1)])  # not written before the end
    session.lost()
    assert session.bytes_in_flight == 0
    session.connect(5.0)
    session.receive(connack(session_present=True), 5.0)
    size = len(session.outgoing(6.0)) - len(connect_packet(session))
    assert session.bytes_in_flight == size
    session.receive(puback(1) + puback(2), 6.25)
    assert [(one.round_trip, one.ambiguous) for one in session.take_acked()] == [(0.25, True), (0.25, False)]


def connect_packet(session: Session) -> bytes:
    again = Session(session.settings)
    again.connect(0.0)
    return again.outgoing(0.0)


def test_a_puback_of_the_last_connection_s_copy_is_no_sample() -> None:
    session = timed()
    session.publish([out(0), out(1)])
    session.outgoing(1.0)
    reconnect(session, session_present=True, receive_max=1)
    session.receive(puback(2), 3.0)  # not sent again yet
    assert (session.take_acked(), session.waiting) == ([], 1)
    session.receive(puback(1), 3.0)
    assert (len(session.take_acked()), session.bytes_in_flight) == (1, 0)


def test_nothing_is_kept_for_nobody() -> None:
    session = connected()
    session.publish([out(0)])
    session.outgoing(0.0)
    session.receive(puback(1), 1.0)
    assert session.take_acked() == []
