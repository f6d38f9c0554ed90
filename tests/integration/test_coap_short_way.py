"""A device's post on the short way through the server: in the very call, and answered as on the long way."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from aiocoap.numbers import codes
from aiocoap.numbers.types import ACK, CON, NON
from aiocoap.options import Options

from bridge.coap.server import CoapReply, CoapRequest, CoapServer, Limits
from bridge.coap.short_way import Familiar, Post, Tokens
from bridge.coap.transport import Messages
from tests.unit.coap.support import DATA, DATA_PATH, encode, peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Desk:
    """A handler that returns a future; the test answers."""

    def __init__(self) -> None:
        self.requests: list[CoapRequest] = []
        self.answers: list[asyncio.Future[CoapReply]] = []
        self.came = asyncio.Semaphore(0)
        self.why: Exception | None = None

    def __call__(self, request: CoapRequest) -> asyncio.Future[CoapReply]:
        if self.why is not None:
            raise self.why
        self.requests.append(request)
        self.answers.append(asyncio.get_running_loop().create_future())
        self.came.release()
        return self.answers[-1]


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def server(desk: Desk) -> AsyncIterator[CoapServer]:
    server = CoapServer(desk, port=0, max_body=1_000, limits=Limits(max_pending=2, drain_s=0.01))
    yield server
    await server.stop()


@pytest.fixture
async def url(server: CoapServer) -> str:
    return await server.start()


def post(mid: int, *, token: bytes = b"t", payload: bytes = b"x", mtype: Any = CON, **options: Any) -> bytes:
    return encode(codes.POST, mid, mtype=mtype, token=token, payload=payload, uri_path=DATA, **options)


async def test_the_handler_has_the_message_in_the_call_that_reads_its_datagram(url: str, desk: Desk) -> None:
    seen: list[int] = []

    def read(self: Messages, request: Any) -> None:
        taken(self, request)
        seen.append(len(desk.requests))

    taken = Messages.take
    async with peer(url) as raw:
        with patch.object(Messages, "take", read):
            raw.send(post(1, content_format=60))
            await desk.came.acquire()
        assert seen == [1]
        assert desk.requests[0] == CoapRequest(DATA_PATH, b"x", 60, wants_result=False, peer=desk.requests[0].peer)
        desk.answers[0].set_result(CoapReply("changed"))
        answer = await raw.read()
        assert (answer.code, answer.mtype, answer.mid, answer.token) == (codes.CHANGED, ACK, 1, b"t")
        assert (await raw.ask(post(1, content_format=60))).mid == 1  # a repetition: the same answer
    assert len(desk.requests) == 1


async def test_who_asks_for_no_acknowledgement_gets_none(url: str, desk: Desk) -> None:
    async with peer(url) as raw:
        raw.send(post(1, mtype=NON))
        await desk.came.acquire()
        desk.answers[0].set_result(CoapReply("changed"))
        answer = await raw.read()
        assert (answer.code, answer.mtype, answer.token) == (codes.CHANGED, NON, b"t")


async def test_one_that_takes_long_is_acknowledged_first(url: str, desk: Desk) -> None:
    async with peer(url) as raw:
        assert (await raw.ask(post(1))).code == codes.EMPTY
        desk.answers[0].set_result(CoapReply("malformed", b"x" * 1_500))
        answer = await raw.read()
        assert (answer.code, answer.mtype, len(answer.payload)) == (codes.BAD_REQUEST, CON, 1_024)
        raw.send(encode(codes.EMPTY, answer.mid, mtype=ACK, token=b""))


async def test_a_handler_that_fails_at_once_or_later_costs_one_message(
    url: str, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    async with peer(url) as raw:
        desk.why = ValueError("at once")
        assert (await raw.ask(post(1))).code == codes.INTERNAL_SERVER_ERROR
        desk.why = None
        raw.send(post(2))
        await desk.came.acquire()
        desk.answers[0].set_exception(ValueError("later"))
        assert (await raw.read()).code == codes.INTERNAL_SERVER_ERROR
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["at once", "later"]


async def test_what_is_given_up_at_the_end_is_to_come_again(server: CoapServer, url: str, desk: Desk) -> None:
    async with peer(url) as raw:
        raw.send(post(1))
        await desk.came.acquire()
        await server.stop()
        answer = await raw.read()
        assert (answer.code, answer.opt.max_age) == (codes.SERVICE_UNAVAILABLE, 5)


async def test_who_uses_a_token_again_hears_of_the_later_message_alone(url: str, desk: Desk) -> None:
    async with peer(url) as raw:
        for mid in (1, 2):
            raw.send(post(mid))
            await desk.came.acquire()
        for answer in desk.answers:
            answer.set_result(CoapReply("changed"))
        assert (await raw.read()).mid == 2
        assert (await raw.ask(post(3, token=b"u", payload=b"x" * 1_001))).mid == 3
        assert raw.received.empty()


async def test_what_cannot_be_taken_at_once_goes_the_long_way(url: str, desk: Desk) -> None:
    async with peer(url) as raw:
        assert (await raw.ask(post(1, payload=b"x" * 1_001))).code == codes.REQUEST_ENTITY_TOO_LARGE
        raw.send(post(2, uri_query=("result",)))
        await desk.came.acquire()
        raw.send(post(3, token=b"u"))
        await desk.came.acquire()
        assert [request.wants_result for request in desk.requests] == [True, False]
        crowded = await raw.ask(post(4, token=b"v"))
        assert (crowded.code, crowded.opt.max_age) == (codes.SERVICE_UNAVAILABLE, 1)
        for answer in desk.answers:
            answer.set_result(CoapReply("content", b"{}", 50))
        assert {(await raw.read()).token for _ in desk.answers} == {b"t", b"u"}


async def test_a_peer_that_goes_away_gets_no_answer(server: CoapServer, url: str, desk: Desk) -> None:
    assert server._endpoint is not None
    (tokens,) = server._endpoint.context.request_interfaces
    heard = asyncio.Event()

    def hear(self: Tokens, why: Exception, remote: Any) -> None:
        end(self, why, remote)
        heard.set()

    end = Tokens.dispatch_error
    with patch.object(Tokens, "dispatch_error", hear):
        async with peer(url) as raw:
            raw.send(post(1))
            await desk.came.acquire()
            assert len(tokens._open) == 1
            raw.send(encode(codes.POST, 2, uri_path=("nope",), token=b"z"))
        await asyncio.wait_for(heard.wait(), 5)  # the answer to the second bounces off the closed port
    assert not tokens._open
    desk.answers[0].set_result(CoapReply("changed"))
    async with peer(url) as raw:
        raw.send(post(1))
        await desk.came.acquire()
        desk.answers[1].set_result(CoapReply("changed"))
        assert (await raw.read()).code == codes.CHANGED


def test_which_options_are_nothing_but_a_post() -> None:
    def of(**options: Any) -> Post | None:
        written = Options()
        for name, value in options.items():
            setattr(written, name, value)
        return Familiar(written.encode()).post

    assert of(uri_path=DATA) == Post(DATA_PATH, None)
    assert of(uri_path=DATA, content_format=50) == Post(DATA_PATH, 50)
    for more in ({"uri_query": ("result",)}, {"block1": (0, True, 6)}, {"observe": 0}, {"no_response": 26}):
        assert of(uri_path=DATA, **more) is None
    assert of(uri_path=(*DATA[:-1], "a/b")) is None
    assert of(uri_path=("edge", "v1")) is None
    assert Familiar(b"\x81a\x01b").post is None
