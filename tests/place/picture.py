"""`placement.svg`: above, how much each policy got right in time; below, for each trace, where and why."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tests.place.contest import DEADLINES, NAMES, ORACLE
from tests.place.ours import Ours
from tests.place.policies import AlwaysBridge, AlwaysCloud, ConfidenceOnly

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from tests.place.contest import Results
    from tests.place.replay import Told
    from tests.place.trace import Trace
    from tests.place.windows import Judged

COLOURS = {
    Ours.name: "#1b6ca8", AlwaysBridge.name: "#7f8c8d", AlwaysCloud.name: "#c0392b", ConfidenceOnly.name: "#d4a72c",
    ORACLE: "#222222",
}  # fmt: skip
TIERS = {"cloud": "#1b6ca8", "bridge, after waiting": "#e67e22", "bridge at once": "#c8ced3"}
SHOWN = DEADLINES[0]  # s: the deadline of the panels
STEP = 4.0  # s of a bin
LEFT, WIDE, COLUMN, GAP = 96, 470, 610, 12  # px
LINK_HIGH, TIER_HIGH, SHARE_HIGH, MISSED_HIGH = 74, 34, 84, 84
FASTEST, SLOWEST = 0.01, 10.0  # s, of the logarithmic axis
MISSED = 60.0  # windows, where that axis ends
TOP = 196
LOST = "#c0392b"


class Strip(NamedTuple):
    """A strip of a panel: where it is, and from time and height to x and y."""

    x: float
    y: float
    high: float
    seconds: float

    def across(self, t: float) -> float:
        """X of a time."""
        return self.x + LEFT + WIDE * t / self.seconds

    def up(self, part: float) -> float:
        """Y of a height, 0 to 1; beyond that it stays within."""
        return self.y + self.high * (1.0 - min(1.0, max(0.0, part)))

    def line(self, points: Sequence[tuple[float, float]]) -> str:
        """Path through (time, height)."""
        return "M" + "L".join(f"{self.across(t):.1f} {self.up(part):.1f}" for t, part in points)

    def steps(self, heights: Sequence[float] | NDArray[np.float64], step: float) -> str:
        """Path of a height for each bin."""
        return "M" + "L".join(
            f"{self.across(min(at, self.seconds)):.1f} {self.up(float(part)):.1f}"
            for n, part in enumerate(heights)
            for at in (n * step, (n + 1) * step)
        )

    def frame(self, name: str, below: str, ticks: Mapping[str, float]) -> list[str]:
        """Name on the left, a line and a word on the right for each tick."""
        right, middle = self.x + LEFT + WIDE, self.y + self.high / 2
        return [
            text(self.x + LEFT - 8, middle, name, anchor="end"),
            text(self.x + LEFT - 8, middle + 14, below, anchor="end", colour="#777", size=10),
            *(
                f'<path d="M{self.x + LEFT} {self.up(part):.1f}H{right}" stroke="#e3e3e3"/>'
                + text(right + 4, self.up(part) + 4, label, colour="#777", size=10)
                for label, part in ticks.items()
            ),
        ]


def text(x: float, y: float, said: str, *, anchor: str = "start", colour: str = "#222", size: int = 12) -> str:
    """An SVG text."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{escape(said)}</text>'
    )


