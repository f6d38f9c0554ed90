"""Requests and resources, asked by aiocoap's own client."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiocoap.numbers import codes

from bridge.coap.server import CoapReply, CoapServer
from tests.unit.coap.support import DATA_PATH, RESULT_PATH, encode, peer

if TYPE_CHECKING:
    from tests.support.coap_server import Seen


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
