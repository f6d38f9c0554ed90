"""A picture of a link over time: strips of an SVG over one time axis, with lines, steps, bars and bands of profiles.

Knows nothing of where figures come from: the demo and the network laboratory draw alike with it.
"""

from __future__ import annotations

import math
import textwrap
from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

LEFT, WIDE, RIGHT = 132, 880, 140  # px: names, the time axis, ticks and figures
GREY, RULE = "#6b7280", "#e5e7eb"
LETTER = 6.2  # px, about, at size 11
LINK_HIGH, FRESH_HIGH, BAND_HIGH, BYTES_HIGH, GAP = 46, 62, 20, 60, 16  # px
TRUTH, TRUTH_FILL = "#64748b", "#dbe4ee"
GONE, HELD, LOST, WISHED = "#1f2937", "#9ca3af", "#dc2626", "#15803d"
SHADE = {GONE: 0.25, HELD: 0.5}
PROFILES = ("#1d4ed8", "#0f766e", "#a16207", "#9333ea", "#be185d", "#4d7c0f", "#0369a1", "#7f1d1d")
UNLIMITED = 1e5  # kbit/s, to draw
SLOWEST = 10.0  # kbit/s, at the bottom
TOLD, LETTERS = 12, 168  # switches in words, letters a line


def text(
    x: float, y: float, said: str, *, anchor: str = "start", colour: str = "#111827", size: int = 12, bold: bool = False
) -> str:
    """An SVG text."""
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}"{weight}>'
        f"{escape(said)}</text>"
    )


def path(d: str, colour: str, *, width: float = 1.5, dash: str = "") -> str:
    """A line."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="{width}"{dashed} stroke-linejoin="round"/>'


def area(d: str, colour: str) -> str:
    """A filled shape."""
    return f'<path d="{d}" fill="{colour}"/>' if d else ""


def box(x: float, y: float, wide: float, high: float, colour: str, *, opacity: float = 1.0) -> str:
    """A filled rectangle."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}" fill="{colour}" opacity="{opacity}"/>'


class Strip(NamedTuple):
    """One quantity over time.

    Attributes:
        y: px of its top.
        high: px.
        seconds: of the time axis.
        least: value at the bottom.
        most: at the top; what lies beyond stays within.
        log: the axis is logarithmic; `least` is then above 0.
    """

    y: float
    high: float
    seconds: float
    least: float
    most: float
    log: bool = False

    @property
    def bottom(self) -> float:
        """Y of the least value."""
        return self.y + self.high

    def across(self, t: float) -> float:
        """X of a time."""
        return LEFT + WIDE * min(max(t, 0.0), self.seconds) / self.seconds

    def up(self, value: float) -> float:
        """Y of a value."""
        within = min(max(value, self.least), self.most)
        if self.log:
            share = math.log(within / self.least) / math.log(self.most / self.least)
        else:
            share = (within - self.least) / (self.most - self.least)
        return self.bottom - self.high * share

    def frame(self, name: str, below: Sequence[str], ticks: Mapping[float, str]) -> list[str]:
        """Name and words on the left, a rule and a word on the right for each tick."""
        middle = self.y + self.high / 2 - 6 * len(below)
        parts = [text(LEFT - 10, middle + 4, name, anchor="end", bold=True)]
        parts += [
            text(LEFT - 10, middle + 18 + 13 * n, one, anchor="end", colour=GREY, size=11)
            for n, one in enumerate(below)
        ]
        for value, label in ticks.items():
            y = self.up(value)
            parts.append(path(f"M{LEFT} {y:.1f}H{LEFT + WIDE}", RULE, width=1))
            parts.append(text(LEFT + WIDE + 6, y + 4, label, colour=GREY, size=11))
        return parts

    def steps(self, spans: Iterable[tuple[float, float, float]]) -> str:
        """Path of a value from each begin to its end; neighbours are joined."""
        d, last = "", -math.inf
        for begin, end, value in spans:
            d += f"{'L' if begin == last else 'M'}{self.across(begin):.1f} {self.up(value):.1f}H{self.across(end):.1f}"
            last = end
        return d

    def under(self, spans: Iterable[tuple[float, float, float]]) -> str:
        """Path of what lies under each value."""
        return "".join(
            f"M{self.across(begin):.1f} {self.bottom:.1f}V{self.up(value):.1f}"
            f"H{self.across(end):.1f}V{self.bottom:.1f}z"
            for begin, end, value in spans
        )

    def points(self, points: Iterable[tuple[float, float | None]], *, most_gap: float) -> str:
        """Path through (time, value); broken where there is none, or where one comes so many seconds later."""
        d, last = "", -math.inf
        for t, value in points:
            if value is None:
                last = -math.inf
                continue
            d += f"{'L' if t - last <= most_gap else 'M'}{self.across(t):.1f} {self.up(value):.1f}"
            last = t
        return d


class Quantity(NamedTuple):
    """An axis for a quantity of the link, its words, and how a value is written."""

    name: str
    below: tuple[str, ...]
    label: Callable[[float], str]
    least: float = 0.0

    def strip(self, y: float, seconds: float, most: float) -> Strip:
        """Up to a round value above the greatest, `most`; logarithmic where the least is above 0."""
        log = self.least > 0
        top = 10 ** math.ceil(math.log10(2 * most)) if log else round_up(1.3 * most)
        return Strip(y, LINK_HIGH, seconds, self.least, top, log=log)

    def truth(self, strip: Strip, spans: Sequence[tuple[float, float, float]]) -> list[str]:
        """What the link did, as a filled step."""
        ticks = {strip.most: self.label(strip.most), strip.least: self.label(strip.least)}
        return [
            *strip.frame(self.name, self.below, ticks),
            area(strip.under(spans), TRUTH_FILL),
            path(strip.steps(spans), TRUTH),
        ]


