"""How likely the variant escalated to is right, by how sure the one that escalates is. numpy alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bridge.runtime.calibration_cascade import Pair

MOST_POINTS: Final = 12
LEAST_WINDOWS: Final = 40  # of a point: the standard error of a share near 0.7 is then 0.07


def escalation(windows: Pair) -> tuple[tuple[float, float], ...]:
    """Return points (certainty, share of windows that the variant escalated to gets right), both ascending, 4 digits.

    Bins hold the same number of windows that the small variant gets wrong, in expectation (the same sum of
    1 - certainty), so that there are many where it is unsure and one for the many windows where it is not. Bins that
    would make the share fall are pooled (isotonic regression by pooling adjacent violators, Ayer et al. 1955): whoever
    is more sure has an easier window. Between the points read straight lines, outside the nearest point.
    """
    order = np.argsort(windows.sure, kind="stable")
    sure, right = windows.sure[order], windows.big[order].astype(np.float64)
    pooled: list[tuple[float, float, int]] = []  # mean certainty, share right, windows
    for one in _bins(sure):
        block = (float(sure[one].mean()), float(right[one].mean()), len(one))
        while pooled and any(round(pooled[-1][i], 4) >= round(block[i], 4) for i in (0, 1)):
            block = _joined(pooled.pop(), block)
        pooled.append(block)
    return tuple((round(at, 4), round(share, 4)) for at, share, _ in pooled)


def _bins(sure: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Indices of ascending certainties, at least `LEAST_WINDOWS` each, at most `MOST_POINTS` bins."""
    doubt = np.cumsum(1.0 - sure)
    wanted = np.linspace(0.0, doubt[-1], MOST_POINTS + 1)[1:-1]
    cuts: list[int] = []
    for cut in np.searchsorted(doubt, wanted).tolist():
        if cut - (cuts[-1] if cuts else 0) >= LEAST_WINDOWS and len(sure) - cut >= LEAST_WINDOWS:
            cuts.append(cut)
    return np.split(np.arange(len(sure)), cuts)


def _joined(left: tuple[float, float, int], right: tuple[float, float, int]) -> tuple[float, float, int]:
    count = left[2] + right[2]
    at, share = ((left[i] * left[2] + right[i] * right[2]) / count for i in (0, 1))
    return at, share, count
