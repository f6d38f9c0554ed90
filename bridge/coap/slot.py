"""One aiocoap context at a time, with one request at a time; errors are translated here."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped", allow-subclassing-any

from __future__ import annotations

import asyncio
import ipaddress
import logging
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from aiocoap import COAP_PORT, Context, Message
from aiocoap import error as aio
from aiocoap.message import UndecidedRemote
from aiocoap.numbers import codes
from aiocoap.numbers.constants import TransportTuning
from aiocoap.numbers.types import ACK

from bridge.coap.messages import CoapReply, ReplyCode
from bridge.errors import ConfigError, LinkError, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

ACK_TIMEOUT_S = 2.0
MAX_RETRANSMIT = 4
"""RFC 7252 section 4.8."""

_LOGGER = "bridge.coap.aiocoap"
_BLOCK = 1_024
_MAX_AGE_S = 60  # what a missing Max-Age means (RFC 7252 section 5.10.5)
_LAST_ID = 50_000  # a context is replaced after so many messages: its 16-bit IDs must not come round
_ANSWERS: dict[Any, ReplyCode] = {
    codes.CHANGED: "changed",
    codes.CONTENT: "content",
    codes.BAD_REQUEST: "malformed",
    codes.NOT_FOUND: "no_route",
    codes.REQUEST_ENTITY_TOO_LARGE: "too_large",
    codes.UNSUPPORTED_CONTENT_FORMAT: "unknown_format",
    codes.SERVICE_UNAVAILABLE: "overload",
    codes.TOO_MANY_REQUESTS: "overload",
}
_LATER = frozenset(
    {codes.REQUEST_ENTITY_INCOMPLETE, codes.INTERNAL_SERVER_ERROR, codes.BAD_GATEWAY, codes.GATEWAY_TIMEOUT}
)


class Timing(NamedTuple):
    """How an answered post went.

    Attributes:
        seconds: from the first sending to the answer; the bridge's work is in it, and all blocks are.
        repeats: repetitions of datagrams; with one or more, `seconds` is no round trip (Karn's rule).
        blocks: datagrams the body took.
    """

    seconds: float
    repeats: int
    blocks: int


class Post(NamedTuple):
    """One message to send, and by which timers."""

    path: str
    payload: bytes
    content_format: int
    query: str
    timeout_s: float
    ack_timeout_s: Callable[[], float]
    max_retransmit: int


class Origin:
    """Where the bridge is: resolved once, and again only after a failure."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._address: str | None = None

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Read `coap://host[:port]`.

        Raises:
            ConfigError: it is not such a URL.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as e:
            raise ConfigError(f"{url!r} is not a URL: {e}") from e
        if parts.scheme == "coaps":
            raise ConfigError(f"{url!r}: DTLS is not offered; use coap:// inside a tunnel or VPN, or mqtts://")
        if parts.scheme != "coap" or not parts.hostname:
            raise ConfigError(f"{url!r} is not of the form coap://host[:port]")
        if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
            raise ConfigError(f"{url!r}: nothing may follow or precede coap://host[:port]")
        return cls(parts.hostname, port or COAP_PORT)

    def __str__(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"coap://{host}:{self._port}"

    async def address(self) -> str:
        """`address:port`, without asking the resolver again."""
        if self._address is None:
            try:
                host = str(ipaddress.ip_address(self._host))
            except ValueError:
                loop = asyncio.get_running_loop()
                found = await loop.getaddrinfo(self._host, self._port, type=2)
                host = str(found[0][4][0])
            self._address = f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"
        return self._address

    def doubt(self) -> None:
        """A post failed: the name may have moved."""
        self._address = None


class _Timers(TransportTuning):
    """One post's timers, and the witness of its progress.

    aiocoap reads ACK_TIMEOUT when it first sends a datagram and MAX_RETRANSMIT at each time-out; there is no other
    sign of either.
    """

    reliability = True

    def __init__(self, post: Post) -> None:
        self._post = post
        self.began = self.progress = asyncio.get_running_loop().time()
        self.repeats = 0

    @property
    def ACK_TIMEOUT(self) -> float:  # noqa: N802  aiocoap's name
        self.progress = asyncio.get_running_loop().time()
        return self._post.ack_timeout_s()

    @property
    def MAX_RETRANSMIT(self) -> int:  # noqa: N802  aiocoap's name
        self.repeats += 1
        return self._post.max_retransmit


class Slot:
    """Sends one post after the other."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._context: Context | None = None
        self._remote: Any = None
        self._sent = 0
        self._closing: set[asyncio.Task[None]] = set()

    async def post(self, post: Post) -> tuple[CoapReply, Timing]:
        """Send and wait; see `CoapClient.post`."""
        clean = False
        try:
            response, timing = await self._exchange(post)
            clean = response.mtype is ACK and self._sent < _LAST_ID
            return _reply(response, self._origin), timing
        except (aio.NetworkError, aio.LibraryShutdown, OSError) as e:
            self._origin.doubt()
            why = str(e) or type(e).__name__
            raise LinkError(f"{self._origin}: {why}; whether the message arrived is unknown") from e
        except aio.Error as e:
            raise RemoteProtocolError(f"{self._origin}: {str(e) or type(e).__name__}") from e
        finally:
            if not clean:
                self._replace()

    async def close(self) -> None:
        """Close the socket."""
        self._replace()
        if self._closing:
            await asyncio.wait(self._closing)

    async def _exchange(self, post: Post) -> tuple[Message, Timing]:
        async with asyncio.timeout(post.timeout_s):
            context, remote = await self._open()
        blocks = max(1, -(-len(post.payload) // _BLOCK))
        timers = _Timers(post)
        message = Message(
            code=codes.POST,
            payload=post.payload,
            uri_path=post.path.split("/"),
            uri_query=post.query.split("&") if post.query else (),
            content_format=post.content_format,
            transport_tuning=timers,
        )
        message.remote = remote
        response = context.request(message).response
        self._sent += blocks
        try:
            await _wait(response, timers, post.timeout_s, most=timers.began + post.timeout_s * (blocks + 4))
        except BaseException:
            response.cancel()
            raise
        answer = response.result()
        return answer, Timing(asyncio.get_running_loop().time() - timers.began, timers.repeats, blocks)

    async def _open(self) -> tuple[Context, Any]:
        if self._context is None:
            address = await self._origin.address()
            log = logging.getLogger(_LOGGER)
            if log.level == logging.NOTSET:
                log.setLevel(logging.ERROR)
            self._context = await Context.create_client_context(loggername=_LOGGER, transports=["simple6"])
            probe = Message(code=codes.POST)
            probe.remote = UndecidedRemote("coap", address)
            await self._context.find_remote_and_interface(probe)
            self._remote = probe.remote
        return self._context, self._remote

    def _replace(self) -> None:
        """Have the context closed behind our back; the next post opens a new one."""
        context, self._context = self._context, None
        self._remote = None
        self._sent = 0
        if context is not None:
            task = asyncio.create_task(context.shutdown(), name="closing a CoAP context")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


async def _wait(response: asyncio.Future[Message], timers: _Timers, timeout_s: float, *, most: float) -> None:
    """Wait for the answer while datagrams are answered in time; aiocoap itself may wait for ever."""
    loop = asyncio.get_running_loop()
    while not response.done():
        left = min(timers.progress + timeout_s, most) - loop.time()
        if left <= 0:
            raise TimeoutError(f"no answer within {timeout_s:g} s")
        await asyncio.wait({response}, timeout=left)


def _reply(response: Message, origin: Origin) -> CoapReply:
    code = _ANSWERS.get(response.code)
    if code is None:
        text = response.payload[:200].decode(errors="replace")
        if response.code in _LATER:
            raise LinkError(f"{origin} answered {response.code}: {text}; sending it again may help")
        raise RemoteProtocolError(f"{origin} answered {response.code}, which a bridge does not: {text}")
    max_age = response.opt.max_age
    if code == "overload" and max_age is None:
        max_age = _MAX_AGE_S
    content_format = response.opt.content_format
    return CoapReply(code, response.payload, None if content_format is None else int(content_format), max_age)
