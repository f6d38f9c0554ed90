"""Strips of an SVG over one time axis: lines, steps and bars at heights between two values."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LEFT, WIDE, RIGHT = 132, 880, 140  # px: names, the time axis, ticks and figures
GREY, RULE = "#6b7280", "#e5e7eb"
LETTER = 6.2  # px, about, at size 11


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
