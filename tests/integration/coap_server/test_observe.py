"""Observe: the newest Result, to a bounded number of observers."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiocoap import Context, Message
from aiocoap.numbers import codes
from aiocoap.numbers.types import ACK, CON, NON, RST

from tests.support.engines import until
from tests.unit.coap.support import RESULT_PATH, encode, peer

if TYPE_CHECKING:
    from bridge.coap.server import CoapServer


async def test_observers_see_the_newest_and_are_bounded(client: Context, server: CoapServer, url: str) -> None:
    server.publish(RESULT_PATH, b"0")
    requests, replies = [], []
    for _ in range(3):
        requests.append(client.request(Message(code=codes.GET, uri=f"{url}/{RESULT_PATH}", observe=0)))
        replies.append(await requests[-1].response)
    assert [reply.payload for reply in replies] == [b"0"] * 3
    assert [reply.opt.observe is not None for reply in replies] == [True, True, False]
    news = [aiter(request.observation) for request in requests[:2]]
    for payload in (b"1", b"2" * 3000):
        pending = [asyncio.ensure_future(anext(item)) for item in news]
        await asyncio.sleep(0.01)
        server.publish(RESULT_PATH, payload)
        assert [(await asyncio.wait_for(item, 5)).payload for item in pending] == [payload] * 2


async def test_a_slow_observer_has_one_notification_under_way(server: CoapServer, url: str) -> None:
    server.publish(RESULT_PATH, b"0")
    path = RESULT_PATH.split("/")
    async with peer(url) as raw:
        first = await raw.ask(encode(codes.GET, 1, uri_path=path, observe=0))
        assert (first.mtype, first.opt.observe is not None) == (ACK, True)
        for n in range(1, 50):
            server.publish(RESULT_PATH, b"%d" % n)
            await asyncio.sleep(0)
        notification = await raw.read()
        assert notification.mtype == CON
        await asyncio.sleep(0.1)
        assert raw.received.empty()
        raw.send(encode(codes.EMPTY, notification.mid, mtype=ACK, token=b""))
        latest = await raw.read()
        assert latest.payload == b"49"
        assert latest.opt.observe > notification.opt.observe > first.opt.observe
        raw.send(encode(codes.EMPTY, latest.mid, mtype=RST, token=b""))  # no longer interested
        await until(lambda: server._results.observers == 0)


async def test_observing_can_be_ended_by_asking(server: CoapServer, url: str) -> None:
    server.publish(RESULT_PATH, b"0")
    path = RESULT_PATH.split("/")
    async with peer(url) as raw:
        await raw.ask(encode(codes.GET, 1, uri_path=path, observe=0))
        reply = await raw.ask(encode(codes.GET, 2, uri_path=path, observe=1))
        assert (reply.payload, reply.opt.observe) == (b"0", None)
        await until(lambda: server._results.observers == 0)
        server.publish(RESULT_PATH, b"1")
        with pytest.raises(TimeoutError):
            await raw.read(0.1)


async def test_an_observer_whose_port_is_closed_is_forgotten(server: CoapServer, url: str) -> None:
    server.publish(RESULT_PATH, b"0")
    async with peer(url) as raw:
        await raw.ask(encode(codes.GET, 1, mtype=NON, uri_path=RESULT_PATH.split("/"), observe=0))
    assert server._results.observers == 1
    server.publish(RESULT_PATH, b"1")
    await until(lambda: server._results.observers == 0)
