"""The server's endpoint: a socket and aiocoap's message layer, both made bounded.

Why aiocoap's `udp6` and not its `simplesocketserver`: it answers from the address it was asked at, so it may be bound
to `::` or 0.0.0.0; it hears ICMP errors, so an observer whose port is closed ends at once; and it is what aiocoap is
tested with. An IPv4 address is bound as ::ffff:a.b.c.d, which on Linux is that IPv4 address alone (tested). The socket
is made here because aiocoap sets SO_REUSEPORT, with which two bridges would share a port and lose half each.
"""

# aiocoap ships no py.typed; what of it is used here is pinned by the tests
# mypy: disable-error-code="import-untyped", allow-subclassing-any

from __future__ import annotations

import asyncio
import contextvars
import errno
import ipaddress
import logging
import socket
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from aiocoap import Context, Message
from aiocoap.messagemanager import MessageManager
from aiocoap.numbers.types import ACK, CON, NON, RST
from aiocoap.pipe import error_to_message, run_driving_pipe
from aiocoap.transports.udp6 import MessageInterfaceUDP6, UDP6EndpointAddress
from aiocoap.util.asyncio.recvmsg import create_recvmsg_datagram_endpoint
from aiocoap.util.socknumbers import HAS_RECVERR, IP_RECVERR, IPV6_RECVERR

from bridge.coap import datagram
from bridge.coap.bounded import Bounded
from bridge.coap.short_way import Familiar, Posted, Tokens
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

AIOCOAP_LOGGER = "bridge.coap.aiocoap"
"""aiocoap warns about each odd datagram; strangers could fill a log with that, so it speaks from ERROR upwards."""

_MAX_DATAGRAM = 65_535
_RECEIVE_BUFFER = 2**20
_MAX_BACKLOG = 16
_MAX_ANSWERS = 2**24
_MAX_EXCHANGES = 4_096
_HEADER = 4  # bytes (RFC 7252 section 3)
_FIRSTS = frozenset({*range(0x40, 0x49), *range(0x50, 0x59)})  # version 1, CON or NON, a token of at most 8 bytes
_POST, _PUT = 2, 3
_PAYLOAD = b"\xff"
_LONGEST_OPTIONS, _MOST_OPTIONS = 256, 256  # bytes; different ones that are remembered


class _Seen(NamedTuple):
    token: bytes
    answer: bytes | None


class Messages(MessageManager):
    """aiocoap's message layer with bounded memory.

    aiocoap keeps each request and its answer, 2.6 kB, for 247 s. Here it is the encoded answer, for at most `age`
    seconds and `entries` requests. A request with a known message ID but another token is no repetition (RFC 7252
    section 4.2 repeats identical bytes): a fast sender whose IDs wrap is not answered with an old answer.
    """

    def __init__(self, token_manager: Tokens, *, entries: int, age: float) -> None:
        super().__init__(token_manager)
        self._seen: Bounded[str, _Seen] = Bounded(entries=entries, size=_MAX_ANSWERS, age=age)
        self._waiting: dict[Any, set[asyncio.Future[None]]] = {}

    @property
    def remembered(self) -> int:
        """Requests remembered to recognise repetitions."""
        return len(self._seen)

    async def settled(self, remote: Any) -> None:
        """Return once nothing sent to that peer waits for its acknowledgement.

        aiocoap queues whatever is sent meanwhile, without a bound. Notifications wait here instead, so there is one
        under way for an observer (RFC 7641 section 4.5.1) and it gets the newest Result next.
        """
        while remote in self._backlogs:
            waiter: asyncio.Future[None] = self.loop.create_future()
            waiting = self._waiting.setdefault(remote, set())
            waiting.add(waiter)
            try:
                await waiter
            finally:
                waiting.discard(waiter)
                if not waiting:
                    self._waiting.pop(remote, None)

    def send_message(self, message: Message, messageerror_monitor: Any) -> None:
        """Send an answer or a notification, bounding what waits for acknowledgement."""
        if (message.remote, message.token) not in self._piggyback_opportunities:
            if len(self._backlogs.get(message.remote, ())) >= _MAX_BACKLOG:
                return  # a peer that asks on and on and acknowledges nothing
            if len(self._active_exchanges or ()) >= _MAX_EXCHANGES:
                message.mtype = NON
        super().send_message(message, messageerror_monitor)

    def take(self, request: Posted) -> None:
        """`dispatch_message` of a request, CON or NON; what can wait is done when the handler has been at it."""
        if self._deduplicate_message(request):
            return
        answerable = self.token_manager.hand_over(request)
        if answerable is None:
            self._process_request(request)
        else:
            self.loop.call_soon(self._follow, request, answerable)

    def _follow(self, request: Posted, answerable: Callable[[], None]) -> None:
        self._process_request(request)  # the acknowledgement, where the answer takes long
        answerable()

    async def shutdown(self) -> None:
        """Stop all timers, then the socket."""
        for _, timer in self._piggyback_opportunities.values():
            timer.cancel()
        self._piggyback_opportunities.clear()
        await super().shutdown()

    def dispatch_error(self, error: Exception, remote: Any) -> None:
        """An ICMP error: the peer is gone, and so is what waits for it."""
        super().dispatch_error(error, remote)
        self._wake(remote)

    def _continue_backlog(self, remote: Any) -> None:
        super()._continue_backlog(remote)
        self._wake(remote)

    def _wake(self, remote: Any) -> None:
        if remote not in self._backlogs:
            for waiter in self._waiting.get(remote, ()):
                if not waiter.done():
                    waiter.set_result(None)

    def _deduplicate_message(self, message: Message) -> bool:
        now = self.loop.time()
        key = _key(message)
        seen = self._seen.get(key, now)
        if seen is None or seen.token != message.token:
            self._seen.put(key, _Seen(message.token, None), 0, now)
            return False
        if message.mtype is CON and seen.answer is not None:
            self.message_interface.send_again(seen.answer, message.remote)
        return True

    def _store_response_for_duplicates(self, message: Message) -> None:
        if message.mtype not in (ACK, RST):
            return
        now = self.loop.time()
        key = _key(message)
        seen = self._seen.get(key, now)
        if seen is not None:
            answer = message.encode()
            self._seen.put(key, _Seen(seen.token, answer), len(answer), now)


