"""When messages were handed over and when they arrived: logs on disk, joined to figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.netlab.emulator import Told

_DTYPE = np.dtype([("number", "<u4"), ("ns", "<i8")])  # `log.ENTRY`
FRESH = 1.0  # s: a live reading
QUANTILES = {"p50": 0.5, "p95": 0.95, "p98": 0.98, "p99": 0.99, "p99.9": 0.999}


def read(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Numbers (n,) and seconds on CLOCK_MONOTONIC (n,) of a log, in the order of noting."""
    entries = np.fromfile(path, _DTYPE)
    return entries["number"].astype(np.int64), entries["ns"] / 1e9


class Deliveries(msgspec.Struct, frozen=True):
    """What became of the messages.

    Attributes:
        handed: (n,) s on CLOCK_MONOTONIC, by number of the message.
        latency: (n,) s from there to the first arrival at the consumer; inf if it never came.
        duplicates: arrivals beyond the first.
    """

    handed: NDArray[np.float64]
    latency: NDArray[np.float64]
    duplicates: int


def join(sent: Path, arrived: Path) -> Deliveries:
    """Match two logs.

    Raises:
        ValueError: a message was handed over twice or out of order, or one arrived that never was.
    """
    numbers, handed = read(sent)
    if not np.array_equal(numbers, np.arange(len(numbers))):
        raise ValueError(f"{sent}: numbers are not 0 to {len(numbers) - 1}")
    came, at = read(arrived)
    if came.size and came.max() >= len(numbers):
        raise ValueError(f"{arrived}: message {came.max()} was never handed over")
    first = np.full(len(numbers), np.inf)
    np.minimum.at(first, came, at)
    return Deliveries(handed, first - handed, int(came.size - np.isfinite(first).sum()))


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One run in numbers. Latencies in ms; None where there are too few messages, or where it is infinite.

    Attributes:
        messages: handed over.
        lost: never arrived.
        duplicates: arrived again.
        latency: by name of the quantile, nearest rank over all messages; lost ones count as infinitely late.
        transmissions: packets that carry payload, for each message; below 1 where a packet carries several.
        bytes: IP bytes both ways, for each message.
    """

    messages: int
    lost: int
    duplicates: int
    latency: dict[str, float | None]
    transmissions: float
    bytes: float


def figures(of: Deliveries, link: Told) -> Figures:
    """The figures of a run with at least one message."""
    count = len(of.latency)
    return Figures(
        messages=count,
        lost=int(np.isinf(of.latency).sum()),
        duplicates=of.duplicates,
        latency={name: _quantile(of.latency, share) for name, share in QUANTILES.items()},
        transmissions=link.carrying / count,
        bytes=(link.up.bytes + link.down.bytes) / count,
    )


def _quantile(latency: NDArray[np.float64], share: float) -> float | None:
    if len(latency) * (1 - share) < 1 - 1e-9:
        return None
    found = 1e3 * float(np.quantile(latency, share, method="inverted_cdf"))
    return found if np.isfinite(found) else None


class Return(msgspec.Struct, frozen=True):
    """The end of an outage.

    Attributes:
        at: s after the start.
        first: s from there to the first arrival; None: none came.
        fresh: s from there to the hand-over of the first message that arrived within `FRESH`; None: none did.
    """

    at: float
    first: float | None
    fresh: float | None


def returns(of: Deliveries, start: float, ends: Sequence[float]) -> list[Return]:
    """What came after outages that ended at `ends`, s after the start, while messages were handed over."""
    arrived = of.handed + of.latency
    live = of.handed[of.latency <= FRESH]
    return [
        Return(at, _wait(arrived[np.isfinite(arrived)], start + at), _wait(live, start + at))
        for at in ends
        if start + at <= of.handed[-1]
    ]


def first(of: Deliveries, start: float) -> float | None:
    """Seconds from `start` to the first arrival; None: none came."""
    return _wait((of.handed + of.latency)[np.isfinite(of.latency)], start)


def _wait(moments: NDArray[np.float64], since: float) -> float | None:
    later = moments[moments >= since]
    return float(later.min() - since) if later.size else None


def worst_by_second(of: Deliveries, start: float) -> list[float | None]:
    """Latency in ms of the latest of the messages handed over in each second since `start`; None for a lost one."""
    second = _seconds(of, start)
    worst = np.zeros(int(second.max()) + 1)
    np.maximum.at(worst, second, of.latency * 1e3)
    return [float(one) if np.isfinite(one) else None for one in worst]


def p95_by_second(of: Deliveries, start: float) -> list[float | None]:
    """p95, nearest rank, of the latency in s of the messages handed over in each second since `start`.

    Infinite where so many are lost; None where none was handed over.
    """
    second = _seconds(of, start)
    every = (of.latency[second == n] for n in range(int(second.max()) + 1))
    return [float(np.quantile(one, 0.95, method="inverted_cdf")) if one.size else None for one in every]


def _seconds(of: Deliveries, start: float) -> NDArray[np.int64]:
    """In which second since `start` each message was handed over."""
    return (of.handed - start).astype(np.int64).clip(0)
