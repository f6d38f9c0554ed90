"""JSON rows, one a line, from any program: `[1.0, 2.0]` or `{"values": [1.0, 2.0], "t": 1700000000.0}`.

A line that is no row is told with its number and left out; the lines after it count as if it had not been there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bridge.wire.fields import MAX_TIME
from edge_agent.sampler import Chunk, Stamper, split
from edge_agent.sources.reads import reads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from bridge.messages import Rows

log = logging.getLogger(__name__)

LONGEST = 1 << 20  # bytes a line
TOO_LARGE = (2.0 - 2.0**-24) * 2.0**127  # from here on a number rounds to ∞ in float32


class _Row(msgspec.Struct):
    values: list[float]
    t: float | None = None


_ROW = msgspec.json.Decoder(_Row)
_NUMBERS = msgspec.json.Decoder(list[float])


class LineParser:
    """Bytes in, rows out; without I/O.

    Args:
        name: what to call the source when a line is bad.
        tell: takes a sentence for each bad line.
    """

    def __init__(self, name: str, tell: Callable[[str], None]) -> None:
        self._name = name
        self._tell = tell
        self._rest = b""
        self._skipping = False
        self._line = 0
        self.channels: int | None = None
        self.bad = 0

    def feed(self, data: bytes) -> list[tuple[list[float], float | None]]:
        """Rows of the lines that these bytes complete: numbers, and the time if the line tells it."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST:
            self._rest, self._skipping = b"", True
        plain = self._plain(lines)
        return [row for line in lines for row in self._row(line)] if plain is None else plain

    def end(self) -> list[tuple[list[float], float | None]]:
        """Rows of a last line without an end."""
        rest, self._rest = self._rest, b""
        return list(self._row(rest)) if rest or self._skipping else []

    def _plain(self, lines: list[bytes]) -> list[tuple[list[float], float | None]] | None:
        """Rows of lines that are nothing but good rows without times, read all at once; None for any other.

        Each begins with a bracket, which cannot stand within a row: as many rows as lines are one a line.
        """
        text = b"\n".join(lines)
        if self._skipping or self.channels is None or text[:1] != b"[" or text.count(b"\n[") != len(lines) - 1:
            return None
        try:
            rows = _NUMBERS.decode_lines(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if len(rows) != len(lines) or set(map(len, rows)) != {self.channels}:
            return None
        if max(map(max, rows)) >= TOO_LARGE or min(map(min, rows)) <= -TOO_LARGE:
            return None
        self._line += len(lines)
        return [(row, None) for row in rows]

    def _row(self, line: bytes) -> Iterator[tuple[list[float], float | None]]:
        self._line += 1
        if self._skipping:
            self._skipping = False
            self._bad(f"longer than {LONGEST} bytes")
            return
        if not line.strip():
            return
        try:
            row = _ROW.decode(line) if line.lstrip()[:1] == b"{" else _Row(_NUMBERS.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as why:
            self._bad(f"{why}: {line[:60]!r}")
            return
        why_not = self._check(row)
        if why_not is None:
            yield row.values, row.t
        else:
            self._bad(why_not)

    def _check(self, row: _Row) -> str | None:
        if not row.values:
            return "a row without a number"
        if max(map(abs, row.values)) >= TOO_LARGE:
            return "a number beyond float32, or not finite"
        if row.t is not None and not 0.0 <= row.t < MAX_TIME:
            return f"t is seconds since 1970, not {row.t}; milliseconds are to be divided by 1000"
        if self.channels is None:
            self.channels = len(row.values)
        if len(row.values) != self.channels:
            return f"{len(row.values)} numbers, the first row had {self.channels}"
        return None

    def _bad(self, why: str) -> None:
        self.bad += 1
        self._tell(f"{self._name}: line {self._line}: {why}; skipped")


def timed(
    rows: list[tuple[list[float], float | None]], dt: float | None, stamper: Stamper | None, now: float
) -> Iterator[Chunk]:
    """Chunks of rows that came together: with their own times where all tell them, else stamped.

    Args:
        rows: from `LineParser`.
        dt: seconds between rows, if known.
        stamper: gives times, if dt is known.
        now: seconds since 1970.
    """
    values: Rows = np.array([numbers for numbers, _ in rows], dtype=np.float32)
    if all(t is not None for _, t in rows):
        yield from split(values, np.array([t for _, t in rows], dtype=np.float64), dt)
    else:
        yield Chunk(values, stamper.stamp(len(rows), now) if stamper is not None else now, dt)


class Lines:
    """Chunks from a file descriptor.

    Args:
        descriptor: where to read; 0 is stdin.
        name: what to call it.
        rate: rows a second; None: unknown.
    """

    def __init__(self, descriptor: int, name: str, *, rate: float | None) -> None:
        self._descriptor = descriptor
        self._parser = LineParser(name, log.warning)
        self._dt = 1.0 / rate if rate else None
        self._stamper = Stamper(self._dt) if self._dt else None

    async def chunks(self, clock: Callable[[], float], mono: Callable[[], float]) -> AsyncIterator[Chunk]:  # noqa: ARG002 # as every source
        """Chunks as lines come, until the end of the file.

        Args:
            clock: seconds since 1970.
            mono: monotonic seconds.
        """
        async for data in reads(self._descriptor):
            rows = self._parser.feed(data) if data else self._parser.end()
            if rows:
                for chunk in timed(rows, self._dt, self._stamper, clock()):
                    yield chunk
