"""The picture of a scenario: what the link did and what ours believed, how fresh each contestant's messages were and by
which profile, what that was worth and what it cost, over one time axis.
"""

from __future__ import annotations

import math
import textwrap
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from tests.netlab import drawing
from tests.netlab.drawing import GREY, LEFT, RIGHT, WIDE, Strip, area, box, path, text
from tests.netlab.model import faded
from tests.netlab.ours import wish
from tests.netlab.results import ORACLE, OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.netlab.lab import Look, Outcome, Switch
    from tests.netlab.model import Stage
    from tests.netlab.scenarios import Scenario

LINK_HIGH, FRESH_HIGH, BAND_HIGH, UTILITY_HIGH, BYTES_HIGH, GAP = 46, 62, 20, 84, 60, 16  # px
TRUTH, TRUTH_FILL, BELIEVED = "#64748b", "#dbe4ee", "#ea580c"
GONE, HELD, LOST, WISHED = "#1f2937", "#9ca3af", "#dc2626", "#15803d"
SHADE = {GONE: 0.25, HELD: 0.5}
BY = {OURS: "#1d4ed8", ORACLE: "#111827", "mqtt": "#b45309", "coap": "#7c3aed"}
PALE = {OURS: "#bfdbfe", ORACLE: "#d1d5db", "mqtt": "#fde3c0", "coap": "#e0d4fd"}
PROFILES = ("#1d4ed8", "#0f766e", "#a16207", "#9333ea", "#be185d", "#4d7c0f", "#0369a1", "#7f1d1d")
UNLIMITED = 1e5  # kbit/s, to draw
SLOWEST = 10.0  # kbit/s, at the bottom
SILENT = 2.0  # s between two looks that are not joined
TOLD, LETTERS = 12, 168  # switches in words below, letters a line


class Quantity(NamedTuple):
    """Of the link: its truth in a stage, and what a look believes."""

    name: str
    below: tuple[str, ...]
    of: Callable[[Stage], float]
    believed: Callable[[Look], float | None]
    label: Callable[[float], str]
    least: float = 0.0


def _kbit(stage: Stage) -> float:
    return UNLIMITED if stage.up.rate is None else min(stage.up.rate / 1e3, UNLIMITED)


def _loss(stage: Stage) -> float:
    return 100 * (stage.up.loss + (stage.up.fades.share if stage.up.fades else 0.0))


def _rate(kbit: float) -> str:
    return f"{kbit:g} kbit/s" if kbit < 1_000 else f"{kbit / 1e3:g} Mbit/s"


QUANTITIES = (
    Quantity(
        "round trip", ("propagation",), lambda stage: 1e3 * (stage.up.delay + stage.down.delay),
        lambda look: 1e3 * look.rtt, lambda ms: f"{ms:g} ms",
    ),
    Quantity("loss", ("each way",), _loss, lambda look: 100 * look.loss, lambda percent: f"{percent:g} %"),
    Quantity(
        "rate", ("up",), _kbit, lambda look: None if look.goodput is None else look.goodput / 125, _rate, SLOWEST
    ),
)  # fmt: skip


def picture(scenario: Scenario, outcomes: Sequence[Outcome]) -> str:
    """An SVG of runs of one scenario and one seed, one for each contestant."""
    runs = sorted(outcomes, key=lambda one: list(BY).index(one.contestant) if one.contestant in BY else len(BY))
    seconds = float(max(1, *(len(one.worst) for one in runs)))
    parts = _head(scenario, runs)
    y = top = 78.0
    looks = next((one.looks for one in runs if one.contestant == OURS), [])
    for quantity in QUANTITIES:
        parts += _link(quantity, scenario.stages, looks, _axis(quantity, scenario.stages, seconds, y))
        y += LINK_HIGH + GAP
    colours, ends = _colours(runs), _ends(runs)
    for one in runs:
        parts += _freshness(one, wish(scenario), Strip(y, FRESH_HIGH, seconds, *ends, log=True))
        y += FRESH_HIGH + GAP
        if one.switches:
            parts += _profiles(one, colours, seconds, y - GAP + 4)
            y += BAND_HIGH + 4
    parts += _utility(runs, Strip(y, UTILITY_HIGH, seconds, -0.5, 1.0))
    y += UTILITY_HIGH + GAP
    parts += _bytes(runs, seconds, y)
    y += BYTES_HIGH + 4
    behind = drawing.axis(seconds, top, y)
    strip = Strip(top, y - top, seconds, 0.0, 1.0)
    for begin, end, colour in _shades(scenario.stages, runs[0].seed, seconds):
        x = strip.across(begin)
        behind.append(box(x, top, max(0.8, strip.across(end) - x), y - top, colour, opacity=SHADE[colour]))
    told, y = _reasons(runs, y + 38)
    return drawing.document(LEFT + WIDE + RIGHT, y, [*behind, *parts, *told])


