"""The rows of `make bench-place` that need real processes: Mosquitto, the bridge, cloud agents, and their deaths."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.place.real import cloud, killed, provisional
from tests.place.rows import Row, row
from tests.support.brokers import BrokerDidNotStartError
from tests.support.programs import ProgramDidNotStartError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PARTS: dict[str, Callable[[Path], list[Row]]] = {
    "cloud": cloud.rows,
    "provisional": provisional.rows,
    "killed": killed.rows,
}
FAILURES = (
    AssertionError,
    ProgramDidNotStartError,
    BrokerDidNotStartError,
    pytest.skip.Exception,
    pytest.fail.Exception,
)


def rows(folder: Path) -> list[Row]:
    """Measure all of them, one part after the other.

    Args:
        folder: configs, states and logs go to `real` in it, in place of those of an earlier run.

    Returns:
        The rows; one that falls short and says why for a part that could not be measured.
    """
    place = folder / "real"
    shutil.rmtree(place, ignore_errors=True)
    return [one for name, part in PARTS.items() for one in _measured(name, part, place / name)]


def _measured(name: str, part: Callable[[Path], list[Row]], folder: Path) -> list[Row]:
    try:
        return part(folder)
    except FAILURES as why:
        return [row(f"{name}-measured", "could be measured", [0.0], "at least", 1.0, unit="", note=str(why)[-500:])]