def _key(message: Message) -> str:
    host, port, *_ = message.remote.sockaddr
    return f"{host} {port} {message.mid}"


class _Context(Context):
    """aiocoap's, without the whole message being written out for the name of each request's task."""

    def render_to_pipe(self, pipe: Any) -> None:
        """Have the site answer a request."""
        run_driving_pipe(error_to_message(pipe, self.log), self._render_to_pipe(pipe), name="CoAP request")


class _Datagrams(MessageInterfaceUDP6):
    """aiocoap's socket, given only what is well-formed."""

    def __init__(self, messages: Messages, log: logging.Logger, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(messages, log, loop)
        self._reading: tuple[socket.socket, Any] | None = None
        self._context = contextvars.copy_context()

    def read(self, sock: socket.socket, transport: Any) -> None:
        """What the reader was added for; from here on it is added again after each error."""
        self._reading = sock, transport

    def datagram_errqueue_received(self, data: bytes, ancdata: Any, flags: int, address: Any) -> None:
        """An ICMP error."""
        self.loop.call_soon(self._read_on, context=self._context)
        super().datagram_errqueue_received(data, ancdata, flags, address)

    def error_received(self, exc: OSError) -> None:
        """An error of the socket itself."""
        self.loop.call_soon(self._read_on, context=self._context)
        super().error_received(exc)

    def _read_on(self) -> None:
        """Reads on where libuv, so uvloop, gave the socket up: its poll had told of an error.

        Otherwise one peer that went away would make us deaf to all, without a word. In the context of the beginning: an
        error may come of a sending, in whose context aiocoap would take every later sending for its repetition.
        """
        if self._reading is None:
            return
        sock, transport = self._reading
        if sock.fileno() != -1:
            self.loop.remove_reader(sock)
            self.loop.add_reader(sock, transport._read_ready)  # noqa: SLF001 # what aiocoap adds

    def datagram_msg_received(self, data: bytes, ancdata: Any, flags: int, address: Any) -> None:
        """Pass a datagram on; reject a malformed one by a Reset, or silently if it asks for no acknowledgement."""
        post = _familiar(data)
        if post is not None:
            local = None
            for level, kind, info in ancdata:
                if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
                    local = info
                    break
            post.remote = UDP6EndpointAddress(address, self, pktinfo=local)
            self._ctx.take(post)
        elif datagram.flaw(data) is None:
            super().datagram_msg_received(data, ancdata, flags, address)
        elif datagram.is_confirmable(data):
            self.transport.sendmsg(datagram.reset(data), ancdata, 0, address)

    def send_again(self, data: bytes, remote: Any) -> None:
        """Send an answer that was sent before."""
        local = [] if remote.pktinfo is None else [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, remote.pktinfo)]
        self.transport.sendmsg(data, local, 0, remote.sockaddr)


