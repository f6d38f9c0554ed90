"""The server against aiocoap's own client and a raw peer."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any

import pytest
from aiocoap import Context, Message
from aiocoap.numbers import codes
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.numbers.types import ACK, CON, NON, RST
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge import loop
from bridge.coap.server import CoapReply, CoapRequest, CoapServer, Limits
from bridge.errors import ConfigError, LocalProtocolError
from tests.unit.coap.support import DATA, DATA_PATH, RESULT_PATH, encode, peer, port_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

MAX_BODY = 20_000


class Seen:
    """A handler that notes what it got and answers what it is told to."""

    def __init__(self) -> None:
        self.requests: list[CoapRequest] = []
        self.reply: CoapReply | Exception = CoapReply("changed")
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, request: CoapRequest) -> CoapReply:
        self.requests.append(request)
        await self.gate.wait()
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def server(seen: Seen) -> AsyncIterator[CoapServer]:
    limits = Limits(max_pending=8, max_observers=2, duplicates=64, max_assemblies=4, drain_s=2)
    server = CoapServer(seen, host="127.0.0.1", port=0, max_body=MAX_BODY, limits=limits)
    yield server
    await server.stop()


@pytest.fixture
async def url(server: CoapServer) -> str:
    return await server.start()


@pytest.fixture
async def client() -> AsyncIterator[Context]:
    context = await Context.create_client_context(transports=["udp6"])
    yield context
    await context.shutdown()


@pytest.fixture
def ask(client: Context, url: str) -> Callable[..., Awaitable[Message]]:
    async def ask(code: Any, path: str, payload: bytes = b"", **options: Any) -> Message:
        message = Message(code=code, payload=payload, uri=f"{url}/{path}", **options)
        return await asyncio.wait_for(client.request(message).response, 10)

    return ask


def endpoint(server: CoapServer) -> Any:
    assert server._endpoint is not None
    return server._endpoint


@pytest.mark.parametrize("code", [codes.POST, codes.PUT])
async def test_a_message_reaches_the_handler(ask: Any, seen: Seen, code: Any) -> None:
    reply = await ask(code, f"{DATA_PATH}?result", b"[1]", content_format=50)
    assert reply.code == codes.CHANGED
    (request,) = seen.requests
    assert (request.path, request.payload, request.content_format) == (DATA_PATH, b"[1]", 50)
    assert request.wants_result
    assert request.peer.startswith("127.0.0.1:")


async def test_without_options(ask: Any, seen: Seen) -> None:
    await ask(codes.POST, DATA_PATH, b"x")
    assert seen.requests[0].content_format is None
    assert not seen.requests[0].wants_result


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("changed", "2.04"),
        ("content", "2.05"),
        ("malformed", "4.00"),
        ("no_route", "4.04"),
        ("too_large", "4.13"),
        ("unknown_format", "4.15"),
        ("overload", "5.03"),
    ],
)
async def test_every_reply_has_its_code(ask: Any, seen: Seen, name: Any, code: str) -> None:
    seen.reply = CoapReply(name, b"{}", 50, max_age=7 if name == "overload" else None)
    reply = await ask(codes.POST, DATA_PATH, b"x")
    assert str(reply.code).startswith(code)
    assert reply.payload == b"{}"
    assert reply.opt.content_format == 50
    assert reply.opt.max_age == (7 if name == "overload" else None)


async def test_large_messages_go_both_ways_block_by_block(ask: Any, seen: Seen) -> None:
    body = bytes(range(256)) * 70
    seen.reply = CoapReply("content", body[::-1], 60)
    reply = await ask(codes.POST, f"{DATA_PATH}?result", body, content_format=60)
    assert reply.payload == body[::-1]
    assert [request.payload for request in seen.requests] == [body]


async def test_a_handler_that_raises_costs_one_message(ask: Any, seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    seen.reply = ZeroDivisionError("oops")
    assert (await ask(codes.POST, DATA_PATH, b"x")).code == codes.INTERNAL_SERVER_ERROR
    assert "the handler failed" in caplog.text
    seen.reply = CoapReply("changed")
    assert (await ask(codes.POST, DATA_PATH, b"x")).code == codes.CHANGED


async def test_paths_and_methods(ask: Any, seen: Seen) -> None:
    for path in ["", "nope", f"{DATA_PATH}/", "edge/v1/plant/_x/data/s", "edge/v1/a%2Fb/d/data/s", "edge/v1/_infer/m"]:
        reply = await ask(codes.POST, path, b"x")
        assert reply.code == codes.NOT_FOUND, path
        assert b"expected edge/v1/{site}/{device}/data/{stream}" in reply.payload
    assert (await ask(codes.GET, DATA_PATH)).code == codes.METHOD_NOT_ALLOWED
    assert (await ask(codes.DELETE, DATA_PATH)).code == codes.METHOD_NOT_ALLOWED
    assert (await ask(codes.POST, RESULT_PATH)).code == codes.METHOD_NOT_ALLOWED
    assert (await ask(codes.POST, ".well-known/core")).code == codes.METHOD_NOT_ALLOWED
    assert (await ask(codes.POST, DATA_PATH, b"x", proxy_scheme="http")).code == codes.PROXYING_NOT_SUPPORTED
    assert seen.requests == []


async def test_the_list_of_resources(ask: Any, server: CoapServer) -> None:
    for n in range(100):
        server.publish(f"edge/v1/plant/d{n}/result/m", b"{}")
    reply = await ask(codes.GET, ".well-known/core")
    assert reply.opt.content_format == 40
    assert reply.payload.startswith(b'</edge/v1>;rt="edge.observation"')
    assert b'</edge/v1/plant/d0/result/m>;rt="edge.result";ct="50";obs' in reply.payload
    reply = await ask(codes.GET, ".well-known/core?href=/edge/v1/plant/d7/*")
    assert reply.payload.count(b"<") == 1
    assert (await ask(codes.GET, ".well-known/core", accept=50)).code == codes.NOT_ACCEPTABLE


async def test_the_newest_result(ask: Any, server: CoapServer, seen: Seen) -> None:
    assert (await ask(codes.GET, RESULT_PATH)).code == codes.NOT_FOUND
    server.publish(RESULT_PATH, b'{"rev":0}')
    server.publish(RESULT_PATH, b'{"rev":1}')
    reply = await ask(codes.GET, RESULT_PATH, accept=50)
    assert (reply.code, reply.payload, reply.opt.content_format) == (codes.CONTENT, b'{"rev":1}', 50)
    assert (await ask(codes.GET, RESULT_PATH, accept=60)).code == codes.NOT_ACCEPTABLE
    assert (await ask(codes.POST, f"{DATA_PATH}?result", b"x", accept=60)).code == codes.NOT_ACCEPTABLE
    assert seen.requests == []
    large = bytes(5000)
    server.publish(RESULT_PATH, large)
    assert (await ask(codes.GET, RESULT_PATH)).payload == large


async def test_a_result_that_changes_between_its_blocks_is_read_as_it_was(server: CoapServer, url: str) -> None:
    server.publish(RESULT_PATH, b"a" * 3000)
    path = RESULT_PATH.split("/")
    async with peer(url) as raw:
        first = await raw.ask(encode(codes.GET, 1, uri_path=path))
        assert first.opt.block2 == (0, True, 6)
        assert first.opt.size2 == 3000
        server.publish(RESULT_PATH, b"b" * 3000)
        second = await raw.ask(encode(codes.GET, 2, uri_path=path, block2=(2, False, 6)))
        assert second.payload == b"a" * (3000 - 2048)
        assert second.opt.etag == first.opt.etag
        assert (await raw.ask(encode(codes.GET, 3, uri_path=path, block2=(9, False, 6)))).code == codes.BAD_REQUEST
        assert (await raw.ask(encode(codes.GET, 4, uri_path=path, block2=(0, False, 7)))).code == codes.BAD_REQUEST
        unknown = encode(codes.GET, 5, uri_path=[*path[:-1], "other"], block2=(1, False, 6))
        assert (await raw.ask(unknown)).code == codes.REQUEST_ENTITY_INCOMPLETE


# Observe


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
        await _until(lambda: server._results.observers == 0)


async def test_observing_can_be_ended_by_asking(server: CoapServer, url: str) -> None:
    server.publish(RESULT_PATH, b"0")
    path = RESULT_PATH.split("/")
    async with peer(url) as raw:
        await raw.ask(encode(codes.GET, 1, uri_path=path, observe=0))
        reply = await raw.ask(encode(codes.GET, 2, uri_path=path, observe=1))
        assert (reply.payload, reply.opt.observe) == (b"0", None)
        await _until(lambda: server._results.observers == 0)
        server.publish(RESULT_PATH, b"1")
        with pytest.raises(TimeoutError):
            await raw.read(0.1)


async def test_an_observer_whose_port_is_closed_is_forgotten(server: CoapServer, url: str) -> None:
    server.publish(RESULT_PATH, b"0")
    async with peer(url) as raw:
        await raw.ask(encode(codes.GET, 1, mtype=NON, uri_path=RESULT_PATH.split("/"), observe=0))
    assert server._results.observers == 1
    server.publish(RESULT_PATH, b"1")
    await _until(lambda: server._results.observers == 0)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  there is no event for what did not happen yet
            await asyncio.sleep(0.01)


# Bounds


async def test_a_body_that_never_ends(server: CoapServer, url: str, seen: Seen) -> None:
    async with peer(url) as raw:
        refused = 0
        for number in range(10_000):
            block = encode(codes.POST, number, uri_path=DATA, block1=(number, True, 0), payload=bytes(16))
            reply = await raw.ask(block)
            if reply.code == codes.CONTINUE:
                assert number < MAX_BODY // 16
                assert reply.opt.block1 == (number, True, 0)
            else:
                refused += 1
                if number == MAX_BODY // 16:
                    assert reply.code == codes.REQUEST_ENTITY_TOO_LARGE
                    assert reply.opt.size1 == MAX_BODY
        assert refused == 10_000 - MAX_BODY // 16
        assert server._site is not None
        assert server._site._bodies.held == (0, 0)
        assert endpoint(server).messages.remembered <= 64
        good = await raw.ask(encode(codes.POST, 20_000, uri_path=DATA, payload=b"good"))
        assert good.code == codes.CHANGED
    assert [request.payload for request in seen.requests] == [b"good"]


async def test_too_large_in_one_datagram_and_by_its_own_word(url: str, seen: Seen) -> None:
    async with peer(url) as raw:
        reply = await raw.ask(encode(codes.POST, 1, uri_path=DATA, payload=bytes(MAX_BODY + 1)))
        assert (reply.code, reply.opt.size1) == (codes.REQUEST_ENTITY_TOO_LARGE, MAX_BODY)
        announced = encode(codes.POST, 2, uri_path=DATA, block1=(0, True, 0), size1=MAX_BODY + 1, payload=bytes(16))
        assert (await raw.ask(announced)).code == codes.REQUEST_ENTITY_TOO_LARGE
        # just as much as is allowed arrives whole, though it is more than aiocoap reads of a datagram
        whole = await raw.ask(encode(codes.POST, 3, uri_path=DATA, payload=bytes(MAX_BODY)))
        assert whole.code == codes.CHANGED
    assert [len(request.payload) for request in seen.requests] == [MAX_BODY]


async def test_blocks_out_of_order_and_mixed_up(url: str, seen: Seen) -> None:
    async with peer(url) as raw:

        def block(mid: int, number: int, more: bool, payload: bytes, **options: Any) -> bytes:
            return encode(codes.POST, mid, uri_path=DATA, block1=(number, more, 0), payload=payload, **options)

        assert (await raw.ask(block(1, 1, True, bytes(16)))).code == codes.REQUEST_ENTITY_INCOMPLETE
        assert (await raw.ask(block(2, 0, True, bytes(16)))).code == codes.CONTINUE
        assert (await raw.ask(block(3, 2, True, bytes(16)))).code == codes.REQUEST_ENTITY_INCOMPLETE
        # two bodies at once, told apart by query and by Request-Tag
        for mid, tag, fill in [(4, b"1", b"a"), (5, b"2", b"b")]:
            assert (await raw.ask(block(mid, 0, True, fill * 16, request_tag=[tag]))).code == codes.CONTINUE
        assert (await raw.ask(block(6, 0, True, b"c" * 16, uri_query=["x"]))).code == codes.CONTINUE
        for mid, tag, fill in [(7, b"1", b"a"), (8, b"2", b"b")]:
            reply = await raw.ask(block(mid, 1, False, fill, request_tag=[tag]))
            assert (reply.code, reply.opt.block1) == (codes.CHANGED, (1, False, 0))
        assert (await raw.ask(block(9, 1, False, b"c", uri_query=["x"]))).code == codes.CHANGED
    assert [request.payload for request in seen.requests] == [b"a" * 17, b"b" * 17, b"c" * 17]


async def test_overload_is_said_and_passes(client: Context, url: str, seen: Seen) -> None:
    seen.gate.clear()
    contexts = [await Context.create_client_context(transports=["udp6"]) for _ in range(8)]
    message = {"code": codes.POST, "payload": b"x", "uri": f"{url}/{DATA_PATH}"}
    pending = [context.request(Message(**message)).response for context in contexts]
    await _until(lambda: len(seen.requests) == 8)
    reply = await client.request(Message(**message)).response
    assert (reply.code, reply.opt.max_age) == (codes.SERVICE_UNAVAILABLE, 1)
    seen.gate.set()
    assert {(await reply).code for reply in pending} == {codes.CHANGED}
    for context in contexts:
        await context.shutdown()


# Messages and options


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
        await _until(lambda: len(seen.requests) == 1)
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


# Starting and stopping


async def test_a_port_in_use_is_a_matter_of_configuration(url: str, seen: Seen) -> None:
    port = port_of(url)
    with pytest.raises(ConfigError, match=f'127.0.0.1:{port}": the port is in use; stop the program'):
        await CoapServer(seen, host="127.0.0.1", port=port, max_body=1).start()
    for host, words in [("203.0.113.7", "no such address"), ("no.such.host.invalid", "not an address or name")]:
        with pytest.raises(ConfigError, match=words):
            await CoapServer(seen, host=host, port=0, max_body=1).start()


async def test_a_server_starts_once_stops_twice_and_starts_again(seen: Seen, client: Context) -> None:
    server = CoapServer(seen, port=0, max_body=1)
    await server.start()
    with pytest.raises(LocalProtocolError):
        await server.start()
    await server.stop()
    await server.stop()
    url = await server.start()
    reply = await client.request(Message(code=codes.POST, payload=b"x", uri=f"{url}/{DATA_PATH}")).response
    assert reply.code == codes.CHANGED
    await server.stop()


@pytest.mark.parametrize(("host", "start"), [("::1", "coap://[::1]:"), ("localhost", "coap://127.0.0.1:")])
async def test_ipv6_and_names(host: str, start: str, seen: Seen, client: Context) -> None:
    server = CoapServer(seen, host=host, port=0, max_body=100)
    try:
        url = await server.start()
    except ConfigError:
        pytest.skip(f"{host} cannot be bound here")
    assert url.startswith(start)
    reply = await client.request(Message(code=codes.POST, payload=b"x", uri=f"{url}/{DATA_PATH}")).response
    assert reply.code == codes.CHANGED
    await server.stop()


def _other_address() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.255", 9))  # sends nothing; the kernel picks the address it would send from
        address: str = probe.getsockname()[0]
        return None if address.startswith("127.") else address
    return None


async def test_loopback_means_loopback(url: str, seen: Seen) -> None:
    """Nothing is heard at the machine's other addresses, neither IPv4 nor the IPv6 loopback."""
    loop = asyncio.get_running_loop()
    message = encode(codes.POST, 1, mtype=NON, uri_path=DATA, payload=b"x")
    for address in filter(None, [_other_address(), "::1"]):
        with contextlib.suppress(OSError):
            transport, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=(address, port_of(url))
            )
            transport.sendto(message)
            await asyncio.sleep(0.1)
            transport.close()
    assert seen.requests == []


