"""Starting and stopping a server, and where it listens."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest
from aiocoap import Context, Message
from aiocoap.numbers import codes
from aiocoap.numbers.types import NON

from bridge.coap.server import CoapServer, Limits
from bridge.errors import ConfigError, LocalProtocolError
from tests.support.engines import until
from tests.unit.coap.support import DATA, DATA_PATH, RESULT_PATH, encode, peer, port_of

if TYPE_CHECKING:
    from tests.support.coap_server import Seen


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
        await until(lambda: len(seen.requests) == 1)
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
        await until(lambda: len(seen.requests) == 1)
        await asyncio.wait_for(server.stop(), 3)
    assert "1 CoAP requests not handled within 0.05 s" in caplog.text
