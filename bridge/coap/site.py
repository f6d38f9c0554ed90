"""Every CoAP request passes here: checked, routed, put together from blocks, answered."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from aiocoap import Message, Reliable, Unreliable
from aiocoap.numbers import codes

from bridge import topics
from bridge.coap.blocks import Assembler, Block, Refusal, Whole
from bridge.coap.core import links
from bridge.coap.messages import JSON, CoapReply, CoapRequest, Handler
from bridge.coap.replies import CODES, Representations, bad_option, cache_key, refusal, whole
from bridge.coap.transport import Messages, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.coap.results import Observer, Results
    from bridge.coap.short_way import Answer, Post

log = logging.getLogger(__name__)

EXPECTED = (
    "expected edge/v1/{site}/{device}/data/{stream} to POST an Observation (Content-Format 50 JSON or 60 CBOR), or "
    "edge/v1/{site}/{device}/result/{model} to GET or observe the newest Result; names are [A-Za-z0-9][A-Za-z0-9_.-]*"
)
_BUSY = CoapReply("overload", b"too many requests at once; try again", max_age=1)
_STOPPING = CoapReply("overload", b"the bridge stops; try again later", max_age=5)
_LINK_FORMAT = 40


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a CoAP server may use; the defaults suit a gateway with some hundred devices.

    Attributes:
        max_pending: handlers at work at once; further requests get 5.03 with Max-Age 1.
        max_results: paths whose newest Result is kept.
        max_observers: observers; further ones get a plain 2.05.
        max_assemblies: unfinished block-wise bodies.
        max_assembly_bytes: bytes of all of them together.
        assembly_age_s: seconds without a block after which one is given up.
        duplicates: requests remembered to recognise repetitions, about 0.5 kB each.
        duplicate_age_s: for how long; RFC 7252's MAX_TRANSMIT_SPAN, the last repetition by default timers, is 45 s.
        drain_s: how long `stop` waits for handlers at work.
    """

    max_pending: int = 256
    max_results: int = 4_096
    max_observers: int = 256
    max_assemblies: int = 64
    max_assembly_bytes: int = 2**24
    assembly_age_s: float = 60.0
    duplicates: int = 32_768
    duplicate_age_s: float = 60.0
    drain_s: float = 10.0