async def test_stopping_answers_what_is_under_way_and_tells_observers(
    client: Context, server: CoapServer, url: str, seen: Seen
) -> None:
    seen.gate.clear()
    server.publish(RESULT_PATH, b"0")
    async with peer(url) as observer:
        await observer.ask(encode(codes.GET, 1, uri_path=RESULT_PATH.split("/"), observe=0))
        pending = client.request(Message(code=codes.POST, payload=b"x", uri=f"{url}/{DATA_PATH}")).response
        await _until(lambda: len(seen.requests) == 1)
        stopping = asyncio.create_task(server.stop())
        goodbye = await observer.read()
        assert (goodbye.code, goodbye.mtype, goodbye.opt.observe) == (codes.SERVICE_UNAVAILABLE, NON, None)
        late = await observer.ask(encode(codes.POST, 2, token=b"z", uri_path=DATA, payload=b"y"))
        assert (late.code, late.opt.max_age) == (codes.SERVICE_UNAVAILABLE, 5)
        seen.gate.set()
        assert (await pending).code == codes.CHANGED
        await stopping
    assert len(seen.requests) == 1


async def test_stopping_does_not_wait_for_ever(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    seen.gate.clear()
    server = CoapServer(seen, port=0, max_body=1, limits=Limits(drain_s=0.05))
    async with peer(await server.start()) as raw:
        raw.send(encode(codes.POST, 1, uri_path=DATA, payload=b"x"))
        await _until(lambda: len(seen.requests) == 1)
        await asyncio.wait_for(server.stop(), 3)
    assert "1 CoAP requests not handled within 0.05 s" in caplog.text


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
