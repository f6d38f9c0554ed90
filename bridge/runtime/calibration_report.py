"""What `models calibrate` found, as plain text: tables, and the escalation curve as a chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bridge.runtime.calibration_measures import best
from bridge.runtime.chart import bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.runtime.calibration_cascade import Pair
    from bridge.runtime.calibration_fit import Calibrated, Escalating, Labelled

SHARES = (0, 5, 10, 15, 20, 25, 30, 35, 40, 50, 75, 100)
_HEADROOM = 0.15  # of the chart's width that the least accuracy still gets


def render(model: str, data: Labelled, found: Sequence[Calibrated]) -> str:
    """Temperatures and calibration errors of all, then of each variant that escalates: measures, curve, threshold.

    Returns:
        Lines, each ended.
    """
    width = max(len("variant"), *(len(one.name) for one in found))
    lines = [
        f"{model}: {len(data.y)} labelled windows, {data.source}",
        f"{'':<{width}}                         calibration error at temperature",
        f"{'variant':<{width}}  accuracy  temperature        1  manifest's  fitted",
        *(
            f"{one.name:<{width}}  {one.accuracy:8.1%}  {one.temperature:11.4f}  {one.plain:7.3f}  {one.held:10.3f}"
            f"  {one.error:6.3f}"
            for one in found
        ),
    ]
    for one in found:
        if one.escalating is not None:
            lines += ["", *_escalating(one.name, one.escalating), *_people(one.escalating, data)]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _escalating(name: str, up: Escalating) -> list[str]:
    outcome = up.windows.outcome(up.below)
    return [
        f"{name} → {up.to}: alone {up.windows.small.mean():.1%} and {up.windows.big.mean():.1%}",
        *_measures(up),
        "",
        *_chart(up),
        "",
        f"certainty  {'  '.join(f'{at:6.3f}' for at, _ in up.points)}",
        f"cloud right{'  '.join(f'{share:6.1%}' for _, share in up.points)}",
        "",
        f"target {up.target}: below = {up.below:g}: {outcome.share:.1%} sent up, {outcome.accuracy:.1%} right"
        + ("; nothing need be sent up" if up.below <= 0.0 else ""),
    ]


def _measures(up: Escalating) -> list[str]:
    lines = ["measure  area under the curve  against max"]
    for one in up.compared:
        behind = "" if one.measure == "max" else f"{one.ahead * 100:+.3f} ± {one.error * 100:.3f} points"
        lines.append(f"{one.measure:<7}  {one.area:20.3%}  {behind}")
    clear = best(up.compared)
    if clear == "max":
        lines.append("max stays: no other measure is ahead by more than two standard errors")
    else:
        lines.append(f"{clear} would choose better; this version places by max, and the keys below are for max")
    return lines


def _chart(up: Escalating) -> list[str]:
    points = up.windows.curve()
    right = [float(points[share, 1]) for share in SHARES]
    low, high = min(right), max(right)
    span = (high - low) / (1.0 - _HEADROOM) or 1.0
    marked = up.windows.outcome(up.below).share * 100
    lines = [f"sent up  right  (bars from {high - span:.1%})"]
    at = min(SHARES, key=lambda share: abs(share - marked))
    lines += [
        f"{share:5d} %  {one:5.1%}  {bar((one - high) / span + 1.0)}{'  ◀ about here' if share == at else ''}"
        for share, one in zip(SHARES, right, strict=True)
    ]
    return lines


def _people(up: Escalating, data: Labelled) -> list[str]:
    if data.subject is None:
        return []
    names = sorted(np.unique(data.subject).tolist(), key=lambda text: (len(text), text))
    rows = (_person(name, up.windows.part(data.subject == name), up.below) for name in names)
    return ["", "subject  windows  alone  cloud  both   sent up", *rows]


def _person(name: str, windows: Pair, below: float) -> str:
    outcome = windows.outcome(below)
    return (
        f"{name:<7}  {len(windows.sure):7d}  {windows.small.mean():5.1%}  {windows.big.mean():5.1%}  "
        f"{outcome.accuracy:5.1%}  {outcome.share:7.1%}"
    )
