"""TCP connections to a broker, begun in the event loop, so that one can be tried beside another."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from bridge import tcp
from bridge.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.config import Url

_T = TypeVar("_T")

STAGGER = 0.5  # seconds
LOOK_UP = 0.1  # seconds for a name server, where addresses are known


class Unanswered(LinkError):
    """Nobody answered, and nobody refused: as when the link is gone, or a connection is half-open."""


class Dialler:
    """Dials one broker; while a name server does not answer, as in an outage, the addresses that it told before do.

    Args:
        url: whose host and port.
    """

    def __init__(self, url: Url) -> None:
        self._url = url
        self._known: list[Any] = []

    async def dial(self, *, patience_s: float) -> socket.socket:
        """A tuned connection, non-blocking, to the first of the host's addresses that takes it.

        A SYN is repeated after a second, at best (RFC 6298, section 5.7, and `tcp.LONGEST_RTO`); a second socket
        half a second behind the first halves how late the link's return is noticed.

        Args:
            patience_s: seconds that the kernel sends SYNs, and later repeats data.

        Raises:
            LinkError: refused, or there is no such host.
            Unanswered: no answer.
        """
        failed: LinkError = LinkError(f"cannot connect: no address of {self._url.host}")
        for address in await self._addresses():
            try:
                return await _first(address, patience_s)
            except LinkError as why:
                failed = why
        raise failed

    async def _addresses(self) -> list[Any]:
        looking = asyncio.create_task(detached(lambda: _look_up(self._url)))
        looking.add_done_callback(self._found)
        if not self._known:
            return await looking
        await asyncio.wait([looking], timeout=LOOK_UP)  # what comes later is for the next time
        return self._known

    def _found(self, looking: asyncio.Task[list[Any]]) -> None:
        if not looking.cancelled() and looking.exception() is None:
            self._known = looking.result()


async def _first(address: Any, patience_s: float) -> socket.socket:
    tries = [asyncio.create_task(_connect(address, patience_s, after=late)) for late in (0.0, STAGGER)]
    taken = None
    try:
        done, _ = await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
        taken = done.pop()
        return taken.result()
    finally:
        for one in tries:
            if one is not taken:
                spare(one)


async def _connect(address: Any, patience_s: float, *, after: float) -> socket.socket:
    await asyncio.sleep(after)
    family, kind, protocol, _, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        tcp.tune(sock, patience_s=patience_s)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except OSError as why:
        sock.close()
        said = f"cannot connect: {why if why.errno is None else os.strerror(why.errno)}"
        raise (LinkError if isinstance(why, ConnectionError) else Unanswered)(said) from why
    except BaseException:
        sock.close()
        raise
    return sock


def _look_up(url: Url) -> list[Any]:
    try:
        return socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as why:  # UnicodeError: a host name that cannot be encoded
        raise LinkError(f"cannot connect: {why}") from why


def spare(dialled: asyncio.Task[socket.socket]) -> None:
    """Nobody wants it any more."""
    if not dialled.cancel() and not dialled.cancelled() and dialled.exception() is None:
        dialled.result().close()


def is_open(dialled: asyncio.Task[socket.socket] | None) -> bool:
    """Whether it came to be."""
    return dialled is not None and dialled.done() and not dialled.cancelled() and dialled.exception() is None


async def detached(call: Callable[[], _T]) -> _T:
    """Runs a call that may hang (a name server, a TLS handshake) where it cannot hold up the end of the process.

    Raises:
        LinkError: the call did.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, failed: LinkError | None) -> None:
        if done.done():
            return
        if failed is not None:
            done.set_exception(failed)
        else:
            done.set_result(result)  # type: ignore[arg-type] # None only beside a failure, or if the call says so

    def work() -> None:
        result, failed = None, None
        try:
            result = call()
        except LinkError as why:
            failed = why
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=work, name="mqtt-dial", daemon=True).start()
    return await done
