"""Deliveries become arrivals: what is kept of them."""

from __future__ import annotations

from bridge.mqtt.messages import Delivery
from bridge.pipeline.arrival import Arrival
from bridge.pipeline.doors import MqttDoor
from bridge.pipeline.inbox import Inbox


def delivery(payload: bytes, *, qos: int = 1) -> Delivery:
    return Delivery("t", payload, qos, False, None, None, None, 7 if qos else None)


async def arrivals(door: MqttDoor, inbox: Inbox, *deliveries: Delivery) -> list[Arrival]:
    door.received(list(deliveries))
    return [one for one in await inbox.take(most=9, size=1 << 30, wait=0.0) if isinstance(one, Arrival)]


async def test_of_what_is_too_large_only_the_size_is_kept() -> None:
    inbox = Inbox(1 << 20, lambda: None)
    door = MqttDoor(inbox, lambda _: True, 100)
    fits, large, twice = delivery(b"x" * 100), delivery(b"x" * 101), delivery(b"x" * 101, qos=2)
    first, second, third = await arrivals(door, inbox, fits, large, twice)
    assert (first.payload, first.oversize) == (b"x" * 100, 0)
    assert (second.payload, second.oversize, large.payload) == (b"", 101, b"")
    assert (third.payload, third.oversize) == (b"x" * 101, 0)  # its copies are compared with it


async def test_only_what_nobody_acknowledges_may_be_given_up() -> None:
    inbox = Inbox(1 << 20, lambda: None)
    door = MqttDoor(inbox, lambda _: True)
    found = await arrivals(door, inbox, delivery(b"0", qos=0), delivery(b"1"), delivery(b"2", qos=2))
    assert [one.sheddable for one in found] == [True, False, False]
