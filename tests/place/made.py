"""Links and windows made up for the tests of the instruments."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tests.place.trace import Sample, Trace
from tests.place.windows import Answers, HeldOut, Judged, manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 20.0
QUICK = Trace("quick", [Sample(t=0.0, took=0.001), Sample(t=SECONDS, took=0.001)])  # a bridge


def link(*took: float, up: bool = True, kbit: float = 0.0, run: float = 0.0) -> Trace:
    """Samples a tenth of a second apart, the last one for the rest of the time; inf: lost."""
    each = [*took, took[-1]]
    at = [*(0.1 * n for n in range(len(took))), SECONDS]
    return Trace(
        "made", [Sample(t=t, took=one, up=up, kbit=kbit, size=800, run=run) for t, one in zip(at, each, strict=True)]
    )


def lost() -> Trace:
    """Nothing ever comes back."""
    return link(math.inf)


def judged(certainty: Sequence[float], small: Sequence[bool], big: Sequence[bool]) -> Judged:
    """One window each: how certain the bridge is, and whether each tier is right."""
    count = len(certainty)
    held = HeldOut(np.zeros((count, 1, 1), np.float32), np.zeros(count, int), np.arange(count), np.full(count, 8))
    cloud = Answers(np.array(big), np.full(count, 0.9))
    return Judged(held, Answers(np.array(small), np.array(certainty)), cloud, cloud, manifest())
