"""What the load generator is asked, and what it tells: JSON on its stdin and stdout."""

from __future__ import annotations

import msgspec


class Task(msgspec.Struct, kw_only=True):
    """What to do.

    Attributes:
        broker: path of its Unix socket.
        work: file of a `work.Work`.
        series: its payloads are hops of a series of rows, not whole windows.
        devices: how many publish.
        outstanding: messages without a Result, at most; the closed loop.
        rate: messages a second instead, whatever comes back; the open loop.
        warm: seconds before measuring.
        seconds: seconds to measure.
        first: number of the first message; whole windows of one bridge may not repeat one, a series goes on.
        nice: how much the generator gives way to other processes, 0…19.
        watch: process ids to look at, by name.
    """

    broker: str
    work: str
    series: bool = False
    devices: int = 16
    outstanding: int = 512
    rate: float | None = None
    warm: float = 0.5
    seconds: float = 2.0
    first: int = 0
    nice: int = 0
    watch: dict[str, int] = {}


class Told(msgspec.Struct, kw_only=True):
    """What came of it.

    Attributes:
        sent: messages published in all.
        answered: of those, the ones with a right Result.
        wrong: Results with another label, other keys, or for no message.
        repeated: Results beyond the first.
        missing: messages without a Result in the end.
        rate: right Results a second while measuring.
        offered: messages a second published while measuring.
        p50: seconds from publish to Result, median, while measuring.
        p99: the same, 99th percentile.
        cpu: seconds of CPU while measuring, by process.
        rss: bytes resident, from the first sample on, by process.
        seconds: how long it measured.
    """

    sent: int
    answered: int
    wrong: int
    repeated: int
    missing: int
    rate: float
    offered: float
    p50: float
    p99: float
    cpu: dict[str, float]
    rss: dict[str, list[int]]
    seconds: float
