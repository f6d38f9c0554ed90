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
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bridge.coap.messages import CoapReply
from bridge.coap.origin import Origin
from bridge.coap.slot import ACK_TIMEOUT_S, MAX_RETRANSMIT, Post, Slot, Timing
from bridge.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CoapClient", "CoapReply", "Timing"]


class CoapClient:
    """Posts to one bridge, up to `window` at once.

    Attributes:
        ack_timeout_s: seconds until the first repetition of a message (times 1…1.5 at random, then doubled each time;
            RFC 7252 section 4.2). May be set at any time, to a learned round-trip time-out; read at each sending.
    """

    def __init__(
        self,
        url: str,
        *,
        window: int = 4,
        timeout_s: float = 30.0,
        ack_timeout_s: float = ACK_TIMEOUT_S,
        max_retransmit: int = MAX_RETRANSMIT,
        on_timing: Callable[[Timing], None] | None = None,
    ) -> None:
        """Describe the bridge; nothing is sent or resolved yet.

        Args:
            url: `coap://host[:port]`.
            window: posts under way at once; further ones wait their turn.
            timeout_s: seconds without progress, an answer to a datagram, after which a post is given up.
            ack_timeout_s: see above.
            max_retransmit: repetitions of one message (RFC 7252: 4).
            on_timing: told about each answered post, for a link estimate.

        Raises:
            ConfigError: the URL is not one, or asks for what is not offered (DTLS).
        """
        self._origin = Origin.parse(url)
        self._window = asyncio.Semaphore(window)
        self._slots = [Slot(self._origin) for _ in range(window)]
        self._timeout_s = timeout_s
        self._max_retransmit = max_retransmit
        self._on_timing = on_timing
        self._posts: set[asyncio.Task[CoapReply]] = set()
        self._closed = False
        self.ack_timeout_s = ack_timeout_s

    async def post(self, path: str, payload: bytes, content_format: int, *, query: str = "") -> CoapReply:
        """Post a message and wait for the answer; what exceeds 1,024 bytes goes block-wise.

        Args:
            path: `edge/v1/{site}/{device}/data/{stream}`.
            payload: the whole body.
            content_format: 50 JSON, 60 CBOR.
            query: e.g. `result`; parts are separated by `&`.

        Returns:
            The bridge's answer; errors of the contract are answers too.

        Raises:
            LinkError: no answer in time, or one that says "later": whether the bridge took the message is unknown.
            RemoteProtocolError: an answer that a bridge does not give.
        """
        if self._closed:
            raise LinkError(f"this client of {self._origin} is closed")
        post = Post(
            path=path,
            payload=payload,
            content_format=content_format,
            query=query,
            timeout_s=self._timeout_s,
            ack_timeout_s=lambda: self.ack_timeout_s,
            max_retransmit=self._max_retransmit,
        )
        # A task of its own, so that close() can end it, and so that a cancelled caller waits for nothing.
        task = asyncio.create_task(self._run(post), name=f"CoAP post to {path}")
        self._posts.add(task)
        task.add_done_callback(self._posts.discard)
        try:
            return await task
        except asyncio.CancelledError:
            if task.cancelled() and not _is_cancelling():  # not our caller, but close()
                raise LinkError(f"the client of {self._origin} was closed; the outcome is unknown") from None
            raise

    async def close(self) -> None:
        """Give up what is under way (its callers get LinkError) and close all sockets. Twice is once."""
        self._closed = True
        for task in self._posts:
            task.cancel()
        await asyncio.gather(*self._posts, return_exceptions=True)
        await asyncio.gather(*(slot.close() for slot in self._slots))

    async def _run(self, post: Post) -> CoapReply:
        async with self._window:
            slot = self._slots.pop()  # last in, first out: an idle agent keeps to one port
            try:
                reply, timing = await slot.post(post)
            finally:
                self._slots.append(slot)
        if self._on_timing is not None:
            self._on_timing(timing)
        return reply


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
