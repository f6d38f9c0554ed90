"""`inference-bridge models split`: whether it pays to run a model's head on the gateway and its tail in the cloud."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import ConfigError

if TYPE_CHECKING:
    import argparse

    from bridge.catalog import Manifest

RATES = (64e3, 1e6, 1e7, 1e8, 1e9)  # bits per second
ROUND_TRIPS = (0.2, 1.0, 10.0, 50.0, 600.0)  # ms: a wire in the house, a server in the hall, fibre, mobile, satellite


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `split` to the sub-commands of `models`; the caller adds `--config`."""
    split = actions.add_parser("split", help="measure whether a part here and the rest in the cloud pays")
    split.add_argument("model", help="name of a model, or its folder")
    split.add_argument("--recordings", type=Path, help="folder with recordings.csv (default: the model's sample)")
    split.add_argument("--variant", help="which of its graphs (default: the cloud's)")
    split.add_argument(
        "--bandwidth", type=float, nargs="+", metavar="BPS", default=RATES, help="bits per second (default: 64 k … 1 G)"
    )
    split.add_argument(
        "--rtt", type=float, nargs="+", metavar="MS", default=ROUND_TRIPS, help="round trips (default: 0.2 … 600 ms)"
    )
    split.add_argument(
        "--cloud-speed", type=float, default=10.0, help="times the gateway's speed, assumed (default %(default)s)"
    )
    split.add_argument(
        "--gateway-slower", type=float, default=1.0, help="times slower than this machine (default %(default)s)"
    )
    split.add_argument("--seconds", type=float, default=10.0, help="time to spend on timing (default %(default)s)")


def run(chosen: argparse.Namespace, manifest: Manifest) -> int:
    """Measure, and print tables and verdict.

    Returns:
        0, whether or not a cut pays.

    Raises:
        ConfigError: numbers or recordings that cannot be used, or the package `onnx` is missing.
        ModelError: the graph cannot be used.
    """
    for option, values in (
        ("--bandwidth", chosen.bandwidth),
        ("--cloud-speed", [chosen.cloud_speed]),
        ("--gateway-slower", [chosen.gateway_slower]),
        ("--seconds", [chosen.seconds]),
    ):
        _check(option, values)
    _check("--rtt", chosen.rtt, zero=True)
    from bridge.runtime import recordings, split, split_report  # they load ONNX Runtime, and need the package onnx
    from bridge.runtime.split_links import Link

    variant = manifest.variant(chosen.variant) if chosen.variant else manifest.for_tier("cloud")
    found = recordings.read(chosen.recordings or manifest.folder / "sample", manifest)
    sys.stderr.write(f"measuring for about {chosen.seconds:g} s\n")
    measured = split.split(manifest, variant, found, seconds=chosen.seconds)
    links = tuple(Link(rate, trip / 1e3) for rate in chosen.bandwidth for trip in chosen.rtt)
    assumed = split_report.Assumed(links, chosen.cloud_speed, chosen.gateway_slower)
    sys.stdout.write(split_report.render(measured, assumed))
    return 0


def _check(option: str, values: list[float], *, zero: bool = False) -> None:
    for value in values:
        if not math.isfinite(value) or value < 0.0 or (value == 0.0 and not zero):
            raise ConfigError(f"{option}: {value:g} is not a number {'from' if zero else 'above'} 0")
