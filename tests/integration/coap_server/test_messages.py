"""Messages and options of a raw peer: repeated, malformed, unknown, and from one that goes away."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from aiocoap import Message
from aiocoap.numbers import codes
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.numbers.types import ACK, CON, NON, RST
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge import loop
from bridge.coap.server import CoapReply, CoapRequest, CoapServer
from tests.support.coap_server import MAX_BODY, Seen
from tests.support.engines import until
from tests.unit.coap.support import DATA, encode, peer


async def test_a_repetition_gets_the_same_answer_and_no_second_handling(url: str, seen: Seen) -> None:
    async with peer(url) as raw:
        message = encode(codes.POST, 7, uri_path=DATA, payload=b"x")
        first = await raw.ask(message)
        again = await raw.ask(message)
        assert (again.code, again.mid, again.token) == (first.code, 7, first.token)
        assert len(seen.requests) == 1
        # the same message ID with another token is another message: IDs wrap after 65,536
        await raw.ask(encode(codes.POST, 7, token=b"u", uri_path=DATA, payload=b"y"))
        assert len(seen.requests) == 2


async def test_a_slow_handler_is_acknowledged_first(url: str, seen: Seen) -> None:
    seen.gate.clear()
    async with peer(url) as raw:
        message = encode(codes.POST, 7, uri_path=DATA, payload=b"x")
        acknowledged = await raw.ask(message)
        assert (acknowledged.mtype, acknowledged.code) == (ACK, codes.EMPTY)
        assert (await raw.ask(message)).code == codes.EMPTY  # a repetition: the same
        seen.gate.set()
        answer = await raw.read()
        assert (answer.mtype, answer.code, answer.token) == (CON, codes.CHANGED, b"t")
        raw.send(encode(codes.EMPTY, answer.mid, mtype=ACK, token=b""))
    assert len(seen.requests) == 1


async def test_critical_options(url: str, seen: Seen) -> None:
    async with peer(url) as raw:
        post: dict[str, Any] = {"uri_path": DATA, "payload": b"x"}
        assert (await raw.ask(encode(codes.POST, 1, **post, if_none_match=True))).code == codes.BAD_OPTION
        unknown = Message(code=codes.POST, **post)
        for number in (65000, 65001):
            unknown.opt.add_option(_option(number))
            unknown.mid, unknown.mtype, unknown.token = number, CON, b"t"
            reply = await raw.ask(unknown.encode())
            assert reply.code == (codes.CHANGED if number % 2 == 0 else codes.BAD_OPTION)
        unknown.mid, unknown.mtype = 3, NON
        raw.send(unknown.encode())
        with pytest.raises(TimeoutError):
            await raw.read(0.1)
        twice = Message(code=codes.POST, **post)
        twice.opt.uri_host = "a"
        twice.opt.add_option(twice.opt.get_option(3)[0])
        twice.mid, twice.mtype = 4, CON
        assert b"repeated" in (await raw.ask(twice.encode())).payload
    assert len(seen.requests) == 1


def _option(number: int) -> Any:
    return OptionNumber(number).create_option(decode=b"v")


async def test_no_response_is_heeded(url: str, seen: Seen) -> None:
    async with peer(url) as raw:
        raw.send(encode(codes.POST, 1, mtype=NON, uri_path=DATA, payload=b"x", no_response=26))
        await until(lambda: len(seen.requests) == 1)
        with pytest.raises(TimeoutError):
            await raw.read(0.1)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=60) | st.binary(max_size=60).map(b"\x41\x02\x00\x01t".__add__), max_size=5))
def test_whatever_bytes_come_the_server_lives(junk: list[bytes]) -> None:
    async def run() -> None:
        seen = Seen()
        server = CoapServer(seen, host="127.0.0.1", port=0, max_body=MAX_BODY)
        errors: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
        async with peer(await server.start()) as raw:
            for data in junk:
                raw.send(data)
            raw.send(encode(codes.POST, 60_000, token=b"good", uri_path=DATA, payload=b"good"))
            while (await raw.read()).token != b"good":
                pass
        await server.stop()
        assert errors == []

    asyncio.run(run())


async def test_malformed_datagrams_are_rejected_by_reset(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with peer(url) as raw:
        rejected = await raw.ask(b"\x40\x02\x12\x34\xb2\xff\xfe")
        assert (rejected.mtype, rejected.mid) == (RST, 0x1234)
        raw.send(b"\x50\x02\x12\x35\xb2\xff\xfe")
        ping = await raw.ask(b"\x40\x00\x12\x36")
        assert (ping.mtype, ping.mid) == (RST, 0x1236)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_peer_that_goes_away_does_not_end_its_handler(url: str, seen: Seen) -> None:
    seen.gate.clear()
    done = asyncio.Event()
    inner = seen.gate.wait

    async def wait() -> bool:
        await inner()
        done.set()
        return True

    seen.gate.wait = wait  # type: ignore[method-assign, assignment]
    async with peer(url) as raw:
        await raw.ask(encode(codes.POST, 1, uri_path=DATA, payload=b"x"))  # the empty acknowledgement
        raw.send(encode(codes.POST, 2, uri_path=("nope",), token=b"z"))
    # the answer to the second bounces off the closed port; aiocoap then cancels all of this peer's requests
    await asyncio.sleep(0.1)
    seen.gate.set()
    await asyncio.wait_for(done.wait(), 5)
    assert len(seen.requests) == 1


def test_a_peer_that_goes_away_leaves_the_others_answered_on_the_programs_own_loop() -> None:
    """An ICMP error makes libuv, so uvloop, forget a socket that is read by `add_reader`."""

    async def handle(_request: CoapRequest) -> CoapReply:
        return CoapReply("changed")

    async def ask_after_one_is_gone() -> list[int]:
        server = CoapServer(handle, port=0, max_body=MAX_BODY)
        url = await server.start()
        found = []
        try:
            for number in range(3):
                async with peer(url) as gone:
                    gone.send(encode(codes.POST, number, uri_path=("nope",), token=b"z"))
                async with peer(url) as other:
                    found += [(await other.ask(encode(codes.POST, n, uri_path=DATA, payload=b"x"))).mid for n in (7, 8)]
        finally:
            await server.stop()
        return found

    assert loop.run(ask_after_one_is_gone()) == [7, 8] * 3
