"""Bodies too large, mixed up or without an end; more requests than are handled at once."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiocoap import Context, Message
from aiocoap.numbers import codes

from tests.support.coap_server import MAX_BODY, Seen
from tests.support.engines import until
from tests.unit.coap.support import DATA, DATA_PATH, encode, peer

if TYPE_CHECKING:
    from bridge.coap.server import CoapServer


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
        assert server._endpoint is not None
        assert server._endpoint.messages.remembered <= 64
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
    await until(lambda: len(seen.requests) == 8)
    reply = await client.request(Message(**message)).response
    assert (reply.code, reply.opt.max_age) == (codes.SERVICE_UNAVAILABLE, 1)
    seen.gate.set()
    assert {(await reply).code for reply in pending} == {codes.CHANGED}
    for context in contexts:
        await context.shutdown()