def _head(scenario: Scenario, runs: Sequence[Outcome]) -> list[str]:
    """What it is, and what lines and colours mean."""
    parts = [
        text(10, 22, scenario.name, size=17, bold=True),
        text(20 + 11 * len(scenario.name), 22, f"{scenario.about}; seed {runs[0].seed}", colour=GREY),
    ]
    x = 10.0
    keys = (
        (TRUTH_FILL, "the link"), (BELIEVED, "as ours estimates it"), (GONE, "gone"), (HELD, "held or faded"),
        (BY[OURS], "p95 of a second, paler: its latest"), (LOST, "never came"), (WISHED, "freshness wished for"),
    )  # fmt: skip
    for colour, said in keys:
        parts += [
            box(x, 42, 14, 10, colour, opacity=SHADE.get(colour, 1.0)),
            text(x + 19, 51, said, size=11, colour=GREY),
        ]
        x += 42 + 6.0 * len(said)
    return parts


def _spans(stages: Sequence[Stage], seconds: float) -> list[tuple[float, float, Stage]]:
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


def _axis(quantity: Quantity, stages: Sequence[Stage], seconds: float, y: float) -> Strip:
    """Up to a round value above the greatest truth."""
    most = max(quantity.of(stage) for *_, stage in _spans(stages, seconds))
    log = quantity.least > 0
    top = 10 ** math.ceil(math.log10(2 * most)) if log else _round(1.3 * most)
    return Strip(y, LINK_HIGH, seconds, quantity.least, top, log=log)


def _round(value: float) -> float:
    """The next 1, 2, 3, 4, 5 or 8 of a power of ten."""
    if value <= 0:
        return 5.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(power * digit for digit in (1, 2, 3, 4, 5, 8, 10) if power * digit >= value * (1 - 1e-9))


def _link(quantity: Quantity, stages: Sequence[Stage], looks: Sequence[Look], strip: Strip) -> list[str]:
    """The truth as a filled step, the estimate drawn over it."""
    spans = [(begin, end, quantity.of(stage)) for begin, end, stage in _spans(stages, strip.seconds)]
    ticks = {strip.most: quantity.label(strip.most), strip.least: quantity.label(strip.least)}
    seen = [(look.t, None if look.outage else quantity.believed(look)) for look in looks if look.t >= 0]
    believed = strip.points(seen, most_gap=SILENT)
    return [
        *strip.frame(quantity.name, quantity.below, ticks),
        area(strip.under(spans), TRUTH_FILL),
        path(strip.steps(spans), TRUTH),
        path(believed, BELIEVED, width=1.3) if believed else "",
    ]


def _ends(runs: Sequence[Outcome]) -> tuple[float, float]:
    """Of an axis for the freshness of all, ms: powers of ten, at least two apart."""
    every = [ms for one in runs for ms in one.worst if ms] or [10.0, 1_000.0]
    least = [ms for one in runs for ms in (one.p95_by_second or one.worst) if ms] or every
    below = max(0, math.floor(math.log10(min(least))))
    return 10.0**below, 10.0 ** max(below + 2, math.ceil(math.log10(max(every))))


def _freshness(one: Outcome, wished: float, strip: Strip) -> list[str]:
    """A bar for each second up to its p95, paler up to its latest message, red where one never came."""
    p95 = one.p95_by_second or one.worst
    dark, pale = BY.get(one.contestant, GREY), PALE.get(one.contestant, HELD)
    late = [(n, n + 1.0, worst) for n, worst in enumerate(one.worst) if worst]
    bars = [(n, n + 1.0, ms) for n, ms in enumerate(p95) if ms]
    never = [(n, n + 1.0, strip.most) for n, worst in enumerate(one.worst) if worst is None]
    middle = one.figures.latency.get("p95")
    said = (f"p95 {'–' if middle is None else f'{middle:,.0f} ms'}", f"{one.rate:.3g} messages/s")
    powers = range(round(math.log10(strip.least)), round(math.log10(strip.most)) + 1)
    ticks = {10.0**n: f"{10**n} ms" if n < 3 else f"{10 ** (n - 3)} s" for n in powers}
    return [
        *strip.frame(one.contestant, said, ticks),
        area(strip.under(never), LOST),
        area(strip.under(late), pale),
        area(strip.under(bars), dark),
        path(f"M{LEFT} {strip.up(1e3 * wished):.1f}H{LEFT + WIDE}", WISHED, width=1.2, dash="5 3"),
        path(f"M{LEFT} {strip.bottom:.1f}H{LEFT + WIDE}", HELD, width=1),
    ]


