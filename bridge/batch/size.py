"""How many windows should run together at most, by measured times."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

TOLERANCE = 1.1  # a tenth of the throughput is worth less than answering sooner


def best_size(seconds: Callable[[int], float], most: int, *, overhead: float = 0.0) -> int:
    """The smallest batch that gets nearly all the throughput there is: what comes first need not wait for more.

    A CNN gains nothing from batching on a CPU, a wide MLP twelve times; only times tell.

    Args:
        seconds: measured seconds of a run of so many windows.
        most: windows that may run together, at least 1.
        overhead: seconds each run costs around the engine.

    Returns:
        A power of two, or `most`.
    """
    sizes = [1]
    while sizes[-1] < most:
        sizes.append(min(sizes[-1] * 2, most))
    per_window = {size: (seconds(size) + overhead) / size for size in sizes}
    fastest = min(per_window.values())
    return next(size for size, each in per_window.items() if each <= TOLERANCE * fastest)
