"""One series on its way: what it is called, how its messages are written, where they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bridge.messages import Observation
from bridge.wire.data import encode_skip
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from edge_agent.lanes import Lanes
from edge_agent.sampler import cut, halves
from edge_agent.skips import Skips
from edge_agent.sources.replay import RATE
from edge_agent.uplink import Writing
from edge_agent.way import Hold

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bridge.messages import Skip
    from bridge.store.outbox import Piece, Series
    from edge_agent.config import Stream


class Written(NamedTuple):
    """A message of rows `first`…`last`, inclusive, and the bytes that say it."""

    first: int
    last: int
    said: Observation
    payload: bytes
    form: Format


class Route:
    """See the module.

    Args:
        series: the series.
        stream: its settings.
        start: the first row to send.
        receipt_timeout: seconds to wait for a first receipt.
        backlog_after: see `Lanes`.

    Attributes:
        refused: rows that the bridge refused.
        hold: until when nothing is sent of it, because nobody takes it.
        barred: why, as told last; empty while it is taken.
        barred_at: monotonic seconds since when.
    """

    def __init__(
        self, series: Series, stream: Stream, start: int, *, receipt_timeout: float, backlog_after: float | None
    ) -> None:
        self.series = series
        self.stream = stream
        form = Format.JSON if stream.encoding == "json" else Format.CBOR
        self.writing = Writing(form, stream.packing, stream.rows_per_message, stream.longest_wait)
        self.lanes = Lanes(
            start,
            rows=stream.rows_per_message,
            longest_wait=stream.longest_wait,
            whole=stream.windows == "whole",
            receipt_timeout=receipt_timeout,
            backlog_after=backlog_after,
        )
        self.skips = Skips(receipt_timeout=receipt_timeout)
        self.refused: list[tuple[int, int]] = []
        self.hold = Hold()
        self.barred, self.barred_at = "", 0.0
        self._most_rows: int | None = None
        self._rate = stream.rate or (RATE if stream.source == "replay" else None)

    @property
    def fill(self) -> float:
        """Seconds that the first row of a message waits for the last; 0 if the rate is not known."""
        if self._rate is None:
            return 0.0
        return min(self.writing.longest_wait, (self._rows - 1) / self._rate)

    def write(self, writing: Writing) -> None:
        """How messages are written and packed from now on."""
        self.writing = writing
        self.lanes.pack(self._rows, writing.longest_wait)

    @property
    def _rows(self) -> int:
        """Of a message, at most."""
        return self.writing.rows if self._most_rows is None else min(self.writing.rows, self._most_rows)

    def shorten(self, rows: int) -> bool:
        """So many are too large for a message: it has at most half as many from now on.

        Returns:
            False if that cannot be: a single row, or a window, which is a message.
        """
        if rows < 2 or self.stream.windows == "whole":
            return False
        self._most_rows = rows // 2 if self._most_rows is None else min(self._most_rows, rows // 2)
        self.lanes.pack(self._rows, self.writing.longest_wait)
        return True

    def messages(self, pieces: Iterable[Piece], most: int | None, *, untold: bool = False) -> Iterator[Written]:
        """Rows as messages, halved until each fits what the other side takes.

        Args:
            pieces: from the outbox, in order.
            most: bytes of a message; None: any.
            untold: rows of this series were given up, and the bridge does not know of all of them.
        """
        if isinstance(pieces, list) and len(pieces) == 1 and self._is_message(pieces[0]):
            yield from self._encoded(pieces[0], most, untold=untold)
            return
        whole = self.stream.windows == "whole"
        for message in cut(pieces, self._rows, whole=whole):
            yield from self._encoded(message, most, untold=untold)

    def _is_message(self, piece: Piece) -> bool:
        """Whether `cut` would leave it as it is."""
        rows = self._rows
        return 0 < len(piece.values) <= rows - piece.first % rows

    def encoded(self, skip: Skip) -> bytes:
        """A Skip in the format of this stream."""
        return encode_skip(skip, self.writing.form)

    def _encoded(self, piece: Piece, most: int | None, *, untold: bool) -> Iterator[Written]:
        late = self.lanes.of(piece.first) is self.lanes.backlog
        # who says where the live lane begins is believed also where it comes far beyond the rows that the bridge knows
        says_seam = untold or not late
        observation = Observation(
            piece.values,
            seq=piece.first,
            epoch=self.series.epoch,
            t=piece.t,
            dt=piece.dt,
            receipt=True,
            lane="backlog" if late else "live",
            live_from=self.lanes.live_from if says_seam else None,
        )
        form, packing, zstd = self.writing.form, self.writing.packing, self.writing.zstd
        payload = encode_observation(observation, form, packing=packing, zstd=zstd)
        if most is None or len(payload) <= most or len(piece.values) == 1:
            yield Written(piece.first, piece.last, observation, payload, form)
        else:
            for half in halves(piece):
                yield from self._encoded(half, most, untold=untold)