def _familiar(data: bytes) -> Posted | None:
    """The message of a device that posts with the options of many others; None where it takes more to tell.

    No well-formed option begins with 0xFF, so what is well-formed up to one ends there.
    """
    if len(data) <= _HEADER or data[0] not in _FIRSTS or not _POST <= data[1] <= _PUT:
        return None
    at = _HEADER + (data[0] & 0x0F)
    end = data.find(_PAYLOAD, at)
    if not at < end < at + _LONGEST_OPTIONS or end == len(data) - 1:
        return None
    options = _options(data[at:end])
    if options is None:
        return None
    return Posted(data, at, end, options)


@lru_cache(_MOST_OPTIONS)
def _options(written: bytes) -> Familiar | None:
    """Read once and shared by all messages that have them: nobody changes those of a request. None: malformed."""
    if datagram.option_flaw(written) is not None:
        return None
    return Familiar(written)


class Endpoint(NamedTuple):
    """A bound server.

    Attributes:
        context: aiocoap's; shut it down to close the socket.
        messages: its message layer.
        host: address bound, IPv4 as such.
        port: port bound.
    """

    context: Context
    messages: Messages
    host: str
    port: int


async def open_endpoint(site: Any, host: str, port: int, *, entries: int, age: float) -> Endpoint:
    """Bind and begin to serve.

    Args:
        site: has a coroutine method `render_to_pipe(pipe)`, aiocoap's interface to a server, and `take`, see
            `short_way`.
        host: address or name; of a name's addresses IPv4 is taken first.
        port: 0 for any.
        entries: requests remembered to recognise repetitions.
        age: seconds for which they are remembered.

    Returns:
        The endpoint.

    Raises:
        ConfigError: the address cannot be bound.
    """
    loop = asyncio.get_running_loop()
    bound = _bind(await _address(loop, host, port), host, port)
    log = logging.getLogger(AIOCOAP_LOGGER)
    if log.level == logging.NOTSET:
        log.setLevel(logging.ERROR)
    # What Context.create_server_context does for "udp6", with our message layer and our socket.
    context = _Context(loop=loop, serversite=site, loggername=AIOCOAP_LOGGER)
    tokens = Tokens(context, site.take)
    messages = Messages(tokens, entries=entries, age=age)
    transport, interface = await create_recvmsg_datagram_endpoint(loop, lambda: _Datagrams(messages, log, loop), bound)
    transport.max_size = _MAX_DATAGRAM
    interface.read(bound, transport)
    await interface.ready
    messages.message_interface = interface
    tokens.token_interface = messages
    context.request_interfaces.append(tokens)
    name, number, *_ = bound.getsockname()
    return Endpoint(context, messages, plain(name), number)


def plain(host: str) -> str:
    """An address as people write it: without the ::ffff: of IPv4 on an IPv6 socket."""
    return host[7:] if host.startswith("::ffff:") and "." in host else host


async def _address(loop: asyncio.AbstractEventLoop, host: str, port: int) -> Any:
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
    except OSError as e:
        raise ConfigError(f"[coap] bind: {host!r} is not an address or name of this machine ({e})") from e
    for family, *_, address in found:
        if family == socket.AF_INET:
            return f"::ffff:{ipaddress.IPv4Address(address[0])}", address[1]
    return found[0][4]


def _bind(address: Any, host: str, port: int) -> socket.socket:
    try:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    except OSError as e:
        raise ConfigError(f"[coap] bind: this kernel has no IPv6, whose sockets carry IPv4 too ({e})") from e
    try:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        if HAS_RECVERR:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        sock.bind(address)
    except OSError as e:
        sock.close()
        raise ConfigError(f'[coap] bind = "{host}:{port}": {_advice(e, port)}') from e
    return sock


def _advice(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"the port is in use; stop the program that has it (`ss -ulpn sport = :{port}`) or choose another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address; `ip addr` lists those it has"
    if error.errno == errno.EACCES:
        return "ports below 1024 need privileges; choose a higher one"
    return f"cannot be bound: {error.strerror}"
