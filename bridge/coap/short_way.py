"""The short way of a device's post: its datagram reaches the handler in the very call in which it is read.

aiocoap's own way makes two pipes, a task and a turn of the event loop of each request, before anybody looks at it. It
stays the way of all that is more than a post of one whole message: blocks, queries, what is to be observed, refused.
"""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped", allow-subclassing-any

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from aiocoap import Context, Message
from aiocoap.message import Direction
from aiocoap.numbers import codes
from aiocoap.numbers.constants import TransportTuning
from aiocoap.numbers.types import Type
from aiocoap.options import Options
from aiocoap.tokenmanager import TokenManager

from bridge import topics

_URI_PATH, _CONTENT_FORMAT = 11, 12
_TYPES = (Type.CON, Type.NON)
_CODES = {int(code): code for code in (codes.POST, codes.PUT)}
_TIMERS = TransportTuning()  # constants

Answer: TypeAlias = Callable[[Message], None]


class Post(NamedTuple):
    """What the options of a post on a data path say.

    Attributes:
        path: `edge/v1/{site}/{device}/data/{stream}`.
        content_format: its number; None without one.
    """

    path: str
    content_format: int | None


Take: TypeAlias = Callable[[Message, Post], Callable[[Answer], None] | None]


class Familiar(Options):
    """Options that many messages share.

    Attributes:
        post: what they say where they say no more than that; None: the long way.
    """

    def __init__(self, written: bytes) -> None:
        super().__init__()
        self.decode(written)
        self.post = _post(self)


def _post(options: Options) -> Post | None:
    numbers = [int(option.number) for option in options.option_list()]
    segments = options.uri_path
    path = "/".join(segments)
    if not {*numbers} <= {_URI_PATH, _CONTENT_FORMAT} or numbers.count(_CONTENT_FORMAT) > 1:
        return None
    if any("/" in segment for segment in segments) or topics.parse_data(path) is None:
        return None
    return Post(path, None if options.content_format is None else int(options.content_format))


class Posted(Message):
    """A request of which all is read already; aiocoap's `Message` makes options and timers for each, only to lose them.

    Args:
        data: a well-formed datagram, CON or NON, POST or PUT, with a payload.
        options: where the options begin, in bytes.
        marker: where the payload marker is.
        familiar: the options.

    Attributes:
        taken: it went the short way.
    """

    def __init__(self, data: bytes, options: int, marker: int, familiar: Familiar) -> None:
        self.version, self.direction, self.transport_tuning = 1, Direction.INCOMING, _TIMERS
        self.mtype, self.code = _TYPES[data[0] >> 4 & 0b11], _CODES[data[1]]
        self.mid, self.token = int.from_bytes(data[2:4], "big"), data[4:options]
        self.opt, self.payload, self.remote = familiar, data[marker + 1 :], None
        self.taken = False


class Tokens(TokenManager):
    """aiocoap's token layer with the short way beside it.

    Args:
        context: aiocoap's.
        take: hands a post over; what it returns is to be called with where the answer is to go, once that can be sent.
            None: it has to go the long way.
    """

    def __init__(self, context: Context, take: Take) -> None:
        super().__init__(context)
        self._take = take
        self._open: dict[tuple[bytes, Any], Message] = {}

    def hand_over(self, request: Posted) -> Callable[[], None] | None:
        """Hand a post over at once.

        Returns:
            What is to be called after `process_request`, whose turn it is then; None: it has to go the long way.
        """
        key, post = (request.token, request.remote), request.opt.post
        if post is None or key in self.incoming_requests:
            return None
        whither = self._take(request, post)
        if whither is None:
            return None
        request.taken = True
        self._open[key] = request
        return partial(whither, partial(self._answer, key, request))

    def process_request(self, request: Message) -> None:
        """Pass a request on, if it is not handed over.

        Whoever uses its token again does not want the answer to the earlier one any more.
        """
        if not (isinstance(request, Posted) and request.taken):
            self._open.pop((request.token, request.remote), None)
            super().process_request(request)

    def dispatch_error(self, exception: Exception, remote: Any) -> None:
        """The peer is gone: no answer."""
        for key in [key for key in self._open if key[1] == remote]:
            del self._open[key]
        super().dispatch_error(exception, remote)

    async def shutdown(self) -> None:
        """No more answers."""
        self._open.clear()
        await super().shutdown()

    def _answer(self, key: tuple[bytes, Any], request: Message, reply: Message) -> None:
        asked = self._open.get(key)
        if asked is not None and asked is request:
            del self._open[key]
            reply.token, reply.remote, reply.request = asked.token, asked.remote.as_response_address(), asked
            self.token_interface.send_message(reply, _nobody_waits)


def _nobody_waits() -> None:
    """Nothing is left to be stopped when an answer does not arrive."""
