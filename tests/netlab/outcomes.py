"""Outcomes made by hand, for the tests of rows, tables and pictures."""

from __future__ import annotations

from typing import Any

from tests.netlab.emulator import Told
from tests.netlab.lab import Outcome
from tests.netlab.model import Count
from tests.netlab.record import QUANTILES, Figures

QUICK = 40.0  # ms


def outcome(
    scenario: str,
    contestant: str = "ours",
    *,
    seed: int = 1,
    latency: dict[str, float | None] | float | None = QUICK,
    messages: int = 3_000,
    lost: int = 0,
    transmissions: float = 1.0,
    size: float = 100.0,
    late: float = 1e-4,
    **others: Any,
) -> Outcome:
    """A good run, but for what is named; `latency` in ms, of all quantiles or by name."""
    of: dict[str, float | None] = latency if isinstance(latency, dict) else dict.fromkeys(QUANTILES, latency)
    common: dict[str, Any] = {"rate": 20.0, "worst": [QUICK], "returns": [], "switches": [], "first": QUICK / 1e3}
    return Outcome(
        scenario=scenario,
        contestant=contestant,
        seed=seed,
        start=0.0,
        figures=Figures(
            messages=messages, lost=lost, duplicates=0, latency=of, transmissions=transmissions, bytes=size
        ),
        **({"link": told(late=late)} | common | others),
    )


def told(*, late: float = 1e-4, size: int = 1_000_000, probes: int = 0) -> Told:
    """What the emulator saw; `size`: bytes up, besides nothing down."""
    return Told(
        up=Count(bytes=size), down=Count(), carrying=0, late_p50=0.0, late_p99=late, late_max=late, priority="normal",
        probes=probes,
    )  # fmt: skip
