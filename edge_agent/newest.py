"""The newest rows as the sender reads them: on disk with a copy in memory, or sent before they are on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from edge_agent.early import Early
from edge_agent.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from bridge.store.outbox import Append, Change, Outbox, Piece, Release

_T = TypeVar("_T")


class Call(Protocol):
    """`Keeper.call`."""

    def __call__(self, work: Callable[[], _T]) -> Coroutine[Any, Any, _T]:
        """Runs work with the outbox in its thread; raises what that raises."""


class Newest:
    """See the module.

    Args:
        box: the outbox, once it is open.
        call: runs work with it.

    Attributes:
        recent: the newest rows that are on disk, and those sent before; to be read only.
        early: rows sent that are not on disk yet.
    """

    def __init__(self, box: Callable[[], Outbox], call: Call) -> None:
        self.recent = Recent()
        self.early = Early()
        self._box = box
        self._call = call

    async def read(self, series: int, first: int, last: int) -> list[Piece]:
        """What is kept of rows `first`…`last`, or was sent before it is, in order.

        Raises:
            StoreError: the disk cannot be read.
        """
        recent = self.recent.rows(series, first, last)
        if recent is not None:
            return recent
        early = self.early.rows(series, first, last)  # asked first: while it is read they may come to be on disk
        pieces = await self._call(lambda: list(self._box().read(series, first, last)))
        return pieces if early is None or (pieces and pieces[-1].last >= early.first) else [*pieces, early]

    async def next_kept(self, series: int, row: int) -> int | None:
        """The first row from `row` on that `read` knows.

        Raises:
            StoreError: the disk cannot be read.
        """
        early = self.early.rows(series, row, 1 << 62)
        kept = await self._call(lambda: self._box().next_kept(series, row))
        return kept if kept is not None or early is None else early.first

    def promise(self, append: Append) -> int | None:
        """The number under which the first of these rows can be sent before they are kept; None: it cannot."""
        first = self._box().promise(append)
        if first is not None:
            self.recent.add([append], [first])
            self.early.begin(append, first)
        return first

    def committed(self, changes: Sequence[Change], numbers: Sequence[int | None]) -> list[Release]:
        """These are on disk, with them what was sent before; returns what of that is to be forgotten already."""
        if not self.early.is_all(changes):
            if self.early:  # joined to others: not twice
                self.recent.clear()
            self.recent.add(changes, numbers)
        return self.early.end()