def picture(results: Results, links: Sequence[Trace], about: Mapping[str, str], judged: Judged) -> str:
    """The whole SVG."""
    high = LINK_HIGH + TIER_HIGH + SHARE_HIGH + MISSED_HIGH + 5 * GAP + 44
    parts = summary(results)
    for n, link in enumerate(links):
        x, y = 10 + COLUMN * (n % 2), TOP + high * (n // 2)
        parts += panel(results, link, about.get(link.name, ""), judged, x, y)
    wide, tall = 2 * COLUMN + 20, TOP + high * math.ceil(len(links) / 2) + 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{tall}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def summary(results: Results) -> list[str]:
    """A row of dots for each deadline, and what the colours mean."""
    parts = [
        text(10, 22, "Where to compute: windows answered right by their deadline", size=16),
        text(10, 40, f"all traces and orders of the windows; panels below: deadline {SHOWN:g} s", colour="#777"),
    ]
    for n, name in enumerate(NAMES):
        parts += _key(10 + 165 * n, 62, name, COLOURS[name])
    for n, (name, colour) in enumerate(TIERS.items()):
        parts += _key(10 + 165 * n, 82, f"answered by: {name}" if not n else name, colour)
    least = min(results.share(name, deadline) for name in NAMES for deadline in DEADLINES)
    floor = math.floor(10 * least) / 10
    for n, deadline in enumerate(DEADLINES):
        strip = Strip(10, 92 + 44 * n, 40, 1.0)
        parts.append(text(LEFT + 2, strip.y + 26, f"within {deadline:g} s", anchor="end"))
        parts += _dots({name: results.share(name, deadline) for name in NAMES}, floor, strip.y + 22)
    return parts


def _key(x: float, y: float, name: str, colour: str) -> list[str]:
    return [f'<rect x="{x}" y="{y - 9}" width="12" height="10" fill="{colour}"/>', text(x + 17, y, name)]


def _dots(shares: Mapping[str, float], floor: float, y: float) -> list[str]:
    """Dots on a line from `floor` to 1, each with its figure; labels that would meet go below."""
    begin, wide = LEFT + 14, 2 * COLUMN - LEFT - 80
    parts = [f'<path d="M{begin} {y}H{begin + wide}" stroke="#ddd"/>']
    parts += [text(begin - 2, y + 14, f"{floor:.0%}", colour="#777", size=10)]
    parts += [text(begin + wide, y + 14, "100%", colour="#777", size=10)]
    last = {True: -math.inf, False: -math.inf}
    for name, share in sorted(shares.items(), key=lambda one: one[1]):
        x = begin + wide * (share - floor) / (1.0 - floor)
        above = x - last[True] >= 44 or x - last[True] >= x - last[False]
        last[above] = x
        parts.append(f'<circle cx="{x:.1f}" cy="{y}" r="5" fill="{COLOURS[name]}"/>')
        said = f"{100 * share:.1f}"
        parts.append(text(x, y - 8 if above else y + 17, said, anchor="middle", colour=COLOURS[name], size=11))
    return parts


def panel(results: Results, link: Trace, about: str, judged: Judged, x: float, y: float) -> list[str]:
    """One trace: round trip, who answered the unsure windows, right in time, missed."""
    parts = [text(x, y + 12, f"{link.name}: {about}", size=12)]
    strips, at = [], y + 22
    for high in (LINK_HIGH, TIER_HIGH, SHARE_HIGH, MISSED_HIGH):
        strips.append(Strip(x, at, high, link.end))
        at += high + GAP
    told = {name: [one for g in results.of(name, SHOWN, link.name) for run in g for one in run.told] for name in NAMES}
    orders = len(results.of(ORACLE, SHOWN, link.name))
    parts += _link(link, strips[0])
    parts += _tiers(told[Ours.name], judged, strips[1])
    parts += _shares(told, strips[2])
    parts += _missed(told, strips[3], orders)
    for t in range(0, math.floor(link.end) + 1, 20):
        parts.append(text(strips[3].across(t), at + 2, f"{t} s" if t else "0", anchor="middle", colour="#777", size=10))
    return parts


def _height(seconds: float) -> float:
    within = min(max(seconds, FASTEST), SLOWEST)
    return math.log(within / FASTEST) / math.log(SLOWEST / FASTEST)


def _link(link: Trace, strip: Strip) -> list[str]:
    """A dot a question; red from top to bottom where it was lost."""
    dots = "".join(
        f"M{strip.across(one.t):.1f} {strip.up(_height(one.took)):.1f}h1.2"
        for one in link.samples
        if math.isfinite(one.took)
    )
    gone = "".join(f"M{strip.across(one.t):.1f} {strip.y}v{strip.high}" for one in link.samples if math.isinf(one.took))
    ticks = {"10 s": _height(10), "1 s": _height(1), "0.1 s": _height(0.1), "10 ms": 0.0}
    limit = f'<path d="{strip.line([(0, _height(SHOWN)), (strip.seconds, _height(SHOWN))])}" stroke="#222" '
    return [
        *strip.frame("round trip", "red: lost", ticks), limit + 'stroke-dasharray="4 3" stroke-width="0.8"/>',
        f'<path d="{gone}" stroke="{LOST}" stroke-width="1" opacity="0.5"/>',
        f'<path d="{dots}" stroke="#555" stroke-width="1.4"/>',
    ]  # fmt: skip


def _binned(told: Sequence[Told], of: Callable[[Told], bool], seconds: float) -> NDArray[np.float64]:
    """Share of the windows of each bin of which something is true; NaN where a bin has none."""
    bins = math.ceil(seconds / STEP)
    count, true = np.zeros(bins), np.zeros(bins)
    for one in told:
        place = min(bins - 1, int(one.at / STEP))
        count[place] += 1
        true[place] += of(one)
    return np.where(count > 0, true / np.maximum(count, 1), math.nan)


def _tiers(told: Sequence[Told], judged: Judged, strip: Strip) -> list[str]:
    """Bars: who answered the windows that the bridge was unsure of."""
    below = judged.bridge.below or 0.0
    unsure = [one for one in told if judged.small.certainty[one.window] < below]
    cloud = _binned(unsure, lambda one: one.tier == "cloud", strip.seconds)
    waited = _binned(unsure, lambda one: one.asked, strip.seconds)
    parts = []
    for n, (answered, sent) in enumerate(zip(cloud.tolist(), waited.tolist(), strict=True)):
        begin, end = strip.across(n * STEP), strip.across(min((n + 1) * STEP, strip.seconds))
        if math.isnan(answered):
            continue
        edges = (0.0, answered, sent, 1.0)
        for low, high, colour in zip(edges, edges[1:], TIERS.values(), strict=False):
            if high > low:
                top, bottom = strip.up(high), strip.up(low)
                parts.append(
                    f'<rect x="{begin:.1f}" y="{top:.1f}" width="{end - begin - 0.6:.1f}" '
                    f'height="{bottom - top:.1f}" fill="{colour}"/>'
                )
    return [*parts, *strip.frame("unsure", "ours: by whom", {"100%": 1.0, "0": 0.0})]


def _shares(told: Mapping[str, Sequence[Told]], strip: Strip) -> list[str]:
    """A line a policy: right in time, by bin."""
    paths = []
    for name in reversed(NAMES):
        of = _binned(told[name], lambda one: one.right and one.latency <= SHOWN, strip.seconds)
        wide = 2.2 if name == Ours.name else 1.1
        paths.append(
            f'<path d="{strip.steps(np.nan_to_num(of), STEP)}" fill="none" stroke="{COLOURS[name]}" '
            f'stroke-width="{wide}"/>'
        )
    return [*strip.frame("right in time", f"by {STEP:g} s", {"100%": 1.0, "50%": 0.5, "0": 0.0}), *paths]


def _missed(told: Mapping[str, Sequence[Told]], strip: Strip, orders: int) -> list[str]:
    """A line a policy: what the oracle got right in time and it did not, added up; mean of the orders."""
    paths = []
    times = np.array([one.at for one in told[ORACLE]])
    order = np.argsort(times, kind="stable")
    best = np.array([one.right and one.latency <= SHOWN for one in told[ORACLE]])
    for name in reversed(NAMES[:-1]):
        got = np.array([one.right and one.latency <= SHOWN for one in told[name]])
        total = np.cumsum((best & ~got)[order]) / orders
        points = [(float(times[order[n]]), float(total[n]) / MISSED) for n in range(0, len(order), 15)]
        wide = 2.2 if name == Ours.name else 1.1
        paths.append(f'<path d="{strip.line(points)}" fill="none" stroke="{COLOURS[name]}" stroke-width="{wide}"/>')
        if total[-1] > MISSED:
            out = next(t for t, part in points if part > 1.0)
            paths.append(
                text(strip.across(out) + 3, strip.y + 10, f"to {total[-1]:.0f}", colour=COLOURS[name], size=10)
            )
    ticks = {f"{MISSED:.0f}": 1.0, f"{MISSED / 2:.0f}": 0.5, "0": 0.0}
    return [*strip.frame("missed", "of oracle's", ticks), *paths]