class Site:
    """The root resource in aiocoap's sense: `render_to_pipe` is all that aiocoap asks of it.

    aiocoap's own Site and Resource are not used: they assemble bodies without a bound, copy each message, and send a
    notification larger than a datagram in one piece.
    """

    def __init__(self, handler: Handler, results: Results, *, max_body: int, limits: Limits) -> None:
        self.messages: Messages | None = None  # set once the endpoint, which needs the site, exists
        self._handler = handler
        self._results = results
        self._max_body = max_body
        self._limits = limits
        self._bodies = Assembler(
            max_body=max_body,
            max_assemblies=limits.max_assemblies,
            max_bytes=limits.max_assembly_bytes,
            max_age_s=limits.assembly_age_s,
        )
        self._answers = Representations(
            entries=limits.max_assemblies, size=limits.max_assembly_bytes, age=limits.assembly_age_s
        )
        self._handlers: set[asyncio.Future[CoapReply]] = set()
        self._observation = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._answering = 0

    async def drain(self) -> None:
        """Take nothing more, wait until all requests are answered, tell observers; handlers too slow are cancelled."""
        self._results.close()
        if self._handlers:
            _, slow = await asyncio.wait(self._handlers, timeout=self._limits.drain_s)
            for task in slow:
                task.cancel()
            if slow:
                log.warning("%d CoAP requests not handled within %s s are given up", len(slow), self._limits.drain_s)
                await asyncio.wait(slow)
        await self._idle.wait()

    async def render_to_pipe(self, pipe: Any) -> None:
        """Answer one request (aiocoap's interface)."""
        request = pipe.request
        self._answering += 1
        self._idle.clear()
        try:
            reply, observer = await self._answer(request)
            if reply.opt.no_response is None:
                reply.opt.no_response = request.opt.no_response
            if observer is not None:
                reply.opt.observe = self._next_observation()
            try:
                pipe.add_response(reply, is_last=observer is None)
            except BaseException:
                if observer is not None:
                    self._results.leave(observer)
                raise
        finally:
            self._answered()
        if observer is not None:
            await self._notify(pipe, observer)

    async def _answer(self, request: Message) -> tuple[Message, Observer | None]:
        refused = bad_option(request)
        if refused is not None:
            return refused, None
        segments = request.opt.uri_path
        path = "/".join(segments)
        if any("/" in segment for segment in segments):
            return refusal("no_route", EXPECTED), None
        if topics.parse_data(path) is not None:
            if request.code not in (codes.POST, codes.PUT):
                return _not_allowed("POST or PUT an Observation here"), None
            return await self._take(request, path), None
        if topics.parse_result(path) is not None:
            if request.code != codes.GET:
                return _not_allowed("GET or observe the newest Result here"), None
            return self._newest(request, path)
        if path == ".well-known/core":
            return self._core(request), None
        return refusal("no_route", EXPECTED), None

    # a device's message

    async def _take(self, request: Message, path: str) -> Message:
        key = cache_key(request, path=path)
        now = asyncio.get_running_loop().time()
        if request.opt.block2 is not None and request.opt.block2.block_number > 0:
            return self._answers.later(key, request, now)
        body = self._body(request, key, now)
        reply = body if isinstance(body, Message) else await self._handle(request, path, body, key)
        if request.opt.block1 is not None and reply.code != CODES["too_large"]:
            reply.opt.block1 = request.opt.block1
        return reply

    def _body(self, request: Message, key: Any, now: float) -> bytes | Message:
        """The whole body, or what to answer instead: 2.31 for a block, or a refusal."""
        option = request.opt.block1
        if option is None:
            if len(request.payload) > self._max_body:
                return _refused("too_large", f"at most {self._max_body} bytes a message", size1=self._max_body)
            return bytes(request.payload)
        block = Block(option.block_number, option.more, option.size_exponent)
        outcome = self._bodies.feed(
            key, block, request.payload, now, size1=request.opt.size1, content_format=_format(request)
        )
        if isinstance(outcome, Whole):
            return outcome.body
        if isinstance(outcome, Refusal):
            too_large = outcome.code == "too_large"
            return _refused(outcome.code, outcome.detail, size1=self._max_body if too_large else None)
        return Message(code=codes.CONTINUE)

    async def _handle(self, request: Message, path: str, body: bytes, key: Any) -> Message:
        wants_result = any(query.split("=")[0] == "result" for query in request.opt.uri_query)
        if wants_result and request.opt.accept not in (None, JSON):
            return Message(code=codes.NOT_ACCEPTABLE, payload=b"a Result is JSON, Content-Format 50")
        if self._results.closed:
            return whole(_STOPPING)
        if len(self._handlers) >= self._limits.max_pending:
            return whole(_BUSY)
        work = self._handed(request, path, body, _format(request), wants_result=wants_result)
        # aiocoap cancels us when the peer goes away (an ICMP error is enough) or re-uses its token; the data is here
        await asyncio.wait({work})
        return self._reply(work, request, key)

    def take(self, request: Message, post: Post) -> Callable[[Answer], None] | None:
        """Hand over a device's whole message at once (see `short_way`).

        Returns:
            To be told where the reply is to go; None: it cannot be taken so, nothing was done.
        """
        crowded = len(self._handlers) >= self._limits.max_pending
        if crowded or self._results.closed or len(request.payload) > self._max_body:
            return None
        self._answering += 1
        self._idle.clear()
        work = self._handed(request, post.path, request.payload, post.content_format, wants_result=False)
        return lambda answer: work.add_done_callback(partial(self._answer_soon, request, post.path, answer))

    def _answer_soon(self, request: Message, path: str, answer: Answer, work: asyncio.Future[CoapReply]) -> None:
        try:
            answer(self._reply(work, request, cache_key(request, path=path)))
        finally:
            self._answered()

    def _answered(self) -> None:
        self._answering -= 1
        if self._answering == 0:
            self._idle.set()

    def _handed(
        self, request: Message, path: str, body: bytes, content_format: int | None, *, wants_result: bool
    ) -> asyncio.Future[CoapReply]:
        """The handler at work; a future of its own is not made a task of."""
        host, port, *_ = request.remote.sockaddr
        message = CoapRequest(path, body, content_format, wants_result, f"{plain(host)}:{port}")
        work: asyncio.Future[CoapReply]
        try:
            made = self._handler(message)
            work = made if isinstance(made, asyncio.Future) else asyncio.ensure_future(made)
        except Exception as why:  # noqa: BLE001 # as below
            work = asyncio.get_running_loop().create_future()
            work.set_exception(why)
        self._handlers.add(work)
        work.add_done_callback(partial(self._done, message))
        return work

    def _done(self, message: CoapRequest, work: asyncio.Future[CoapReply]) -> None:
        """The handler is not ours: whatever it raises is one message's fault, not the server's."""
        self._handlers.discard(work)
        why = None if work.cancelled() else work.exception()
        if why is not None:
            size = len(message.payload)
            log.error("the handler failed on a message of %d bytes from %s", size, message.peer, exc_info=why)

    def _reply(self, work: asyncio.Future[CoapReply], request: Message, key: Any) -> Message:
        """What the handler answers."""
        if work.cancelled():
            return whole(_STOPPING)
        if work.exception() is not None:
            return Message(code=codes.INTERNAL_SERVER_ERROR, payload=b"the bridge failed; its log says why")
        return self._answers.first(key, work.result(), request, asyncio.get_running_loop().time())

    # a reader

    def _newest(self, request: Message, path: str) -> tuple[Message, Observer | None]:
        key = cache_key(request, path=path)
        now = asyncio.get_running_loop().time()
        if request.opt.accept not in (None, JSON):
            return Message(code=codes.NOT_ACCEPTABLE, payload=b"a Result is JSON, Content-Format 50"), None
        if request.opt.block2 is not None and request.opt.block2.block_number > 0:
            return self._answers.later(key, request, now), None
        payload = self._results.newest(path)
        if payload is None:
            return refusal("no_route", f"no Result at {path} yet"), None
        reply = self._answers.first(key, CoapReply("content", payload, JSON), request, now)
        wants_news = request.opt.observe == 0 and reply.code == codes.CONTENT
        return reply, self._results.observe(path, payload) if wants_news else None

    async def _notify(self, pipe: Any, observer: Observer) -> None:
        """Send each newer Result until the peer loses interest, in which case aiocoap cancels us."""
        request = pipe.request
        key = cache_key(request, path=observer.path)
        try:
            while True:
                await observer.changed.wait()
                if self._results.closed:
                    goodbye = whole(_STOPPING)
                    goodbye.transport_tuning = Unreliable()
                    pipe.add_response(goodbye, is_last=True)
                    return
                assert self.messages is not None  # noqa: S101  set before the first request can arrive
                await self.messages.settled(request.remote)
                observer.changed.clear()
                reply = CoapReply("content", observer.latest, JSON)
                notification = self._answers.first(key, reply, request, asyncio.get_running_loop().time())
                notification.transport_tuning = Reliable()  # acknowledged, so that a dead observer is noticed
                notification.opt.observe = self._next_observation()
                pipe.add_response(notification, is_last=False)
        finally:
            self._results.leave(observer)

    def _next_observation(self) -> int:
        self._observation = (self._observation + 1) % 2**24  # RFC 7641 section 4.4
        return self._observation

    def _core(self, request: Message) -> Message:
        if request.code != codes.GET:
            return _not_allowed("GET the list of resources here")
        if request.opt.accept not in (None, _LINK_FORMAT):
            return Message(code=codes.NOT_ACCEPTABLE, payload=b"links are application/link-format, 40")
        key = cache_key(request, path=".well-known/core")
        now = asyncio.get_running_loop().time()
        if request.opt.block2 is not None and request.opt.block2.block_number > 0:
            return self._answers.later(key, request, now)
        text = links(self._results.paths(), request.opt.uri_query)
        return self._answers.first(key, CoapReply("content", text.encode(), _LINK_FORMAT), request, now)


def _refused(code: str, detail: str, *, size1: int | None = None) -> Message:
    """Of a device's message: with its reason in front, from which an agent knows a bridge (`CoapReply.refusal`)."""
    return refusal(code, f"{code}: {detail}", size1=size1)


def _format(request: Message) -> int | None:
    return None if request.opt.content_format is None else int(request.opt.content_format)


def _not_allowed(detail: str) -> Message:
    return Message(code=codes.METHOD_NOT_ALLOWED, payload=detail.encode())
