"""A picture of a link over time, strip below strip: what it did, how fresh messages were, which profile carried them.

Knows nothing of where the figures come from, so the demo and others who show a link can draw alike.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LEFT, WIDE, RIGHT, GAP = 130, 860, 90, 14
LINK_HIGH, BARS_HIGH, BAND_HIGH = 44, 90, 16
FRESHEST, STALEST = 1.0, 100_000.0  # ms, of the logarithmic axis
COLOURS = ("#2f7ed8", "#d4a72c", "#8e44ad", "#27ae60", "#c0392b", "#16a085", "#7f8c8d", "#e67e22")
BLUE, GREEN, RED, GREY = "#2f7ed8", "#27ae60", "#c0392b", "#666"
LETTER = 6.2  # width at 11 px, on average


class Strip(NamedTuple):
    """An axis for a quantity of the link.

    Attributes:
        name: beside it.
        text: of a value.
        colour: of its line.
        least: where its logarithmic axis begins; 0: the axis is linear.
    """

    name: str
    text: Callable[[float], str]
    colour: str
    least: float = 0.0

    def lift(self, value: float, most: float) -> float:
        """Height of a value, 0 to 1, on an axis up to `most`."""
        if self.least:
            top = max(most / self.least, 1.0 + 1e-9)
            return math.log(max(value, self.least) / self.least) / math.log(top)
        return value / most if most else 0.0


class Span(NamedTuple):
    """Something that lasts: seconds, what it is called, and why."""

    begin: float
    end: float
    name: str
    reason: str = ""


class Sheet:
    """Grows downwards, one strip after the other.

    Args:
        seconds: how much time it shows.
        title: in bold.
        about: below, in grey.
    """

    def __init__(self, seconds: float, title: str, about: str) -> None:
        self._seconds = max(seconds, 1e-3)
        self._scale = WIDE / self._seconds
        self._parts = [_text(10, 20, title, weight="bold"), _text(10, 36, about, fill=GREY)]
        self._behind: list[tuple[float, float, str]] = []
        self._top = self._y = 46.0

    def names(self, spans: Sequence[Span]) -> None:
        """A line of names, each where its span begins."""
        for span in spans:
            x = self._x(span.begin)
            self._parts.append(f'<path d="M{x:.1f} {self._y:.1f}v16" stroke="{GREY}"/>')
            self._parts.append(_text(x + 4, self._y + 12, span.name, weight="bold"))
        self._y += 22

    def shade(self, begin: float, end: float, colour: str) -> None:
        """A time, coloured behind everything."""
        self._behind.append((begin, end, colour))

    def strip(self, strip: Strip, values: Sequence[tuple[float, float, float | None]]) -> None:
        """A step line, up to the greatest value.

        Args:
            strip: its axis.
            values: begin and end, s, and the value between; None breaks the line.
        """
        known = [(begin, end, value) for begin, end, value in values if value is not None]
        most = max((value for *_, value in known), default=strip.least)
        base, high, right = self._y + LINK_HIGH, LINK_HIGH - 4, LEFT + WIDE
        path, drawn = "", -1.0
        for begin, end, value in known:
            pen = "L" if begin == drawn else "M"
            path += f"{pen}{self._x(begin):.1f} {base - strip.lift(value, most) * high:.1f}H{self._x(end):.1f}"
            drawn = end
        self._parts += [
            _text(LEFT - 8, self._y + LINK_HIGH / 2 + 4, strip.name, anchor="end"),
            f'<path d="M{LEFT} {base:.1f}H{right}" stroke="#ddd"/>',
            f'<path d="{path}" fill="none" stroke="{strip.colour}" stroke-width="1.5"/>',
            _text(right + 6, self._y + 10, strip.text(most), fill=GREY),
            _text(right + 6, base, strip.text(strip.least), fill=GREY),
        ]
        self._y = base + GAP

    def freshness(self, labels: Sequence[str], worst: Sequence[float | None], wanted: float = 0.0) -> None:
        """A bar for each second up to its latest message, in red to the top where one never came.

        Args:
            labels: beside it, the first in bold.
            worst: ms by second; None for one that never came, 0 where there was none.
            wanted: ms, a dashed line; 0: none.
        """
        floor, roof = self._y + BARS_HIGH, self._y
        wide = self._scale
        bars, never = [], []
        for second, ms in enumerate(worst):
            x = self._x(second)
            if ms is None:
                never.append(f"M{x:.1f} {roof:.1f}V{floor:.1f}h{wide:.1f}V{roof:.1f}z")
            elif ms > 0:
                bars.append(f"M{x:.1f} {floor:.1f}V{roof + _height(ms):.1f}h{wide:.1f}V{floor:.1f}z")
        for ms, name in ((10, "10 ms"), (100, "100 ms"), (1_000, "1 s"), (10_000, "10 s")):
            y = roof + _height(ms)
            self._parts.append(f'<path d="M{LEFT} {y:.1f}H{LEFT + WIDE}" stroke="#ddd"/>')
            self._parts.append(_text(LEFT + WIDE + 6, y + 4, name, fill=GREY))
        for n, label in enumerate(labels):
            weight, fill = ("bold", "black") if n == 0 else ("normal", GREY)
            self._parts.append(_text(LEFT - 8, roof + 40 + 16 * n, label, anchor="end", weight=weight, fill=fill))
        self._parts += [f'<path d="{"".join(bars)}" fill="{BLUE}"/>', f'<path d="{"".join(never)}" fill="{RED}"/>']
        if wanted:
            y = roof + _height(wanted)
            self._parts.append(f'<path d="M{LEFT} {y:.1f}H{LEFT + WIDE}" stroke="black" stroke-dasharray="5 4"/>')
        self._y = floor + GAP

    def band(self, label: str, spans: Sequence[Span]) -> None:
        """A colour for each name; the reason is the tooltip. A name without room in its span is written below it."""
        colours = {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(dict.fromkeys(one.name for one in spans))}
        self._parts.append(_text(LEFT - 8, self._y + 12, label, anchor="end", fill=GREY))
        narrow = False
        for span in spans:
            x, wide = self._x(span.begin), self._x(span.end) - self._x(span.begin)
            fits = wide > LETTER * len(span.name) + 6
            narrow = narrow or not fits
            name = _text(x + 3, self._y + 11 + (0 if fits else BAND_HIGH), span.name, size=11,
                         fill="white" if fits else colours[span.name])  # fmt: skip
            self._parts.append(
                f"<g><title>{span.begin:.1f} s: {escape(span.name)}: {escape(span.reason)}</title>"
                f'<rect x="{x:.1f}" y="{self._y:.1f}" width="{max(wide, 0.5):.1f}" height="{BAND_HIGH - 2}" '
                f'fill="{colours[span.name]}"/>{name}</g>'
            )
        self._y += BAND_HIGH * (2 if narrow else 1) + 4

    def svg(self) -> str:
        """The whole picture."""
        shades = [
            f'<rect x="{self._x(begin):.1f}" y="{self._top:.1f}" width="{self._x(end) - self._x(begin):.1f}" '
            f'height="{self._y - self._top:.1f}" fill="{colour}" opacity="0.35"/>'
            for begin, end, colour in self._behind
        ]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDE + RIGHT}" height="{self._y + 28:.0f}" '
            f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
            f"{''.join(shades)}{''.join(self._parts)}{self._axis()}</svg>\n"
        )

    def _axis(self) -> str:
        step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10_000) if self._seconds / step <= 30)
        ticks = range(0, int(self._seconds) + 1, step)
        return "".join(_text(self._x(at), self._y + 14, f"{at} s", anchor="middle", fill=GREY) for at in ticks)

    def _x(self, at: float) -> float:
        return LEFT + min(max(at, 0.0), self._seconds) * self._scale


def _height(ms: float) -> float:
    """From the top of the strip, logarithmic."""
    within = min(max(ms, FRESHEST), STALEST)
    return BARS_HIGH * (1 - math.log(within / FRESHEST) / math.log(STALEST / FRESHEST))


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", fill: str = "black", size: int = 12
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{fill}" '
        f'font-size="{size}">{escape(text)}</text>'
    )
