"""The rows of `make bench-place`: what is asked of placing, each line of the table as one or more figures with a bound.

The form is that of `make bench`: `Row` and `row` of `tests.benchmarks.rows`, whose verdicts and table are taken too.
Names are `MEASURE` or `MEASURE-PART`, of `NAMES`, so that a line that was not measured is noticed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.rows import Row, ratios, row

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NAMES", "Row", "missing", "ratios", "row", "short"]

# accuracy, calibration and cost come from measures.py, changing and latency from contest.py, the others from real/.
NAMES = ("accuracy", "changing", "latency", "calibration", "cost", "cloud", "provisional", "killed")


def missing(rows: Iterable[Row], names: Iterable[str] = NAMES) -> list[str]:
    """The measures of which no row was made, in the order of the table."""
    made = {one.name.partition("-")[0] for one in rows}
    return [name for name in names if name not in made]


def short(rows: Iterable[Row]) -> list[str]:
    """The names of the rows that fall short."""
    return [one.name for one in rows if not one.passed]
