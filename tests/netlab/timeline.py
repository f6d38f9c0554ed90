"""The picture of a scenario: what the link did and what ours believed, how fresh each contestant's messages were and by
which profile, what that was worth and what it cost, over one time axis.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from bridge.demo import drawing
from bridge.demo.drawing import (
    BAND_HIGH,
    BYTES_HIGH,
    FRESH_HIGH,
    GAP,
    GONE,
    GREY,
    HELD,
    LEFT,
    LINK_HIGH,
    LOSS,
    LOST,
    RATE,
    RIGHT,
    ROUND_TRIP,
    TRUTH_FILL,
    UNLIMITED,
    WIDE,
    WISHED,
    Quantity,
    Strip,
    Use,
    area,
    path,
    text,
)
from tests.netlab.model import faded
from tests.netlab.ours import wish
from tests.netlab.results import ORACLE, OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.netlab.lab import Look, Outcome
    from tests.netlab.model import Stage
    from tests.netlab.scenarios import Scenario

UTILITY_HIGH = 84  # px
BELIEVED = "#ea580c"
BY = {OURS: "#1d4ed8", ORACLE: "#111827", "mqtt": "#b45309", "coap": "#7c3aed"}
PALE = {OURS: "#bfdbfe", ORACLE: "#d1d5db", "mqtt": "#fde3c0", "coap": "#e0d4fd"}
SILENT = 2.0  # s between two looks that are not joined


class Believed(NamedTuple):
    """A quantity of the link: its truth in a stage, and what a look believes."""

    drawn: Quantity
    of: Callable[[Stage], float]
    believed: Callable[[Look], float | None]


def _kbit(stage: Stage) -> float:
    return UNLIMITED if stage.up.rate is None else min(stage.up.rate / 1e3, UNLIMITED)


def _loss(stage: Stage) -> float:
    return 100 * (stage.up.loss + (stage.up.fades.share if stage.up.fades else 0.0))


QUANTITIES = (
    Believed(ROUND_TRIP, lambda stage: 1e3 * (stage.up.delay + stage.down.delay), lambda look: 1e3 * look.rtt),
    Believed(LOSS, _loss, lambda look: 100 * look.loss),
    Believed(RATE, _kbit, lambda look: None if look.goodput is None else look.goodput / 125),
)


def picture(scenario: Scenario, outcomes: Sequence[Outcome]) -> str:
    """An SVG of runs of one scenario and one seed, one for each contestant."""
    runs = sorted(outcomes, key=lambda one: list(BY).index(one.contestant) if one.contestant in BY else len(BY))
    seconds = float(max(1, *(len(one.worst) for one in runs)))
    parts = _head(scenario, runs)
    y = top = 78.0
    looks = next((one.looks for one in runs if one.contestant == OURS), [])
    for quantity in QUANTITIES:
        parts += _link(quantity, scenario.stages, looks, seconds, y)
        y += LINK_HIGH + GAP
    uses = {one.contestant: _uses(one, seconds) for one in runs}
    tints, ends = drawing.colours(use.profile for one in runs for use in uses[one.contestant]), _ends(runs)
    for one in runs:
        parts += _freshness(one, wish(scenario), Strip(y, FRESH_HIGH, seconds, *ends, log=True))
        y += FRESH_HIGH + GAP
        if one.switches:
            ours = one.contestant == OURS
            parts += drawing.band(uses[one.contestant], tints, seconds, y - GAP + 4, numbered=ours)
            y += BAND_HIGH + 4
    parts += _utility(runs, Strip(y, UTILITY_HIGH, seconds, -0.5, 1.0))
    y += UTILITY_HIGH + GAP
    parts += _bytes(runs, seconds, y)
    y += BYTES_HIGH + 4
    behind = drawing.axis(seconds, top, y)
    behind += drawing.shades(_shades(scenario.stages, runs[0].seed, seconds), seconds, top, y)
    told, y = drawing.reasons(uses.get(OURS, ()), y + 38)
    return drawing.document(LEFT + WIDE + RIGHT, y, [*behind, *parts, *told])


def _head(scenario: Scenario, runs: Sequence[Outcome]) -> list[str]:
    """What it is, and what lines and colours mean."""
    keys = (
        (TRUTH_FILL, "the link"), (BELIEVED, "as ours estimates it"), (GONE, "gone"), (HELD, "held, faded, no UDP"),
        (BY[OURS], "p95 of a second, paler: its latest"), (LOST, "never came"), (WISHED, "freshness wished for"),
    )  # fmt: skip
    return [
        text(10, 22, scenario.name, size=17, bold=True),
        text(20 + 11 * len(scenario.name), 22, f"{scenario.about}; seed {runs[0].seed}", colour=GREY),
        *drawing.legend(keys),
    ]


def _spans(stages: Sequence[Stage], seconds: float) -> list[tuple[float, float, Stage]]:
    ends = [*(stage.at for stage in stages[1:]), math.inf]
    return [(s.at, min(end, seconds), s) for s, end in zip(stages, ends, strict=True) if s.at < seconds]


def _shades(stages: Sequence[Stage], seed: int, seconds: float) -> list[tuple[float, float, str]]:
    """Outages, gaps and fades: begin, end, colour."""
    spans = _spans(stages, seconds)
    return [
        *((begin, end, GONE) for begin, end, stage in spans if stage.up.outage),
        *((begin, end, HELD) for begin, end, stage in spans if stage.up.rate == 0 or stage.up.no_udp),
        *((begin, end, HELD) for begin, end in faded(stages, seed, seconds)),
    ]


def _link(quantity: Believed, stages: Sequence[Stage], looks: Sequence[Look], seconds: float, y: float) -> list[str]:
    """The truth as a filled step, the estimate drawn over it."""
    spans = [(begin, end, quantity.of(stage)) for begin, end, stage in _spans(stages, seconds)]
    strip = quantity.drawn.strip(y, seconds, max(value for *_, value in spans))
    seen = [(look.t, None if look.outage else quantity.believed(look)) for look in looks if look.t >= 0]
    believed = strip.points(seen, most_gap=SILENT)
    return [*quantity.drawn.truth(strip, spans), path(believed, BELIEVED, width=1.3) if believed else ""]


def _ends(runs: Sequence[Outcome]) -> tuple[float, float]:
    """Of an axis for the freshness of all, ms."""
    every = [ms for one in runs for ms in one.worst if ms] or [10.0, 1_000.0]
    return drawing.freshness_ends(every, [ms for one in runs for ms in (one.p95_by_second or one.worst) if ms] or every)


def _freshness(one: Outcome, wished: float, strip: Strip) -> list[str]:
    """A bar for each second up to its p95, paler up to its latest message, red where one never came."""
    p95 = one.p95_by_second or one.worst
    dark, pale = BY.get(one.contestant, GREY), PALE.get(one.contestant, HELD)
    late = [(n, n + 1.0, worst) for n, worst in enumerate(one.worst) if worst]
    bars = [(n, n + 1.0, ms) for n, ms in enumerate(p95) if ms]
    never = [(n, n + 1.0, strip.most) for n, worst in enumerate(one.worst) if worst is None]
    middle = one.figures.latency.get("p95")
    said = (f"p95 {'–' if middle is None else f'{middle:,.0f} ms'}", f"{one.rate:.3g} messages/s")
    return [
        *strip.frame(one.contestant, said, drawing.freshness_ticks(strip)),
        area(strip.under(never), LOST),
        area(strip.under(late), pale),
        area(strip.under(bars), dark),
        *drawing.wished(strip, 1e3 * wished),
    ]


def _uses(one: Outcome, seconds: float) -> list[Use]:
    ends = [*(switch.t for switch in one.switches[1:]), seconds]
    return [Use(s.t, end, s.profile, s.reason) for s, end in zip(one.switches, ends, strict=False)]


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
    most = drawing.round_up(sorted(every)[int(0.99 * (len(every) - 1))] * 1.1) if every else 1.0
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
