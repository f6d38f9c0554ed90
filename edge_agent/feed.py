"""Where a program hands over rows of one stream, see `edge_agent.EdgeAgent`."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from edge_agent.sources.program import Program

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

    from bridge.errors import BridgeError
    from edge_agent.sampler import Chunk
    from edge_agent.sources.program import Times

    Take: TypeAlias = Callable[[Chunk], asyncio.Future[int]]


class Store(Protocol):
    """Where rows wait for their commit."""

    @property
    def has_room(self) -> bool:
        """Whether they need not wait to be taken."""

    async def room(self) -> None:
        """Returns when they need not."""


class Feed:
    """One stream of an `EdgeAgent`; made by `EdgeAgent.stream`. Belongs to the agent's event loop.

    Args:
        name: of the stream.
        rate: rows a second; None: unknown.
        clock: seconds since 1970.
    """

    def __init__(self, name: str, *, rate: float | None, clock: Callable[[], float]) -> None:
        self.name = name
        self._rows = Program(name, rate=rate)
        self._clock = clock
        self._take: Take | None = None
        self._store: Store
        self._later: deque[_Put] = deque()
        self._stir = asyncio.Event()
        self._ended = False
        self._why: BridgeError | None = None

    def put(self, rows: ArrayLike, *, t: Times | None = None) -> asyncio.Future[int]:
        """Takes rows; `await` it to know that they are accepted: on disk, to be sent until the bridge has them.

        What can be done at once is done in the very call (with `commit_wait = 0`), sending too. Rows keep the order of
        calls. Rows of calls that nobody awaits are taken all the same: a source that must not wait need not, but what
        it is ahead of the disk stays in memory.

        Args:
            rows: numbers, shape (rows, channels), as float32; they are copied. A row with NaN or ±∞ takes a number, and
                is left out. All calls have as many channels as the first.
            t: seconds since 1970, of the first row or of each; None: they have just come, `rate` apart.

        Returns:
            A future: the number of the first row in this numbering (`epoch`). Cancelled, it takes back only rows
            that still wait for room.

        Raises:
            ValueError: another shape, no row, a number beyond float32, or times that are no seconds since 1970; nothing
                is taken.
            TypeError: no numbers.
            RuntimeError: the agent has ended.
            TakenOver: another client uses this agent's name; by the future too, as the next.
            StoreError: the outbox is damaged; by the future: the agent ended first, and it is not known whether these
                rows are on disk, to be sent by the next life.
        """
        if self._why is not None:
            raise self._why.with_traceback(None)  # else the frames of all calls, and their rows, hang on it
        if self._ended:
            raise RuntimeError(f"{self.name}: the agent has ended, it takes no rows any more")
        chunks = self._rows.chunks(rows, t, self._clock())
        take = self._take
        if take is not None and not self._later and self._store.has_room:
            return take(chunks[0]) if len(chunks) == 1 and not chunks[0].skip else self._hand_over(take, chunks)
        put = _Put(chunks, asyncio.get_running_loop().create_future())
        self._later.append(put)
        self._stir.set()
        return put.accepted

    async def run(self, take: Take, store: Store) -> None:
        """Hands rows over until the end, when none waits any more.

        Args:
            take: takes a chunk; its future becomes the number of the first row.
            store: says when it may be asked to.
        """
        self._take, self._store = take, store
        while self._later or not self._ended:
            await self._stir.wait()
            self._stir.clear()
            while self._later:
                await store.room()
                put = self._later.popleft()
                if not put.accepted.done():
                    _chain(self._hand_over(take, put.chunks), put.accepted)

    def end(self) -> None:
        """No more rows come."""
        self._ended = True
        self._stir.set()

    def fail(self, why: BridgeError, *, for_good: bool) -> None:
        """The agent has ended: whoever waits is told why; `for_good`: whoever calls again, too."""
        self._ended, self._why = True, why if for_good else None
        while self._later:
            accepted = self._later.popleft().accepted
            if not accepted.done():
                accepted.set_exception(why)

    def _hand_over(self, take: Take, chunks: Sequence[Chunk]) -> asyncio.Future[int]:
        taken = [take(chunk) for chunk in chunks]
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.gather(*taken).add_done_callback(partial(_first, chunks[0].skip, accepted))
        return accepted


class _Put(NamedTuple):
    chunks: list[Chunk]
    accepted: asyncio.Future[int]


def _first(skip: int, accepted: asyncio.Future[int], taken: asyncio.Future[list[int]]) -> None:
    """All chunks are on disk; the first was `skip` rows late."""
    why = None if taken.cancelled() else taken.exception()
    if accepted.done():
        return
    if taken.cancelled():
        accepted.cancel()
    elif why is not None:
        accepted.set_exception(why)
    else:
        accepted.set_result(taken.result()[0] - skip)


def _chain(taken: asyncio.Future[int], accepted: asyncio.Future[int]) -> None:
    asyncio.gather(taken).add_done_callback(partial(_first, 0, accepted))
