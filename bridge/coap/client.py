"""The edge agent's way to post over CoAP.

One aiocoap context, with a socket and so a port of its own, for each post under way: aiocoap sends requests to one
endpoint one by one whatever NSTART says, one that runs out of retries fails all the others there, and two block-wise
bodies for one URI from one port destroy each other. In a pool of contexts nothing is shared, so nothing spreads.

A context is used again only after a clean, piggybacked answer. After a time-out, a cancellation, an error or a separate
answer it may still be repeating a message, or be wedged by a Reset to a message nobody waits for any more (0.4.17), and
aiocoap offers no way to stop that but to close it; a new one costs a socket and 0.2 ms, and takes the new route if the
network changed. It is also replaced before its 16-bit message IDs come round.

aiocoap's `simple6` transport is used: a connected UDP socket, on which asyncio waits when the buffer is full (`udp6`
fails everything pending on EAGAIN) and which works without IPv6.

When a datagram is sent, and again, is decided for all posts together, by one `Path`: they share the link.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import TYPE_CHECKING, Any

from bridge.coap.messages import CoapReply
from bridge.coap.origin import Origin
from bridge.coap.pacer import Pacer
from bridge.coap.path import Path
from bridge.coap.rto import Rfc6298
from bridge.coap.slot import BLOCK, Post, Slot
from bridge.coap.tally import Tally, Timing
from bridge.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bridge.coap.rto import RoundTrip
    from bridge.link.events import Event

__all__ = ["CoapClient", "CoapReply", "Timing"]


WINDOW = 16
MOST_WINDOW = 32
MOST_COPIES = 3


class CoapClient:
    """Posts to one bridge, several at once.

    A post under way has a socket, so a file descriptor, and 10 kB of objects; both stay when it ends,
    for the next.

    Attributes:
        path: what is known of the way there, to be read only.
    """

    def __init__(
        self,
        url: str,
        *,
        window: int = WINDOW,
        timeout_s: float = 30.0,
        round_trip: RoundTrip | None = None,
        on_timing: Callable[[Timing], None] | None = None,
        on_event: Callable[[Event], None] = lambda _event: None,
    ) -> None:
        """Describe the bridge; nothing is sent or resolved yet.

        Args:
            url: `coap://host[:port]`.
            window: most posts under way at once, 1 to 32; further ones wait their turn. Under congestion fewer.
            timeout_s: seconds without progress, a datagram sent for the first time or answered, after which a post is
                given up. At most half of what the bridge remembers repetitions for (60 s).
            round_trip: the estimate that sets the timers; fed here. Default: RFC 6298's.
            on_timing: told about each post that ended, answered or given up, unless it was never sent; for a link
                estimate.
            on_event: told about each datagram as it leaves, leaves again, is acknowledged or given up; for a link
                estimate that must notice an outage while it lasts.

        Raises:
            ConfigError: the URL is not one, or asks for what is not offered (DTLS).
            ValueError: the window is out of bounds.
        """
        if not 1 <= window <= MOST_WINDOW:
            raise ValueError(f"window is {window}, must be 1 to {MOST_WINDOW}")
        self._origin = Origin.parse(url)
        self.path = Path(window, round_trip or Rfc6298())
        pacer = Pacer(self.path)
        self._queue: deque[asyncio.Future[Slot]] = deque()  # while no slot is free
        self._slots = [Slot(self._origin, pacer) for _ in range(window)]
        self._timeout_s = timeout_s
        self._on_timing = on_timing
        self._on_event = on_event
        self._numbers = itertools.count()
        self._posts: set[asyncio.Task[Any]] = set()  # whose callers wait
        self._given_up: set[asyncio.Task[Any]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    async def post(
        self,
        path: str,
        payload: bytes,
        content_format: int,
        *,
        query: str = "",
        copies: int = 0,
        timeout_s: float | None = None,
    ) -> CoapReply:
        """Post a message and wait for the answer; what exceeds 1,024 bytes goes block-wise.

        Args:
            path: `edge/v1/{site}/{device}/data/{stream}`.
            payload: the whole body.
            content_format: 50 JSON, 60 CBOR.
            query: e.g. `result`; parts are separated by `&`.
            copies: 0: confirmable, repeated until it is answered. 1 to 3: sent so often at once, non-confirmable (RFC
                7252 section 4.3) and never repeated; the answer, if it gets through, is a receipt all the same.
                Block-wise bodies go confirmable.
            timeout_s: instead of the client's; worth setting with `copies`.

        Returns:
            The bridge's answer; errors of the contract are answers too.

        Raises:
            LinkError: no answer in time, or one that says "later": whether the bridge took the message is unknown.
            RemoteProtocolError: an answer that a bridge does not give.
            ValueError: `copies` is out of bounds.
        """
        if not 0 <= copies <= MOST_COPIES:
            raise ValueError(f"copies is {copies}, must be 0 to {MOST_COPIES}")
        if self._closed:
            raise LinkError(f"this client of {self._origin} is closed")
        post = Post(
            path=path,
            payload=payload,
            content_format=content_format,
            query=query,
            timeout_s=self._timeout_s if timeout_s is None else timeout_s,
            copies=copies if len(payload) <= BLOCK else 0,
        )
        return await self._until_closed(self._run(post))

    async def close(self) -> None:
        """Give up what is under way (its callers get LinkError) and close all sockets. Twice is once."""
        self._closed = True
        for task in self._posts - self._given_up:
            self._given_up.add(task)
            task.cancel()
        await self._idle.wait()
        await asyncio.gather(*(slot.close() for slot in self._slots))

    async def _until_closed(self, post: Coroutine[Any, Any, CoapReply]) -> CoapReply:
        """As `asyncio.timeout`, in the caller's task: one of its own would be a turn of the loop before each post."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 # a coroutine function runs in one
        self._posts.add(task)
        self._idle.clear()
        try:
            return await post
        except asyncio.CancelledError:
            if task in self._given_up and task.uncancel() == 0:  # by close() alone
                raise LinkError(f"the client of {self._origin} was closed; the outcome is unknown") from None
            raise
        finally:
            self._posts.discard(task)
            self._given_up.discard(task)
            if not self._posts:
                self._idle.set()

    async def _run(self, post: Post) -> CoapReply:
        slot = self._slots.pop() if self._slots else await self._free()  # an idle agent keeps to one port
        loop = asyncio.get_running_loop()
        tally = Tally(loop.time(), name=f"post-{next(self._numbers)}", tell=self._on_event)
        try:
            return await slot.post(post, tally)
        finally:
            self._give_back(slot)
            tally.ended(loop.time())
            timing = tally.timing(loop.time())
            if timing is not None and self._on_timing is not None:
                self._on_timing(timing)

    async def _free(self) -> Slot:
        """The next that nobody uses, in the order of asking."""
        waiter: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._queue.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # it had come
                self._give_back(waiter.result())
            raise

    def _give_back(self, slot: Slot) -> None:
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(slot)
                return
        self._slots.append(slot)
