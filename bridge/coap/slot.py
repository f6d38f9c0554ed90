"""One aiocoap context at a time, with one request at a time; errors are translated here."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped", allow-subclassing-any

from __future__ import annotations

import asyncio
import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from aiocoap import Context, Message, Reliable, Unreliable
from aiocoap import error as aio
from aiocoap.message import UndecidedRemote
from aiocoap.numbers import codes
from aiocoap.numbers.types import ACK, NON
from aiocoap.options import Options

from bridge.coap.exchanges import Exchanges, Posting, ask, open_context
from bridge.coap.messages import CoapReply, ReplyCode
from bridge.errors import LinkError, RemoteProtocolError

if TYPE_CHECKING:
    from bridge.coap.origin import Origin
    from bridge.coap.pacer import Pacer
    from bridge.coap.tally import Tally

BLOCK = 1_024
"""Bytes above which a body goes block-wise."""

_LOGGER = "bridge.coap.aiocoap"
_MAX_AGE_S = 60  # what a missing Max-Age means (RFC 7252 section 5.10.5)
_PATHS = 64  # whose options are kept written
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


class Post(NamedTuple):
    """One message to send.

    Attributes:
        path: without the leading slash.
        payload: the whole body.
        content_format: its number.
        query: parts are separated by `&`.
        timeout_s: seconds without progress after which it is given up.
        copies: 0: confirmable; otherwise how often it is sent, not asking for an acknowledgement.
    """

    path: str
    payload: bytes
    content_format: int
    query: str
    timeout_s: float
    copies: int


class Slot:
    """Sends one post after the other."""

    def __init__(self, origin: Origin, pacer: Pacer) -> None:
        self._origin = origin
        self._pacer = pacer
        self._context: Context | None = None
        self._messages: Exchanges | None = None
        self._remote: Any = None
        self._response: asyncio.Future[Message] | None = None
        self._sent = 0
        self._closing: set[asyncio.Task[None]] = set()

    async def post(self, post: Post, tally: Tally) -> CoapReply:
        """Send and wait; see `CoapClient.post`."""
        clean = False
        try:
            response = await self._exchange(post, tally)
            tally.is_answered = True
            clean = response.mtype is (NON if post.copies else ACK) and self._sent < _LAST_ID
            return _reply(response, self._origin)
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

    async def _exchange(self, post: Post, tally: Tally) -> Message:
        context, messages = self._context, self._messages
        if context is None or messages is None:
            context, messages = await self._open(post.timeout_s)
        messages.tally = tally
        messages.copies = post.copies
        tuning = Unreliable if post.copies else Reliable
        blocks = max(1, -(-len(post.payload) // BLOCK))
        # Never cancelled: aiocoap 0.4.17 sets results on cancelled futures, a traceback each. If nobody waits any more,
        # closing the context ends it.
        # A small answer to a small body needs no blocks: without them the datagram leaves sooner.
        if blocks > 1 or post.query:
            message = Message(code=codes.POST, payload=post.payload, transport_tuning=tuning)
            message.remote = self._remote
            message.opt = _options(post.path, post.content_format, post.query)
            response = context.request(message).response
        else:
            options = _written(post.path, post.content_format)
            response = ask(messages, Posting(post.payload, options, self._remote, tuning))
        self._response = response
        response.add_done_callback(_look_at)
        self._sent += blocks
        began = asyncio.get_running_loop().time()
        await _wait(response, tally, post.timeout_s, most=began + post.timeout_s * (blocks + 4))
        return response.result()

    async def _open(self, timeout_s: float) -> tuple[Context, Exchanges]:
        try:
            async with asyncio.timeout(timeout_s):
                address = await self._origin.address()
                log = logging.getLogger(_LOGGER)
                if log.level == logging.NOTSET:
                    log.setLevel(logging.ERROR)
                self._context, self._messages = await open_context(self._pacer, log)
                probe = Message(code=codes.POST)
                probe.remote = UndecidedRemote("coap", address)
                await self._context.find_remote_and_interface(probe)
                self._remote = probe.remote
        except TimeoutError as e:
            raise LinkError(f"{self._origin}: its name was not resolved within {timeout_s:g} s") from e
        return self._context, self._messages

    def _replace(self) -> None:
        """Have the context closed behind our back; the next post opens a new one."""
        context, self._context = self._context, None
        messages, self._messages = self._messages, None
        response, self._response = self._response, None
        self._remote = None
        self._sent = 0
        if messages is not None:
            messages.tally = None
            messages.abandon()
        if context is not None:
            task = asyncio.create_task(_close(context, response), name="closing a CoAP context")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


class _Written(Options):
    """Options that are as they are for good, so that they are written once; shared by messages."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self._options = options._options  # noqa: SLF001 # of our own class
        self._bytes: bytes = options.encode()

    def encode(self) -> bytes:
        """As they were written."""
        return self._bytes


@lru_cache(_PATHS)
def _written(path: str, content_format: int) -> Options:
    return _Written(_options(path, content_format))


def _options(path: str, content_format: int, query: str = "") -> Options:
    options = Options()
    options.uri_path = path.split("/")
    options.content_format = content_format
    if query:
        options.uri_query = query.split("&")
    return options


async def _close(context: Context, response: asyncio.Future[Message] | None) -> None:
    await context.shutdown()
    if response is not None and not response.done():
        await asyncio.wait({response}, timeout=1)


def _look_at(response: asyncio.Future[Message]) -> None:
    """An error that nobody waits for is no news."""
    if not response.cancelled():
        response.exception()


async def _wait(response: asyncio.Future[Message], tally: Tally, timeout_s: float, *, most: float) -> None:
    """Wait for the answer while datagrams are answered in time; aiocoap itself may wait for ever."""
    loop = asyncio.get_running_loop()
    while not response.done():
        left = min(tally.progress + timeout_s, most) - loop.time()
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
