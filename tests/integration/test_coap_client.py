"""The client against our server, through loss, and against servers that misbehave."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
import gc
import random
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiocoap import Message
from aiocoap.numbers import codes
from aiocoap.numbers.types import ACK, CON, RST

from bridge.coap.client import CoapClient, CoapReply, Timing
from bridge.coap.rto import Rfc6298
from bridge.coap.server import CoapRequest, CoapServer
from bridge.errors import LinkError, RemoteProtocolError
from tests.unit.coap.support import DATA_PATH, encode, fake_server, lossy, port_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Echo:
    """Answers with what it got; counts how many are at work at once."""

    def __init__(self) -> None:
        self.requests: list[CoapRequest] = []
        self.most = 0
        self._now = 0
        self.delay = 0.0
        self.at_once = 0  # requests that must be at work before the first is answered
        self._enough = asyncio.Event()

    async def __call__(self, request: CoapRequest) -> CoapReply:
        self.requests.append(request)
        self._now += 1
        self.most = max(self.most, self._now)
        if self.most >= self.at_once:
            self._enough.set()
        await self._enough.wait()
        await asyncio.sleep(self.delay)
        self._now -= 1
        return CoapReply("content", request.payload, 60) if request.wants_result else CoapReply("changed")


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def url(echo: Echo) -> AsyncIterator[str]:
    server = CoapServer(echo, port=0, max_body=200_000)
    yield await server.start()
    await server.stop()


@pytest.fixture(autouse=True)
async def _quiet() -> AsyncIterator[None]:
    """No task, callback or future may end in an error that nobody saw."""
    errors: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
    yield
    await asyncio.sleep(0)
    gc.collect()
    await asyncio.sleep(0)
    assert errors == []


async def test_a_post_and_its_answer(url: str, echo: Echo) -> None:
    client = CoapClient(url)
    assert await client.post(DATA_PATH, b"x", 60) == CoapReply("changed")
    reply = await client.post(DATA_PATH, bytes(9000), 60, query="result&n=1")
    assert reply == CoapReply("content", bytes(9000), 60)
    assert [len(request.payload) for request in echo.requests] == [1, 9000]
    assert echo.requests[0].content_format == 60
    assert (await client.post("edge/v1/nope", b"x", 50)).code == "no_route"
    refused = await client.post(DATA_PATH, bytes(200_001), 60)
    assert (refused.code, refused.refusal) == ("too_large", "too_large: at most 200000 bytes a message")
    await client.close()


async def test_as_many_at_once_as_the_window_says(url: str, echo: Echo) -> None:
    echo.at_once = 4
    client = CoapClient(url, window=4)
    bodies = [bytes([n]) * size for n, size in enumerate([10, 5000] * 8)]
    replies = await asyncio.gather(*(client.post(DATA_PATH, body, 60, query="result") for body in bodies))
    assert [reply.payload for reply in replies] == bodies  # block-wise ones to one URI, too
    assert echo.most == 4
    assert len({request.peer for request in echo.requests}) == 4
    await client.close()


@pytest.mark.parametrize("handed_over", [False, True])
async def test_who_is_cancelled_while_it_waits_its_turn_takes_nobodys(url: str, echo: Echo, handed_over: bool) -> None:
    """`handed_over`: its turn has come, but it does not know yet."""
    second: asyncio.Task[CoapReply]

    def ended(timing: Timing) -> None:
        if handed_over and timing.answered:
            second.cancel()

    client = CoapClient(url, window=1, on_timing=ended)
    first, second, third = [asyncio.create_task(client.post(DATA_PATH, bytes([n]), 60)) for n in range(3)]
    await asyncio.sleep(0)
    if not handed_over:
        second.cancel()
    assert [one.code for one in await asyncio.wait_for(asyncio.gather(first, third), 5)] == ["changed"] * 2
    assert second.cancelled()
    assert [request.payload for request in echo.requests] == [b"\0", b"\2"]
    await client.close()


async def test_a_quiet_client_keeps_to_one_port(url: str, echo: Echo) -> None:
    client = CoapClient(url)
    for _ in range(5):
        await client.post(DATA_PATH, b"x", 60)
    assert len({request.peer for request in echo.requests}) == 1
    await client.close()


async def test_everything_arrives_through_loss_and_once(url: str, echo: Echo) -> None:
    dice = random.Random(7)
    timings: list[Timing] = []
    async with lossy(url, lambda: dice.random() < 0.1) as through:
        client = CoapClient(through, window=4, on_timing=timings.append)
        bodies = [b"%d" % n for n in range(60)] + [bytes([n]) * 4000 for n in range(4)]
        replies = await asyncio.gather(*(client.post(DATA_PATH, body, 60, query="result") for body in bodies))
        await client.close()
    assert [reply.payload for reply in replies] == bodies
    assert sorted(request.payload for request in echo.requests) == sorted(bodies)
    assert len(timings) == len(bodies)
    assert sum(timing.repeats for timing in timings) > 5
    assert {timing.datagrams for timing in timings} == {
        1,
        7,
    }  # 4,000 bytes there and back: the fourth answer brings the first block


async def test_a_slow_bridge_is_waited_for(url: str, echo: Echo) -> None:
    echo.delay = 0.3
    client = CoapClient(url, window=1)
    for _ in range(3):
        assert (await client.post(DATA_PATH, b"x", 60)).code == "changed"
    await client.close()


# Servers that misbehave: never a hang, always an error of ours, and the next post works


def _acknowledge(data: bytes) -> list[bytes]:
    return [encode(codes.EMPTY, Message.decode(data).mid, mtype=ACK, token=b"")]


def _reset(data: bytes) -> list[bytes]:
    return [encode(codes.EMPTY, Message.decode(data).mid, mtype=RST, token=b"")]


def _answer(code: Any, **options: Any) -> Callable[[bytes], list[bytes]]:
    def answer(data: bytes) -> list[bytes]:
        request = Message.decode(data)
        return [encode(code, request.mid, mtype=ACK, token=request.token, **options)]

    return answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda _data: [], "no answer within"),
        (_acknowledge, "no answer within"),
        (_reset, "unknown"),
        (lambda _data: [b"\x99junk"], "no answer within"),
        (_answer(codes.REQUEST_ENTITY_INCOMPLETE, payload=b"again"), "sending it again may help"),
        (_answer(codes.INTERNAL_SERVER_ERROR), "sending it again may help"),
    ],
)
async def test_no_useful_answer_is_a_link_error(answer: Callable[[bytes], list[bytes]], words: str) -> None:
    behaviour = answer
    async with fake_server(lambda data: behaviour(data)) as (url, _):
        client = CoapClient(url, window=1, timeout_s=0.2)
        for _ in range(2):
            with pytest.raises(LinkError, match=words):
                await client.post(DATA_PATH, b"x", 60)
        behaviour = _answer(codes.CHANGED)
        assert (await client.post(DATA_PATH, b"x", 60)).code == "changed"
        await client.close()


@pytest.mark.parametrize("code", [codes.METHOD_NOT_ALLOWED, codes.FORBIDDEN, codes.VALID, codes.CONTINUE])
async def test_what_a_bridge_never_answers(code: Any) -> None:
    async with fake_server(_answer(code, payload=b"because")) as (url, _):
        client = CoapClient(url, window=1, timeout_s=1)
        with pytest.raises(RemoteProtocolError, match=r"which a bridge does not: because"):
            await client.post(DATA_PATH, b"x", 60)
        await client.close()


async def test_another_block_acknowledged_than_sent() -> None:
    async with fake_server(_answer(codes.CONTINUE, block1=(7, True, 6))) as (url, _):
        client = CoapClient(url, window=1, timeout_s=1)
        with pytest.raises(RemoteProtocolError, match="mismatch"):
            await client.post(DATA_PATH, bytes(5000), 60)
        await client.close()


@pytest.mark.parametrize(
    ("code", "max_age", "expected"),
    [(codes.SERVICE_UNAVAILABLE, 7, 7), (codes.SERVICE_UNAVAILABLE, None, 60), (codes.TOO_MANY_REQUESTS, 3, 3)],
)
async def test_overload_says_when_to_come_back(code: Any, max_age: int | None, expected: int) -> None:
    async with fake_server(_answer(code, max_age=max_age)) as (url, _):
        client = CoapClient(url)
        assert await client.post(DATA_PATH, b"x", 60) == CoapReply("overload", max_age=expected)
        await client.close()


async def test_nobody_listens() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    client = CoapClient(f"coap://127.0.0.1:{port}", timeout_s=20)
    began = time.monotonic()
    with pytest.raises(LinkError, match="refused"):
        await client.post(DATA_PATH, b"x", 60)
    assert time.monotonic() - began < 2  # ICMP says so at once
    await client.close()


async def test_a_name_that_does_not_exist() -> None:
    client = CoapClient("coap://no.such.host.invalid", timeout_s=5)
    with pytest.raises(LinkError, match=r"no\.such\.host\.invalid"):
        await client.post(DATA_PATH, b"x", 60)
    await client.close()


async def test_a_large_body_may_take_longer_than_the_timeout() -> None:
    """The time-out is for lack of progress: five blocks of 0.15 s each pass with 0.4 s."""

    async def later(data: bytes, addr: Any, server: Any) -> None:
        await asyncio.sleep(0.15)
        request = Message.decode(data)
        code = codes.CONTINUE if request.opt.block1.more else codes.CHANGED
        server.transport.sendto(
            encode(code, request.mid, mtype=ACK, token=request.token, block1=request.opt.block1), addr
        )

    async with fake_server(lambda _data: []) as (url, server):
        tasks = []
        server.datagram_received = lambda data, addr: tasks.append(  # type: ignore[method-assign] # one answer, late
            asyncio.ensure_future(later(data, addr, server))
        )
        client = CoapClient(url, timeout_s=0.4)
        assert (await client.post(DATA_PATH, bytes(5 * 1024), 60)).code == "changed"
        await client.close()
    assert len(tasks) == 5


# Cancelling and closing


async def test_a_cancelled_post_wedges_nothing() -> None:
    silent = True

    def answer(data: bytes) -> list[bytes]:
        return [] if silent else _answer(codes.CHANGED)(data)

    async with fake_server(answer) as (url, server):
        client = CoapClient(url, window=1, timeout_s=5)
        for size in (1, 5000):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.post(DATA_PATH, bytes(size), 60), 0.05)
        assert server.received.qsize() == 2
        silent = False
        assert (await client.post(DATA_PATH, b"x", 60)).code == "changed"
        await client.close()


async def test_cancelling_at_any_moment_leaves_no_trace(url: str, echo: Echo) -> None:
    dice = random.Random(3)
    client = CoapClient(url, window=4)
    patience = 0.02  # follows what this machine takes, so that some posts are in time and others are not

    async def impatient() -> int:
        nonlocal patience
        done = 0
        for _ in range(60):
            size = dice.choice([10, 3000])
            try:
                await asyncio.wait_for(client.post(DATA_PATH, bytes(size), 60), dice.uniform(0, patience))
                done += 1
                patience /= 1.1
            except TimeoutError:
                echo.delay = dice.choice([0, 0, 0.01])
                patience *= 1.1
        return done

    done = await asyncio.gather(*(impatient() for _ in range(6)))
    assert 0 < sum(done) < 360  # `_quiet` checks that no callback failed
    assert (await client.post(DATA_PATH, b"x", 60)).code == "changed"
    await client.close()
    async with asyncio.timeout(5):  # the server may still answer what nobody waits for any more
        while len(asyncio.all_tasks()) > 2:  # noqa: ASYNC110 # tasks tell nobody when they end
            await asyncio.sleep(0.01)


async def test_repetitions_stop_when_nobody_waits() -> None:
    async with fake_server(lambda _data: []) as (url, server):
        client = CoapClient(url, window=1, round_trip=Rfc6298(initial_s=0.02))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.post(DATA_PATH, b"x", 60), 0.05)
        sent = server.received.qsize()
        assert sent > 1
        await asyncio.sleep(0.2)
        assert server.received.qsize() == sent
        await client.close()


async def test_a_late_reset_hurts_nobody() -> None:
    async with fake_server(lambda _data: []) as (url, server):
        client = CoapClient(url, window=1, timeout_s=5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.post(DATA_PATH, b"x", 60), 0.05)
        server._answer = lambda data: [*_reset(b"\x40\x02\x00\x01"), *_answer(codes.CHANGED)(data)]
        assert (await client.post(DATA_PATH, b"x", 60)).code == "changed"
        await client.close()


async def test_closing_ends_what_is_under_way() -> None:
    async with fake_server(lambda _data: []) as (url, _):
        client = CoapClient(url, window=2)
        posts = [asyncio.ensure_future(client.post(DATA_PATH, b"x", 60)) for _ in range(4)]
        await asyncio.sleep(0.05)
        await asyncio.wait_for(client.close(), 2)
        for post in posts:
            with pytest.raises(LinkError, match="closed"):
                await post
        with pytest.raises(LinkError, match="closed"):
            await client.post(DATA_PATH, b"x", 60)
        await client.close()


async def test_a_bridge_that_restarts_is_found_again(echo: Echo) -> None:
    server = CoapServer(echo, port=0, max_body=1000)
    url = await server.start()
    client = CoapClient(url, window=2, timeout_s=1)
    assert (await client.post(DATA_PATH, b"x", 60)).code == "changed"
    await server.stop()
    with pytest.raises(LinkError):
        await client.post(DATA_PATH, b"x", 60)
    server = CoapServer(echo, port=port_of(url), max_body=1000)
    await server.start()
    assert (await client.post(DATA_PATH, b"x", 60)).code == "changed"
    await client.close()
    await server.stop()


async def test_message_ids_never_come_round(url: str, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.coap.slot._LAST_ID", 10)
    client = CoapClient(url, window=1)
    for _ in range(25):
        await client.post(DATA_PATH, b"x", 60)
    assert len({request.peer for request in echo.requests}) == 3
    await client.close()


async def test_a_separate_answer_is_acknowledged() -> None:
    def answer(data: bytes) -> list[bytes]:
        request = Message.decode(data)
        if request.code == codes.EMPTY:
            return []
        separate = encode(codes.CHANGED, 77, mtype=CON, token=request.token)
        return [*_acknowledge(data), separate]

    async with fake_server(answer) as (url, server):
        client = CoapClient(url, window=1)
        assert (await client.post(DATA_PATH, b"x", 60)).code == "changed"
        await client.close()
        await server.read()
        acknowledged = await server.read()
        assert (acknowledged.mtype, acknowledged.mid) == (ACK, 77)
