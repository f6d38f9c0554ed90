"""The ping against a socket that answers as it is told."""

from __future__ import annotations

import asyncio

import pytest

from bridge.coap.ping import Pinger
from bridge.errors import ConfigError
from bridge.link.events import Acked, Event, GivenUp, Sent
from tests.unit.coap.support import Peer


async def _peer(peer: Peer) -> tuple[asyncio.DatagramTransport, str]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: peer, local_addr=("127.0.0.1", 0))
    return transport, f"coap://127.0.0.1:{transport.get_extra_info('sockname')[1]}"


class Told(list[Event]):
    """Events, and a way to wait for some."""

    def __init__(self) -> None:
        super().__init__()
        self._came = asyncio.Event()

    def hear(self, event: Event) -> None:
        self.append(event)
        self._came.set()

    async def until(self, kind: type[Event]) -> None:
        async with asyncio.timeout(5):
            while not any(isinstance(one, kind) for one in self):
                self._came.clear()
                await self._came.wait()


def reset(data: bytes) -> bytes:
    return b"\x70\x00" + data[2:4]


async def test_a_reset_answers_the_ping_it_belongs_to() -> None:
    peer = Peer(lambda data: [b"\x70\x00\xff\xff", b"", b"\x70\x00", data, reset(data), reset(data)])
    transport, url = await _peer(peer)
    told = Told()
    pinger = Pinger(url, told.hear)
    await pinger.ping()
    await told.until(Acked)
    assert await peer.received.get() == b"\x40\x00\x00\x01"
    sent, acked = told
    assert isinstance(sent, Sent)
    assert isinstance(acked, Acked)
    assert (sent.protocol, sent.size, sent.probe) == ("coap", 32, True)
    assert sent.message == acked.message
    pinger.close()
    transport.close()


async def test_what_was_asked_before_an_answered_ping_is_given_up_and_what_came_later_waits() -> None:
    peer = Peer(lambda data: [reset(data)] if data[3] == 2 else [])
    transport, url = await _peer(peer)
    told = Told()
    pinger = Pinger(url, told.hear)
    for _ in range(3):
        await pinger.ping()
    await told.until(GivenUp)
    assert [one.message for one in told if isinstance(one, Acked)] == ["ping-2"]
    assert [one.message for one in told if isinstance(one, GivenUp)] == ["ping-1"]
    pinger.close()
    assert [one.message for one in told if isinstance(one, GivenUp)] == ["ping-1", "ping-3"]
    transport.close()


async def test_what_nobody_answers_is_bounded_and_given_up() -> None:
    transport, url = await _peer(Peer())
    told = Told()
    pinger = Pinger(url, told.hear)
    for _ in range(20):
        await pinger.ping()
    assert sum(isinstance(one, GivenUp) for one in told) == 4
    pinger.close()
    pinger.close()
    assert sum(isinstance(one, GivenUp) for one in told) == 20
    await pinger.ping()  # opens a new socket
    assert sum(isinstance(one, Sent) for one in told) == 21
    pinger.close()
    transport.close()


async def test_a_name_that_does_not_resolve_is_silence() -> None:
    told = Told()
    await Pinger("coap://nowhere.invalid", told.hear).ping()
    assert told == []


def test_what_is_no_url() -> None:
    with pytest.raises(ConfigError):
        Pinger("mqtt://127.0.0.1", lambda _event: None)
