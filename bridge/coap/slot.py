"""One aiocoap context at a time, with one request at a time; errors are translated here."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped", allow-subclassing-any

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from aiocoap import Context, Message
from aiocoap import error as aio
from aiocoap.message import UndecidedRemote
from aiocoap.messagemanager import MessageManager
from aiocoap.numbers import codes
from aiocoap.numbers.constants import TransportTuning
from aiocoap.numbers.types import ACK
from aiocoap.tokenmanager import TokenManager
from aiocoap.transports.simple6 import MessageInterfaceSimple6

from bridge.coap.datagram import flaw
from bridge.coap.messages import CoapReply, ReplyCode
from bridge.errors import LinkError, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.coap.origin import Origin

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


class _Datagrams(MessageInterfaceSimple6):
    """aiocoap's socket, given only what is well-formed, and nothing once it closes: that would be a traceback each."""

    def _received_datagram(self, address: Any, datagram: bytes) -> None:
        if self._mman is not None and flaw(datagram) is None:
            super()._received_datagram(address, datagram)

    def _received_exception(self, address: Any, exception: Exception) -> None:
        if self._mman is not None:
            super()._received_exception(address, exception)


async def _open_context(log: logging.Logger) -> Context:
    """What Context.create_client_context does for "simple6", with our `_Datagrams`."""
    loop = asyncio.get_running_loop()
    context = Context(loop=loop, loggername=log.name)
    tokens = TokenManager(context)
    messages = MessageManager(tokens)
    messages.message_interface = await _Datagrams.create_client_transport_endpoint(messages, log, loop)
    tokens.token_interface = messages
    context.request_interfaces.append(tokens)
    return context


class Slot:
    """Sends one post after the other."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._context: Context | None = None
        self._remote: Any = None
        self._response: asyncio.Future[Message] | None = None
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
            raise LinkError(f"{self._origin}: {_why(e)}; whether the message arrived is unknown") from e
        except aio.Error as e:
            raise RemoteProtocolError(f"{self._origin}: {_why(e)}") from e
        finally:
            if not clean:
                self._replace()

    async def close(self) -> None:
        """Close the socket."""
        self._replace()
        if self._closing:
            await asyncio.wait(self._closing)

    async def _exchange(self, post: Post) -> tuple[Message, Timing]:
        try:
            async with asyncio.timeout(post.timeout_s):
                context, remote = await self._open()
        except TimeoutError as e:
            raise LinkError(f"{self._origin}: its name was not resolved within {post.timeout_s:g} s") from e
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
        # Never cancelled: aiocoap 0.4.17 sets results on cancelled futures, a traceback each. If nobody waits any more,
        # closing the context ends it.
        self._response = response = context.request(message).response
        response.add_done_callback(_look_at)
        self._sent += blocks
        await _wait(response, timers, post.timeout_s, most=timers.began + post.timeout_s * (blocks + 4))
        answer = response.result()
        return answer, Timing(asyncio.get_running_loop().time() - timers.began, timers.repeats, blocks)

    async def _open(self) -> tuple[Context, Any]:
        if self._context is None:
            address = await self._origin.address()
            log = logging.getLogger(_LOGGER)
            if log.level == logging.NOTSET:
                log.setLevel(logging.ERROR)
            self._context = await _open_context(log)
            probe = Message(code=codes.POST)
            probe.remote = UndecidedRemote("coap", address)
            await self._context.find_remote_and_interface(probe)
            self._remote = probe.remote
        return self._context, self._remote

    def _replace(self) -> None:
        """Have the context closed behind our back; the next post opens a new one."""
        context, self._context = self._context, None
        response, self._response = self._response, None
        self._remote = None
        self._sent = 0
        if context is not None:
            task = asyncio.create_task(_close(context, response), name="closing a CoAP context")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


async def _close(context: Context, response: asyncio.Future[Message] | None) -> None:
    await context.shutdown()
    if response is not None and not response.done():
        await asyncio.wait({response}, timeout=1)


def _look_at(response: asyncio.Future[Message]) -> None:
    """An error that nobody waits for is no news."""
    if not response.cancelled():
        response.exception()


async def _wait(response: asyncio.Future[Message], timers: _Timers, timeout_s: float, *, most: float) -> None:
    """Wait for the answer while datagrams are answered in time; aiocoap itself may wait for ever."""
    loop = asyncio.get_running_loop()
    while not response.done():
        left = min(timers.progress + timeout_s, most) - loop.time()
        if left <= 0:
            raise TimeoutError(f"no answer within {timeout_s:g} s")
        await asyncio.wait({response}, timeout=left)


def _why(error: BaseException) -> str:
    cause = error.__cause__ or error  # aiocoap wraps what the system says and adds nothing
    return str(cause) or type(cause).__name__


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
