"""The newest rows that were committed, in memory: what is sent at once need not be read back from disk. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from bridge.store.outbox import Append, Piece
from bridge.store.pieces import trim

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.store.outbox import Change

MOST_BYTES = 65_536  # of rows: a window of messages; what waits longer is read from disk
MOST_PIECES = 256


class Recent:
    """Pieces as the outbox would hand them out, of all series, oldest first; on disk before they are here."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, Piece]] = deque()
        self._bytes = 0

    def add(self, changes: Sequence[Change], numbers: Iterable[int | None]) -> None:
        """A commit gave these changes these numbers."""
        for change, first in zip(changes, numbers, strict=True):
            if isinstance(change, Append) and first is not None and 0 < change.values.nbytes <= MOST_BYTES:
                whole = Piece(first, change.values, change.t, change.dt)
                for start in range(first - first % change.align, whole.last + 1, change.align):
                    self._push(change.series, trim(whole, start, start + change.align - 1))

    def rows(self, series: int, first: int, last: int) -> list[Piece] | None:
        """Rows `first`…`last` in order; None unless all of them are here."""
        found: list[Piece] = []
        for one, piece in reversed(self._pieces):
            if one != series or piece.first > last:
                continue
            if piece.last < (found[-1].first - 1 if found else last):
                return None
            found.append(trim(piece, first, last))
            if piece.first <= first:
                return found[::-1]
        return None

    def clear(self) -> None:
        """Rows were given up, perhaps some of these."""
        self._pieces.clear()
        self._bytes = 0

    def _push(self, series: int, piece: Piece) -> None:
        self._pieces.append((series, piece))
        self._bytes += piece.values.nbytes
        while self._bytes > MOST_BYTES or len(self._pieces) > MOST_PIECES:
            self._bytes -= self._pieces.popleft()[1].values.nbytes
