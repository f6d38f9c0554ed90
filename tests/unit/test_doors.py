"""Deliveries become arrivals: what is kept of them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from bridge.coap.messages import CoapReply, CoapRequest
from bridge.mqtt.messages import Delivery, Settings
from bridge.mqtt.session import Session
from bridge.pipeline.arrival import SAFE, Arrival
from bridge.pipeline.doors import RETRY_AFTER, CoapDoor, MqttDoor
from bridge.pipeline.inbox import Inbox
from bridge.pipeline.routes import RouteTable
from tests.support.mqtt_packets import reconnect

if TYPE_CHECKING:
    from bridge.mqtt.connection import Connection


def delivery(payload: bytes, *, qos: int = 1) -> Delivery:
    return Delivery("t", payload, qos, False, None, None, None, 7 if qos else None)


async def arrivals(door: MqttDoor, inbox: Inbox, *deliveries: Delivery) -> list[Arrival]:
    door.received(list(deliveries))
    return [one for one in await inbox.take(most=9, size=1 << 30, wait=0.0) if isinstance(one, Arrival)]


async def test_of_what_is_too_large_only_the_size_is_kept() -> None:
    inbox = Inbox(1 << 20, lambda: None, RouteTable([]).owner)
    door = MqttDoor(inbox, lambda _: True, 100)
    fits, large, twice = delivery(b"x" * 100), delivery(b"x" * 101), delivery(b"x" * 101, qos=2)
    first, second, third = await arrivals(door, inbox, fits, large, twice)
    assert (first.payload, first.oversize) == (b"x" * 100, 0)
    assert (second.payload, second.oversize, large.payload) == (b"", 101, b"")
    assert (third.payload, third.oversize) == (b"x" * 101, 0)  # its copies are compared with it


async def test_where_to_answer_is_kept_of_questions_alone() -> None:
    inbox = Inbox(1 << 20, lambda: None, RouteTable([]).owner)
    door = MqttDoor(inbox, lambda _: True)
    rows, question = (
        Delivery(topic, b"", 0, False, None, "r", b"c", None) for topic in ("t", "edge/v1/_infer/m")
    )  # fmt: skip
    found = await arrivals(door, inbox, rows, question)
    assert [(one.reply_to, one.correlation) for one in found] == [(None, None), ("r", b"c")]
    assert (rows.response_topic, rows.correlation) == (None, None)


async def test_only_what_nobody_acknowledges_may_be_given_up() -> None:
    inbox = Inbox(1 << 20, lambda: None, RouteTable([]).owner)
    door = MqttDoor(inbox, lambda _: True)
    found = await arrivals(door, inbox, delivery(b"0", qos=0), delivery(b"1"), delivery(b"2", qos=2))
    assert [one.sheddable for one in found] == [True, False, False]


async def test_what_the_broker_forgot_with_its_session_stays_also_when_a_later_session_is_resumed() -> None:
    inbox = Inbox(1 << 20, lambda: None, RouteTable([]).owner)
    door = MqttDoor(inbox, lambda _: True)
    session = Session(Settings("me"))
    door.connection = cast("Connection", SimpleNamespace(session=session))

    def come(payload: bytes, *, present: bool) -> None:
        reconnect(session, session_present=present)
        door.connected(session)
        door.received([delivery(payload)])

    come(b"1", present=True)
    come(b"2", present=False)
    come(b"3", present=True)
    waiting = await inbox.take(most=9, size=1 << 30, wait=0.0)
    assert [one.payload for one in waiting if isinstance(one, Arrival)] == [b"1", b"3"], "2 comes again"


async def test_what_is_settled_is_acknowledged_once_and_at_once_when_asked() -> None:
    """Before the next turn's Results leave: else the broker holds both, and its queue is short."""
    session = Session(Settings("me"))
    inbox = Inbox(1 << 20, lambda: None, RouteTable([]).owner)
    door = MqttDoor(inbox, lambda _: True)
    acknowledged: list[list[Delivery]] = []

    class Link:
        def __init__(self) -> None:
            self.session = session

        def acknowledge(self, deliveries: list[Delivery]) -> None:
            acknowledged.append(deliveries)

    door.connection = cast("Connection", Link())
    one, two = delivery(b"1"), delivery(b"2")
    for arrival in await arrivals(door, inbox, one, two):
        arrival.settle(SAFE)
    assert acknowledged == []
    door.acknowledge()
    assert acknowledged == [[one, two]]
    await asyncio.sleep(0)
    assert len(acknowledged) == 1


REQUEST = CoapRequest("edge/v1/a/b/data/c", b"[]", 50, wants_result=False, peer="")


async def test_a_post_is_in_the_inbox_at_once_and_answered_when_it_is_settled() -> None:
    inbox = Inbox(1 << 20, lambda: None, RouteTable([]).owner)
    answer = CoapDoor(inbox, lambda: False).handle(REQUEST)
    assert len(inbox) == 1
    (arrival,) = await inbox.take(most=9, size=1 << 30, wait=0.0)
    assert isinstance(arrival, Arrival)
    assert (arrival.topic, arrival.payload, arrival.transient, answer.done()) == (REQUEST.path, b"[]", True, False)
    arrival.settle(SAFE)
    arrival.settle(SAFE)
    assert await answer == CoapReply("changed")


async def test_a_post_must_wait_while_the_door_is_shut_and_when_the_bridge_stops() -> None:
    inbox = Inbox(1 << 20, lambda: None, RouteTable([]).owner)
    shut = CoapReply("overload", b"the bridge is busy", max_age=RETRY_AFTER)
    assert await CoapDoor(inbox, lambda: True).handle(REQUEST) == shut
    door = CoapDoor(inbox, lambda: False)
    waits, gone = door.handle(REQUEST), door.handle(REQUEST)
    gone.cancel()
    door.close()
    assert await waits == CoapReply("overload", b"the bridge is stopping", max_age=RETRY_AFTER)
    assert gone.cancelled()
