"""The picture of the device behind the changing link: what the link did, how fresh Results were, which profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.demo.drawing import BLUE, GREEN, RED, Sheet, Span, Strip
from bridge.demo.link import SLOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.demo.journey import Journey
    from bridge.demo.link import Slot
    from bridge.demo.linkmodel import Conditions

UNLIMITED = 1e8  # bit/s, to draw
GONE = "#444"
ROUND_TRIP = Strip("round trip", "{:.0f} ms".format, BLUE)
LOSS = Strip("loss each way", "{:.0f} %".format, RED)
RATE = Strip("rate", "{:,.0f} kbit/s".format, GREEN, least=10.0)
CARRIED = Strip("carried", "{:.1f} kB/s".format, GREEN)


def picture(of: Journey) -> str:
    """An SVG."""
    about = "seconds after its first packet; dark: link gone; dashed: wanted; point at a profile to read why it is used"
    sheet = Sheet(of.seconds, f"{of.device} behind a link that changes (seed {of.seed})", about)
    sheet.names([Span(begin, end, named.name) for named, begin, end in of.spans])
    ways = [(begin, end, named.stage.up) for named, begin, end in of.spans]
    for begin, end, way in ways:
        if way.outage:
            sheet.shade(begin, end, GONE)

    def line(value: Callable[[Conditions], float]) -> list[tuple[float, float, float | None]]:
        return [(begin, end, None if way.outage else value(way)) for begin, end, way in ways]

    sheet.strip(ROUND_TRIP, line(lambda way: 2e3 * way.delay))
    sheet.strip(LOSS, line(lambda way: 100 * way.loss))
    sheet.strip(RATE, line(lambda way: (way.rate or UNLIMITED) / 1e3))
    carried: list[tuple[float, float, float | None]] = [
        (float(n), n + 1.0, sum(one.up + one.down for one in second) / 1e3) for n, second in enumerate(_by_second(of))
    ]
    sheet.strip(CARRIED, carried or [(0.0, of.seconds, 0.0)])
    sheet.freshness(["freshness", "latest Result", "of each second"], _worst(of), 1e3 * of.wanted)
    ends = [*(one.at for one in of.switches[1:]), of.seconds]
    used = zip(of.switches, ends, strict=False)
    sheet.band("profile", [Span(one.at, end, one.profile, one.reason) for one, end in used])
    return sheet.svg()


def _by_second(of: Journey) -> list[list[Slot]]:
    each = round(1 / SLOT)
    return [of.passed.slots[start : start + each] for start in range(0, len(of.passed.slots), each)]


def _worst(of: Journey) -> list[float | None]:
    """Milliseconds by second of birth; 0 where none was born."""
    found = [0.0] * (1 + int(max(of.born, default=0.0)))
    for born, fresh in zip(of.born, of.fresh, strict=True):
        second = max(0, int(born))
        found[second] = max(found[second], 1e3 * fresh)
    return list(found)
