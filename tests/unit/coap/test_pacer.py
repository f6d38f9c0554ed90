"""The pacer between a path and the event loop."""

from __future__ import annotations

import asyncio

from bridge.coap.pacer import Pacer
from bridge.coap.path import Exchange, Path
from bridge.coap.rto import Rfc6298


async def test_a_sending_that_fails_at_once_makes_room() -> None:
    pacer = Pacer(Path(1, Rfc6298()))
    sent: list[str] = []

    def fail() -> None:
        sent.append("first")
        pacer.leave(first)

    first, second = Exchange(fail), Exchange(lambda: sent.append("second"))
    third = Exchange(lambda: sent.append("third"))
    for exchange in (first, second, third):
        pacer.begin(exchange)
    assert sent == ["first", "second"]
    pacer.leave(second)
    assert sent == ["first", "second", "third"]
    pacer.leave(third)
    assert pacer.path.next_due is None


async def test_it_repeats_by_its_timer_and_stops() -> None:
    pacer = Pacer(Path(4, Rfc6298(initial_s=0.01)))
    repeated = asyncio.Event()

    def send() -> None:
        if len(exchange.sent) == 3:
            repeated.set()

    exchange = Exchange(send)
    pacer.begin(exchange)
    await asyncio.wait_for(repeated.wait(), 5)
    pacer.answered(exchange)
    assert pacer.path.next_due is None
    assert pacer.path.in_flight == 0
