"""The picture of a scenario: above what the link did, below how fresh the messages were, and by which profile."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from tests.netlab.model import faded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.netlab.lab import Outcome
    from tests.netlab.model import Stage
    from tests.netlab.scenarios import Scenario

LEFT, WIDE, GAP = 120, 860, 14
LINK_HIGH, FRESH_HIGH, BAND_HIGH = 44, 90, 16
FRESHEST, STALEST = 1.0, 100_000.0  # ms, of the logarithmic axis
COLOURS = ("#2f7ed8", "#d4a72c", "#8e44ad", "#27ae60", "#c0392b", "#16a085", "#7f8c8d", "#e67e22")
UNLIMITED = 1e6  # kbit/s, to draw
GONE, HELD, LOST = "#444", "#bbb", "#c0392b"


class Strip(NamedTuple):
    """A quantity of the link.

    Attributes:
        name: beside it.
        of: its value in a stage.
        text: of a value.
        colour: of its line.
        least: where its logarithmic axis begins; 0: the axis is linear.
    """

    name: str
    of: Callable[[Stage], float]
    text: Callable[[float], str]
    colour: str
    least: float = 0.0

    def lift(self, value: float, most: float) -> float:
        """Height of a value, 0 to 1, on an axis up to `most`."""
        if self.least:
            return math.log(max(value, self.least) / self.least) / math.log(most / self.least)
        return value / most if most else 0.0


def _kbit(stage: Stage) -> float:
    return UNLIMITED if stage.up.rate is None else stage.up.rate / 1e3


STRIPS = (
    Strip("RTT", lambda stage: 1e3 * (stage.up.delay + stage.down.delay), lambda ms: f"{ms:.0f} ms", "#2f7ed8"),
    Strip("loss up", lambda stage: 100 * stage.up.loss, lambda percent: f"{percent:.1f} %", LOST),
    Strip("rate up", _kbit, lambda kbit: f"{kbit:,.0f} kbit/s", "#27ae60", least=1.0),
)


def picture(scenario: Scenario, outcomes: Sequence[Outcome]) -> str:
    """An SVG of runs of one scenario and one seed, one for each contestant."""
    seconds = max(len(one.worst) for one in outcomes)
    scale = WIDE / seconds
    seed = outcomes[0].seed
    parts = [f'<text x="10" y="20" font-weight="bold">{escape(scenario.name)}: {escape(scenario.about)}</text>']
    parts.append(f'<text x="10" y="36" fill="#666">seed {seed}; time in s; dark: link gone, grey: held or faded</text>')
    y = top = 46
    for strip in STRIPS:
        parts += _strip(strip, scenario.stages, seconds, y)
        y += LINK_HIGH + GAP
    shades = _shades(scenario.stages, seed, seconds)
    for one in outcomes:
        parts += _freshness(one, scale, y)
        y += FRESH_HIGH + GAP
        if one.switches:
            parts += _profiles(one, scale, seconds, y - GAP)
            y += BAND_HIGH
    behind = [
        f'<rect x="{LEFT + begin * scale:.1f}" y="{top}" width="{max(0.6, (end - begin) * scale):.1f}" '
        f'height="{y - top - GAP}" fill="{colour}" opacity="0.35"/>'
        for begin, end, colour in shades
    ]  # fmt: skip
    parts += _axis(seconds, scale, y)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDE + 90}" height="{y + 24}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(behind)}{''.join(parts)}</svg>\n"
    )


def _spans(stages: Sequence[Stage], seconds: float) -> Iterable[tuple[float, float, Stage]]:
    ends = [*(stage.at for stage in stages[1:]), math.inf]
    return [(s.at, min(end, seconds), s) for s, end in zip(stages, ends, strict=True) if s.at < seconds]


def _shades(stages: Sequence[Stage], seed: int, seconds: float) -> list[tuple[float, float, str]]:
    """Outages, gaps and fades: begin, end, colour."""
    spans = _spans(stages, seconds)
    return [
        *((begin, end, GONE) for begin, end, stage in spans if stage.up.outage),
        *((begin, end, HELD) for begin, end, stage in spans if stage.up.rate == 0),
        *((begin, end, HELD) for begin, end in faded(stages, seed, seconds)),
    ]


def _strip(strip: Strip, stages: Sequence[Stage], seconds: float, y: float) -> list[str]:
    """A step line up to the greatest value."""
    spans = list(_spans(stages, seconds))
    most = max(strip.of(stage) for *_, stage in spans)
    high = LINK_HIGH - 4
    x = LEFT + WIDE
    tops = [y + LINK_HIGH - strip.lift(strip.of(stage), most) * high for *_, stage in spans]
    path = "".join(
        f"{'L' if n else 'M'}{LEFT + begin * WIDE / seconds:.1f} {tops[n]:.1f}H{LEFT + end * WIDE / seconds:.1f}"
        for n, (begin, end, _) in enumerate(spans)
    )
    return [
        f'<text x="{LEFT - 8}" y="{y + LINK_HIGH / 2 + 4}" text-anchor="end">{strip.name}</text>',
        f'<path d="M{LEFT} {y + LINK_HIGH}H{x}" stroke="#ddd"/>',
        f'<path d="{path}" fill="none" stroke="{strip.colour}" stroke-width="1.5"/>',
        f'<text x="{x + 6}" y="{y + 10}" fill="#666">{strip.text(most)}</text>',
        f'<text x="{x + 6}" y="{y + LINK_HIGH}" fill="#666">{strip.text(strip.least)}</text>',
    ]


def _freshness(one: Outcome, scale: float, y: float) -> list[str]:
    """A bar for each second up to its latest message, in red to the top where one never came."""
    bars, never = [], []
    for second, worst in enumerate(one.worst):
        x = LEFT + second * scale
        if worst is None:
            never.append(f"M{x:.1f} {y}V{y + FRESH_HIGH}h{scale:.1f}V{y}z")
        elif worst > 0:
            bars.append(f"M{x:.1f} {y + FRESH_HIGH}V{y + _height(worst):.1f}h{scale:.1f}V{y + FRESH_HIGH}z")
    ticks = [
        f'<path d="M{LEFT} {y + _height(ms):.1f}H{LEFT + WIDE}" stroke="#ddd"/>'
        f'<text x="{LEFT + WIDE + 6}" y="{y + _height(ms) + 4:.1f}" fill="#666">{name}</text>'
        for ms, name in ((10, "10 ms"), (100, "100 ms"), (1_000, "1 s"), (10_000, "10 s"))
    ]
    return [
        *ticks,
        f'<text x="{LEFT - 8}" y="{y + 40}" text-anchor="end" font-weight="bold">{escape(one.contestant)}</text>',
        f'<text x="{LEFT - 8}" y="{y + 56}" text-anchor="end" fill="#666">{one.rate:.3g} messages/s</text>',
        f'<text x="{LEFT - 8}" y="{y + 72}" text-anchor="end" fill="#666">latest of a second</text>',
        f'<path d="{"".join(bars)}" fill="#2f7ed8"/>',
        f'<path d="{"".join(never)}" fill="{LOST}"/>',
    ]


def _height(ms: float) -> float:
    """From the top of the strip, logarithmic."""
    within = min(max(ms, FRESHEST), STALEST)
    return FRESH_HIGH * (1 - math.log(within / FRESHEST) / math.log(STALEST / FRESHEST))


def _profiles(one: Outcome, scale: float, seconds: float, y: float) -> list[str]:
    """A band in a colour for each profile, with its name, and the reason as the tooltip."""
    names = list(dict.fromkeys(switch.profile for switch in one.switches))
    ends = [*(switch.t for switch in one.switches[1:]), seconds]
    parts = [f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end" fill="#666">profile</text>']
    for switch, end in zip(one.switches, ends, strict=True):
        begin = max(0.0, switch.t)
        x, width = LEFT + begin * scale, max(0.0, min(end, seconds) - begin) * scale
        colour = COLOURS[names.index(switch.profile) % len(COLOURS)]
        label = switch.profile if width > 7 * len(switch.profile) else ""
        parts.append(
            f'<g><title>{begin:.1f} s: {escape(switch.profile)}: {escape(switch.reason)}</title>'
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAND_HIGH - 2}" fill="{colour}"/>'
            f'<text x="{x + 3:.1f}" y="{y + 11}" fill="white" font-size="11">{escape(label)}</text></g>'
        )  # fmt: skip
    return parts


def _axis(seconds: float, scale: float, y: float) -> list[str]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000) if seconds / step <= 16)
    return [
        f'<text x="{LEFT + at * scale:.1f}" y="{y + 6}" text-anchor="middle" fill="#666">{at}</text>'
        for at in range(0, math.ceil(seconds) + 1, step)
    ]