def _colours(runs: Sequence[Outcome]) -> dict[str, str]:
    """The same for the same profile, whoever uses it."""
    names = dict.fromkeys(switch.profile for one in runs for switch in one.switches)
    return {name: PROFILES[n % len(PROFILES)] for n, name in enumerate(names)}


def _profiles(one: Outcome, colours: dict[str, str], seconds: float, y: float) -> list[str]:
    """A band in a colour for each profile, with its name, and the reason as the tooltip; ours are numbered."""
    strip = Strip(y, BAND_HIGH, seconds, 0.0, 1.0)
    ends = [*(switch.t for switch in one.switches[1:]), seconds]
    parts = [text(LEFT - 10, y + 13, "profile", anchor="end", colour=GREY, size=11)]
    for n, (switch, end) in enumerate(zip(one.switches, ends, strict=True)):
        x = strip.across(switch.t)
        wide = strip.across(end) - x
        number = f"{n} " if n and one.contestant == OURS else ""
        label = next((said for said in (number + switch.profile, number) if len(said) * drawing.LETTER + 8 < wide), "")
        parts.append(
            f"<g><title>{max(0.0, switch.t):.1f} s: {escape(switch.profile)}: {escape(switch.reason)}</title>"
            f"{box(x, y, max(wide - 1, 0.5), BAND_HIGH - 2, colours[switch.profile])}"
            f"{text(x + 4, y + 13, label, colour='white', size=11)}</g>"
        )
    return parts


def _utility(runs: Sequence[Outcome], strip: Strip) -> list[str]:
    """Of each second; the rivals' only as a mean."""
    ticks = {1.0: "1", 0.75: "¾: wishes met", 0.0: "0", -0.5: "-½"}
    parts = strip.frame("utility", ("of each second,", "right: their mean"), ticks)
    drawn = [one for one in runs if one.contestant in (ORACLE, OURS) and one.utility_by_second]
    for one in reversed(drawn):
        line = strip.steps(drawing.by_second(one.utility_by_second))
        ours = one.contestant == OURS
        parts.append(path(line, BY[one.contestant], width=1.8 if ours else 1.2, dash="" if ours else "3 2"))
    for n, one in enumerate(runs):
        said = f"{one.contestant} {one.utility:.3f}"
        parts.append(text(LEFT + WIDE + 30, strip.y + 36 + 13 * n, said, colour=BY.get(one.contestant, GREY), size=11))
    return parts


def _bytes(runs: Sequence[Outcome], seconds: float, y: float) -> list[str]:
    """IP bytes of each second, both ways."""
    every = [count / 1e3 for one in runs for count in one.bytes_by_second]
    most = _round(sorted(every)[int(0.99 * (len(every) - 1))] * 1.1) if every else 1.0
    strip = Strip(y, BYTES_HIGH, seconds, 0.0, most)
    parts = strip.frame("bytes", ("both ways,", "right: a message"), {most: f"{most:g} kB/s", 0.0: "0"})
    for n, one in enumerate(reversed(runs)):
        colour = BY.get(one.contestant, GREY)
        line = strip.steps(drawing.by_second(count / 1e3 for count in one.bytes_by_second))
        if line:
            parts.append(path(line, colour, width=1.8 if one.contestant == OURS else 1.0))
        said = f"{one.contestant} {one.figures.bytes:.0f}"
        parts.append(text(LEFT + WIDE + 30, strip.bottom - 4 - 13 * n, said, colour=colour, size=11))
    return parts


def _reasons(runs: Sequence[Outcome], y: float) -> tuple[list[str], float]:
    """Why ours switched, in words, by number; and where that ends."""
    switches: Iterable[Switch] = next((one.switches for one in runs if one.contestant == OURS), [])
    lines = []
    for n, switch in enumerate(switches):
        if n > TOLD:
            lines.append("… more in report.json")
            break
        name = "start" if n == 0 else f"switch {n}"
        lines += textwrap.wrap(
            f"{name}, {max(0.0, switch.t):.1f} s: {switch.reason}", LETTERS, subsequent_indent="    "
        )
    return [text(12, y + 15 * n, line, size=11) for n, line in enumerate(lines)], y + 15 * len(lines)
