"""aiocoap's message layer with our timers: the one place where its retransmission is replaced (ADR 0015).

aiocoap doubles its time-outs, reads the first from a constant and knows nothing of neighbours. Here each datagram that
waits for an acknowledgement is an `Exchange` of the destination's `Path`, which says when it is sent, for the first
time too. A context has one post at a time, whose datagrams (blocks) follow each other: one exchange at a time.
"""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped", allow-subclassing-any

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from aiocoap import Context, Message
from aiocoap.error import LibraryShutdown, MessageError
from aiocoap.message import Direction
from aiocoap.messagemanager import MessageManager
from aiocoap.numbers import codes
from aiocoap.numbers.types import ACK, CON, NON, RST
from aiocoap.tokenmanager import TokenManager
from aiocoap.transports.simple6 import MessageInterfaceSimple6

from bridge.coap.datagram import flaw
from bridge.coap.path import Exchange

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from aiocoap.numbers.constants import TransportTuning
    from aiocoap.options import Options

    from bridge.coap.pacer import Pacer
    from bridge.coap.tally import Tally


_HEADER = struct.Struct("!BBH")


class _Cancel(NamedTuple):
    """What aiocoap cancels when it ends an exchange; it keeps a timer there."""

    cancel: Callable[[], None]


class Exchanges(MessageManager):
    """The message layer of one context.

    Attributes:
        tally: the post under way; counts.
        copies: how often a datagram that asks for no acknowledgement is sent.
    """

    def __init__(self, tokens: TokenManager, pacer: Pacer) -> None:
        super().__init__(tokens)
        self.tally: Tally | None = None
        self.copies = 1
        self._pacer = pacer
        self._exchange: Exchange | None = None

    async def shutdown(self) -> None:
        """Send nothing more, then close the socket."""
        self.abandon()
        await super().shutdown()

    def abandon(self) -> None:
        """Nobody waits any more: no repetition."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._pacer.leave(exchange)

    def ask(self, request: Message, failed: Callable[[], None]) -> None:
        """Send a request: confirmable, or as often as `copies` says.

        Args:
            request: with remote and token.
            failed: called when it was rejected.
        """
        request.mtype = NON if self.copies else CON
        request.mid = self._next_message_id()
        self._send_initially(request, failed)

    def _send_initially(self, message: Message, messageerror_monitor: Any = None) -> None:
        if not message.code.is_request() or message.mtype not in (CON, NON):
            super()._send_initially(message, messageerror_monitor)
            return
        confirmable = message.mtype is CON
        times = 1 if confirmable else self.copies
        if confirmable:
            self._backlogs.setdefault(message.remote, [])
            self._active_exchanges[message.remote, message.mid] = (messageerror_monitor, _Cancel(self.abandon))
        self._exchange = exchange = Exchange(lambda: self._transmit(message, times), repeats=confirmable)
        self._pacer.begin(exchange)

    def _transmit(self, message: Message, times: int) -> None:
        for _ in range(times):
            self._send_via_transport(message)

    def _add_exchange(self, *_: Any) -> None:
        raise AssertionError("aiocoap sends a confirmable message that is no request; a client has none")

    def _schedule_retransmit(self, *_: Any) -> Any:
        raise AssertionError("aiocoap's own retransmission; the path has the timers")

    def _remove_exchange(self, message: Message) -> None:
        if message.mtype in (ACK, RST) and (message.remote, message.mid) in self._active_exchanges:
            self._answered()
        super()._remove_exchange(message)

    def _process_response(self, response: Message) -> bool:
        expected = bool(super()._process_response(response))
        if expected:  # without an acknowledgement before it: that was lost, or none was asked for
            self._answered()
        return expected

    def _answered(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if self.tally is not None:
            self.tally.answered(exchange.sent, self.loop.time())
        self._pacer.answered(exchange)


class Datagrams(MessageInterfaceSimple6):
    """aiocoap's socket, given only what is well-formed, and nothing once it closes: that would be a traceback each."""

    def send(self, message: Message) -> None:
        """Send, and count."""
        if self._mman is not None:
            data = message.encode()
            message.remote.send(data)
            if self._mman.tally is not None and message.code.is_request():
                self._mman.tally.sent(len(data), self._loop.time())

    def _received_datagram(self, address: Any, datagram: bytes) -> None:
        if self._mman is not None and flaw(datagram) is None:
            if self._mman.tally is not None:
                self._mman.tally.received_bytes += len(datagram)
            super()._received_datagram(address, datagram)

    def _received_exception(self, address: Any, exception: Exception) -> None:
        if self._mman is not None:
            super()._received_exception(address, exception)


class Posting(Message):
    """A post whose options are written already; aiocoap's `Message` makes some for each, only to lose them."""

    def __init__(self, payload: bytes, options: Options, remote: Any, tuning: TransportTuning) -> None:
        self.version, self.direction, self.transport_tuning = 1, Direction.OUTGOING, tuning
        self.code, self.mtype, self.mid, self.token = codes.POST, None, None, b""
        self.payload, self.opt, self.remote = payload, options, remote

    def encode(self) -> bytes:
        """RFC 7252 section 3: version 1, type, length of the token; code; message ID."""
        kind: int = self.mtype or CON
        first = 0x40 | kind << 4 | len(self.token)
        head: bytes = _HEADER.pack(first, codes.POST, self.mid) + self.token + self.opt.encode()
        return head + b"\xff" + self.payload if self.payload else head


class _Asked:
    """A request as aiocoap's token layer keeps it, without a pipe; it is answered once."""

    __slots__ = ("request", "response")

    def __init__(self, request: Message, response: asyncio.Future[Message]) -> None:
        self.request = request
        self.response = response

    def add_response(self, response: Message, is_last: bool = False) -> None:  # noqa: ARG002 # as Pipe
        if not self.response.done():
            self.response.set_result(response)

    def add_exception(self, why: Exception) -> None:
        if not self.response.done():
            self.response.set_exception(why)


def ask(messages: Exchanges, request: Message) -> asyncio.Future[Message]:
    """`Context.request` for a request whose remote is known and that needs no blocks: it leaves before this returns.

    aiocoap starts a task for each, in whose name the whole message is written out, to look for the remote; and it takes
    five objects to hear of one answer.
    """
    response: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    asked, tokens = _Asked(request, response), messages.token_manager
    if tokens.outgoing_requests is None:
        asked.add_exception(LibraryShutdown())
        return response
    request.token = tokens.next_token()
    tokens.outgoing_requests[request.token, request.remote] = asked
    try:
        messages.ask(request, lambda: asked.add_exception(MessageError()))
    except Exception as why:  # noqa: BLE001 # as Context.request: whatever it is, it is the answer
        asked.add_exception(why)
    return response


async def open_context(pacer: Pacer, log: logging.Logger) -> tuple[Context, Exchanges]:
    """What Context.create_client_context does for "simple6", with our message layer and our `Datagrams`."""
    loop = asyncio.get_running_loop()
    context = Context(loop=loop, loggername=log.name)
    tokens = TokenManager(context)
    messages = Exchanges(tokens, pacer)
    messages.message_interface = await Datagrams.create_client_transport_endpoint(messages, log, loop)
    tokens.token_interface = messages
    context.request_interfaces.append(tokens)
    return context, messages
