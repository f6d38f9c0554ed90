"""Times several things fairly on a machine that does other things too."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROUNDS = 9  # rounds that the time is shared out to
LEAST_ROUNDS = 3  # however little time there is
SETTLE = 0.002  # seconds run untimed before each burst: caches fill, and the last one's threads stop spinning (1 ms)
MOST_RUNS = 2_000  # of one burst; more only repeat each other


def medians(
    works: Sequence[Callable[[], object]], *, seconds: float, clock: Callable[[], float], settle: float = SETTLE
) -> list[float]:
    """Median of `rounds` for each work: it forgets what was disturbed. Same arguments."""
    return [statistics.median(found) for found in rounds(works, seconds=seconds, clock=clock, settle=settle)]


def rounds(
    works: Sequence[Callable[[], object]], *, seconds: float, clock: Callable[[], float], settle: float = SETTLE
) -> list[list[float]]:
    """Seconds of each work's run, all measured in turn, round after round.

    A machine that becomes busy or hot slows whole rounds, so every work alike. Each round has an order of its own, so
    that nobody always follows the same neighbour.

    Args:
        works: each call is one run.
        seconds: wall time to spend in all; exceeded only where `LEAST_ROUNDS` rounds of one run each take longer.
        clock: seconds that only grow, such as `time.perf_counter`.
        settle: seconds run untimed before each burst.

    Returns:
        For each work, in their order, the median seconds of a run in each round; as many rounds for all.
    """
    if not works:
        return []
    began = clock()
    once = [_once(work, clock) for work in works]
    share = max(0.0, seconds - (clock() - began)) / (ROUNDS * len(works))
    runs = [max(1, min(MOST_RUNS, math.floor((share - settle) / max(each, 1e-9)))) for each in once]
    taken: list[list[float]] = [[] for _ in works]
    order = np.random.default_rng(0)
    for number in range(ROUNDS):
        if number >= LEAST_ROUNDS and clock() - began >= seconds:
            break
        for i in order.permutation(len(works)).tolist():
            taken[i].append(_burst(works[i], runs[i], clock, settle))
    return taken


def _once(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of a second run; the first pays for what happens only once."""
    work()
    start = clock()
    work()
    return clock() - start


def _burst(work: Callable[[], object], runs: int, clock: Callable[[], float], settle: float) -> float:
    start = clock()
    work()
    while clock() - start < settle:
        work()
    taken = []
    for _ in range(runs):
        start = clock()
        work()
        taken.append(clock() - start)
    return statistics.median(taken)
