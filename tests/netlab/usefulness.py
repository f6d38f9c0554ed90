"""What a run was worth, second by second: the one formula by which the agent chooses, on what was measured."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from bridge.link.utility import utility

if TYPE_CHECKING:
    from collections.abc import Sequence


def by_second(
    p95: Sequence[float | None],
    sent: Sequence[int],
    costs: Sequence[float],
    computing: Sequence[float],
    *,
    wanted: float,
    reference: float,
    budget: float,
) -> list[float]:
    """`bridge.link.utility` of each second, outages too.

    A second in which nothing was handed over counts with the one before, and they share their bytes: else who sends
    less than one message a second would pay for each as if it sent one every second.

    Args:
        p95: s, of the messages handed over in each second; infinite if lost; None: there was none.
        sent: IP bytes both ways in each second; what is missing at the end is 0.
        costs: accuracy that the encoding in use costs, in each second.
        computing: s a message that it takes to write and read, beyond the quickest, in each second.
        wanted: freshness, s.
        reference: bytes/s of the rows in JSON.
        budget: accuracy that may be lost.
    """  # fmt: skip
    sent = [*sent, *[0] * len(p95)][: len(p95)]
    begins = [n for n, one in enumerate(p95) if one is not None or n == 0]
    found: list[float] = []
    for begin, end in itertools.pairwise([*begins, len(p95)]):
        late = p95[begin]
        worth = utility(
            float("inf") if late is None else late, wanted=wanted, bytes_s=sum(sent[begin:end]) / (end - begin),
            reference=reference, cost=max(costs[begin:end]), budget=budget, computing=max(computing[begin:end]),
        )  # fmt: skip
        found += [worth] * (end - begin)
    return found
