"""The picture of the device behind the changing link: what the link did, how fresh Results were, which profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.demo import drawing
from bridge.demo.drawing import (
    BYTES_HIGH,
    FRESH_HIGH,
    GAP,
    GONE,
    GREY,
    LEFT,
    LINK_HIGH,
    LOSS,
    RATE,
    RIGHT,
    ROUND_TRIP,
    TRUTH_FILL,
    UNLIMITED,
    WIDE,
    WISHED,
    Strip,
    Use,
    area,
    path,
    text,
)
from bridge.demo.link import SLOT

if TYPE_CHECKING:
    from bridge.demo.drawing import Quantity
    from bridge.demo.journey import Journey
    from bridge.demo.linkmodel import Conditions

TOP = 96.0  # px
FRESH = "#1d4ed8"
KEYS = (
    (TRUTH_FILL, "the link"), (GONE, "gone"), (FRESH, "the latest Result of a second"), (WISHED, "freshness asked for"),
)  # fmt: skip


def picture(of: Journey) -> str:
    """An SVG."""
    seconds, y = max(of.seconds, 1.0), TOP
    title = f"{of.device} behind a link that changes"
    about = f"seconds after its first packet; seed {of.seed}"
    parts = [
        text(10, 22, title, size=17, bold=True),
        text(30 + 9.8 * len(title), 22, about, colour=GREY),
        *drawing.legend(KEYS),
        *_names(of, seconds),
    ]
    ways = [(begin, end, named.stage.up) for named, begin, end in of.spans]
    for quantity in (ROUND_TRIP, LOSS, RATE):
        spans = [(begin, end, _value(quantity, way)) for begin, end, way in ways]
        strip = quantity.strip(y, seconds, max(value for *_, value in spans))
        parts += quantity.truth(strip, spans)
        y += LINK_HIGH + GAP
    parts += _bytes(of, seconds, y)
    y += BYTES_HIGH + GAP
    parts += _freshness(of, seconds, y)
    y += FRESH_HIGH + 4
    uses = _uses(of)
    parts += drawing.band(uses, drawing.colours(use.profile for use in uses), seconds, y, numbered=True)
    y += drawing.BAND_HIGH + 4
    behind = drawing.axis(seconds, TOP, y)
    behind += drawing.shades([(begin, end, GONE) for begin, end, way in ways if way.outage], seconds, TOP, y)
    told, y = drawing.reasons(uses, y + 38)
    return drawing.document(LEFT + WIDE + RIGHT, y, [*behind, *parts, *told])


def _names(of: Journey, seconds: float) -> list[str]:
    """Of the stages, each where it begins."""
    strip = Strip(TOP - 24, 16, seconds, 0.0, 1.0)
    parts = []
    for named, begin, _ in of.spans:
        x = strip.across(begin)
        parts += [path(f"M{x:.1f} {strip.y}V{TOP}", GREY, width=1), text(x + 4, strip.y + 12, named.name, bold=True)]
    return parts


def _value(quantity: Quantity, way: Conditions) -> float:
    if quantity is ROUND_TRIP:
        return 2e3 * way.delay
    return 100 * way.loss if quantity is LOSS else min((way.rate or 1e3 * UNLIMITED) / 1e3, UNLIMITED)


def _bytes(of: Journey, seconds: float, y: float) -> list[str]:
    """IP bytes of each second, both ways."""
    each = round(1 / SLOT)
    slots = of.passed.slots
    by_second = [sum(one.up + one.down for one in slots[n : n + each]) / 1e3 for n in range(0, len(slots), each)]
    most = drawing.round_up(max(by_second, default=0.0))
    strip = Strip(y, BYTES_HIGH, seconds, 0.0, most)
    return [
        *strip.frame("bytes", ("both ways",), {most: f"{most:g} kB/s", 0.0: "0"}),
        path(strip.steps(drawing.by_second(by_second)), FRESH),
    ]


def _freshness(of: Journey, seconds: float, y: float) -> list[str]:
    """A bar for each second of birth, up to its latest Result."""
    worst = _worst(of)
    every = [ms for ms in worst if ms] or [10.0, 1_000.0]
    strip = Strip(y, FRESH_HIGH, seconds, *drawing.freshness_ends(every, every), log=True)
    bars = [(begin, end, ms) for begin, end, ms in drawing.by_second(worst) if ms]
    return [
        *strip.frame("freshness", ("birth to Result",), drawing.freshness_ticks(strip)),
        area(strip.under(bars), FRESH),
        *drawing.wished(strip, 1e3 * of.wanted),
    ]


def _worst(of: Journey) -> list[float]:
    """Milliseconds by second of birth; 0 where none was born."""
    found = [0.0] * (1 + int(max(of.born, default=0.0)))
    for born, fresh in zip(of.born, of.fresh, strict=True):
        second = max(0, int(born))
        found[second] = max(found[second], 1e3 * fresh)
    return found


def _uses(of: Journey) -> list[Use]:
    ends = [*(one.at for one in of.switches[1:]), of.seconds]
    return [Use(one.at, end, one.profile, one.reason) for one, end in zip(of.switches, ends, strict=False)]