def _rate(kbit: float) -> str:
    return f"{kbit:g} kbit/s" if kbit < 1_000 else f"{kbit / 1e3:g} Mbit/s"


ROUND_TRIP = Quantity("round trip", ("propagation",), lambda ms: f"{ms:g} ms")
LOSS = Quantity("loss", ("each way",), lambda percent: f"{percent:g} %")
RATE = Quantity("rate", ("up",), _rate, SLOWEST)


class Use(NamedTuple):
    """A profile in use: from when to when, s, and why."""

    begin: float
    end: float
    profile: str
    reason: str


def colours(profiles: Iterable[str]) -> dict[str, str]:
    """The same for the same profile, whoever uses it."""
    return {name: PROFILES[n % len(PROFILES)] for n, name in enumerate(dict.fromkeys(profiles))}


def band(uses: Sequence[Use], tints: Mapping[str, str], seconds: float, y: float, *, numbered: bool) -> list[str]:
    """The profiles in use, with names where there is room; the reason is the tooltip, and `numbered` in `reasons`."""
    strip = Strip(y, BAND_HIGH, seconds, 0.0, 1.0)
    parts = [text(LEFT - 10, y + 13, "profile", anchor="end", colour=GREY, size=11)]
    for n, use in enumerate(uses):
        x = strip.across(use.begin)
        wide = strip.across(use.end) - x
        number = f"{n} " if n and numbered else ""
        label = next((said for said in (number + use.profile, number) if len(said) * LETTER + 8 < wide), "")
        parts.append(
            f"<g><title>{max(0.0, use.begin):.1f} s: {escape(use.profile)}: {escape(use.reason)}</title>"
            f"{box(x, y, max(wide - 1, 0.5), BAND_HIGH - 2, tints[use.profile])}"
            f"{text(x + 4, y + 13, label, colour='white', size=11)}</g>"
        )
    return parts


def reasons(uses: Iterable[Use], y: float) -> tuple[list[str], float]:
    """Why each profile was chosen, in words, by number; and where that ends."""
    lines = []
    for n, use in enumerate(uses):
        if n > TOLD:
            lines.append("… more in report.json")
            break
        name = "start" if n == 0 else f"switch {n}"
        lines += textwrap.wrap(f"{name}, {max(0.0, use.begin):.1f} s: {use.reason}", LETTERS, subsequent_indent="    ")
    return [text(12, y + 15 * n, line, size=11) for n, line in enumerate(lines)], y + 15 * len(lines)


def legend(keys: Iterable[tuple[str, str]]) -> list[str]:
    """What colours mean."""
    parts, x = [], 10.0
    for colour, said in keys:
        parts += [
            box(x, 42, 14, 10, colour, opacity=SHADE.get(colour, 1.0)),
            text(x + 19, 51, said, size=11, colour=GREY),
        ]
        x += 42 + 6.0 * len(said)
    return parts


def shades(spans: Iterable[tuple[float, float, str]], seconds: float, top: float, y: float) -> list[str]:
    """Times behind all strips: begin, end, and a colour of `SHADE`."""
    strip = Strip(top, y - top, seconds, 0.0, 1.0)
    parts = []
    for begin, end, colour in spans:
        x = strip.across(begin)
        parts.append(box(x, top, max(0.8, strip.across(end) - x), y - top, colour, opacity=SHADE[colour]))
    return parts


def freshness_ends(every: Sequence[float], least: Sequence[float]) -> tuple[float, float]:
    """Of an axis for all of `every`, the least of `least` at its bottom, ms: powers of ten, at least two apart."""
    below = max(0, math.floor(math.log10(min(least))))
    return 10.0**below, 10.0 ** max(below + 2, math.ceil(math.log10(max(every))))


def freshness_ticks(strip: Strip) -> dict[float, str]:
    """For an axis from `freshness_ends`."""
    powers = range(round(math.log10(strip.least)), round(math.log10(strip.most)) + 1)
    return {10.0**n: f"{10**n} ms" if n < 3 else f"{10 ** (n - 3)} s" for n in powers}


def wished(strip: Strip, ms: float) -> list[str]:
    """The freshness wished for, and the floor."""
    return [
        path(f"M{LEFT} {strip.up(ms):.1f}H{LEFT + WIDE}", WISHED, width=1.2, dash="5 3"),
        path(f"M{LEFT} {strip.bottom:.1f}H{LEFT + WIDE}", HELD, width=1),
    ]


def round_up(value: float) -> float:
    """The next 1, 2, 3, 4, 5 or 8 of a power of ten."""
    if value <= 0:
        return 5.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(power * digit for digit in (1, 2, 3, 4, 5, 8, 10) if power * digit >= value * (1 - 1e-9))


def by_second(values: Iterable[float]) -> list[tuple[float, float, float]]:
    """Spans of one second each."""
    return [(float(n), float(n + 1), value) for n, value in enumerate(values)]


def axis(seconds: float, top: float, y: float) -> list[str]:
    """Times under all strips, and a rule for each from `top` down."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000) if seconds / step <= 16)
    parts = []
    for at in range(0, math.ceil(seconds) + 1, step):
        x = LEFT + WIDE * min(at / seconds, 1.0)
        parts.append(path(f"M{x:.1f} {top}V{y}", RULE, width=1))
        parts.append(text(x, y + 14, f"{at} s" if at == 0 else str(at), anchor="middle", colour=GREY, size=11))
    return parts


def document(wide: float, high: float, parts: Iterable[str]) -> str:
    """The whole SVG on white."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{high:.0f}" '
        f'viewBox="0 0 {wide:.0f} {high:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )
