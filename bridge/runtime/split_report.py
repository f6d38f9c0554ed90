"""What `models split` found, as plain text: the cuts, the links, and in words whether a cut pays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from bridge.runtime.split_links import Link, Way, best, bound, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.runtime.split import Sent, Splitting

MARGIN = 0.05  # of the better whole placement: what gains less is a tie, and a whole placement is simpler
DISTURBED = 0.15  # the whole above its halves: more cannot be the graph's doing


class Assumed(msgspec.Struct, frozen=True):
    """What is not measured here.

    Attributes:
        links: ways to the cloud.
        cloud_speed: how many times faster than the gateway the cloud computes.
        gateway_slower: how many times slower than this machine the gateway is.
    """

    links: tuple[Link, ...]
    cloud_speed: float = 10.0
    gateway_slower: float = 1.0


class Line(msgspec.Struct, frozen=True):
    """Seconds to the answer over one link.

    Attributes:
        link: the link.
        bridge: the whole on the bridge.
        cloud: the whole in the cloud; infinite where no encoding of the input is within the budget.
        cut: the best cut; infinite without one.
        name: that cut's; empty without one.
    """

    link: Link
    bridge: float
    cloud: float
    cut: float
    name: str

    @property
    def pays(self) -> bool:
        """Whether the cut beats both whole placements, by more than `MARGIN`."""
        return self.cut < (1.0 - MARGIN) * min(self.bridge, self.cloud)

    @property
    def first(self) -> str:
        """Where the answer is first; a tie goes to what is simpler."""
        return "cut" if self.pays else "bridge" if self.bridge <= self.cloud else "cloud"


def disturbed(found: Splitting) -> float | None:
    """By what share the whole took longer than the quickest pair of its halves, where that tells of a busy machine.

    Two runs cost a little more than one; much less they cannot.
    """
    pairs = (one.head + one.tail for one in found.cuts if one.packing is not None)
    halves = min(pairs, default=found.whole)
    share = found.whole / halves - 1.0
    return share if share > DISTURBED else None


def compare(found: Splitting, assumed: Assumed) -> list[Line]:
    """Every placement over every link."""
    cuts, cloud, bridge = _ways(found, assumed)
    lines = []
    for link in assumed.links:
        there = math.inf if cloud is None else seconds(cloud, link, speed=assumed.cloud_speed)
        name, cut = best(cuts, link, speed=assumed.cloud_speed) or ("", math.inf)
        lines.append(Line(link, bridge, there, cut, name))
    return lines


def render(found: Splitting, assumed: Assumed) -> str:
    """Tables and verdict, lines each ended."""
    gateway = "this machine"
    if assumed.gateway_slower != 1.0:
        gateway = f"{assumed.gateway_slower:g} times slower than this machine"
    compared = compare(found, assumed)
    measured = f"{found.windows} labelled windows, accuracy {found.accuracy:.2%}, {len(found.cuts)} cuts"
    lines = [
        f"{found.model}/{found.variant}: {measured}",
        "µs on this machine, one thread, one window; bytes of the values as they are sent",
        *_table(_cut_rows(found)),
    ]
    if any(one.packing is None for one in (found.input, *found.cuts)):
        lines.append(f"✗ answers otherwise than the whole, or costs more accuracy than the budget, {found.budget:.2%}")
    lines += [f"left out: {why}" for why in found.failures]
    if (share := disturbed(found)) is not None:
        lines.append(f"the whole took {share:.0%} longer than two halves of it: the machine was busy, measure again")
    lines += [
        "",
        f"assumed: the gateway is {gateway}, the cloud computes {assumed.cloud_speed:g} times as fast",
        "left out, in favour of cuts: headers, the reply's bytes, queues",
        *_table(_link_rows(compared)),
        "",
        *_verdict(compared),
        _nearest(found, assumed),
    ]
    return "".join(f"{line}\n" for line in lines)


def _ways(found: Splitting, assumed: Assumed) -> tuple[list[Way], Way | None, float]:
    """The cuts and the whole in the cloud, as far as they may be used; seconds of the whole on the gateway."""
    slower = assumed.gateway_slower
    cuts = [one.way(_name(i), slower) for i, one in enumerate(found.cuts, start=1) if one.packing is not None]
    cloud = None if found.input.packing is None else found.input.way("input", slower)
    return cuts, cloud, found.whole * slower


def _name(number: int) -> str:
    return f"cut {number}"


def _cut_rows(found: Splitting) -> list[list[str]]:
    head = ["", "sent as", "values", "bytes", "as float32", "head", "tail", "write", "read", "accuracy"]
    head += ["same label as int8", "after", ""]
    named = [("input", found.input), *((_name(i), one) for i, one in enumerate(found.cuts, start=1))]
    return [head, *([name, *_cut_row(one)] for name, one in named)]


def _cut_row(one: Sent) -> list[str]:
    micro = [f"{1e6 * each:.1f}" for each in (one.head, one.tail, one.write, one.read)]
    sizes = [f"{one.values:,}", "" if one.packing is None else f"{one.size:,}", f"{one.float_size:,}"]
    after = [one.operator, one.name if one.operator else ""]
    return [one.packing or "✗", *sizes, *micro, f"{one.accuracy:.2%}", f"{one.int8_agreement:.2%}", *after]


def _link_rows(compared: Sequence[Line]) -> list[list[str]]:
    rows = [["rate", "round trip", "bridge ms", "cloud ms", "best cut ms", "", "first"]]
    for line in compared:
        times = [_ms(line.bridge), _ms(line.cloud), _ms(line.cut)]
        rows.append([_rate(line.link.rate), f"{1e3 * line.link.round_trip:g} ms", *times, line.name, line.first])
    return rows


def _verdict(compared: Sequence[Line]) -> list[str]:
    paying = [line for line in compared if line.pays]
    if not paying:
        return [f"A cut beats both whole placements on none of these {len(compared)} links."]
    return [
        f"A cut beats both whole placements on {len(paying)} of these {len(compared)} links:",
        *(
            f"  {_rate(line.link.rate)}, {1e3 * line.link.round_trip:g} ms: {line.name}, {_ms(line.cut)} ms, "
            f"{1.0 - line.cut / min(line.bridge, line.cloud):.0%} less than the better whole"
            for line in paying
        ),
    ]


def _nearest(found: Splitting, assumed: Assumed) -> str:
    """How near the cloud has to be, on the best link that there could be."""
    cuts, cloud, bridge = _ways(found, assumed)
    if cloud is None or not cuts:
        return "There is nothing to compare."
    bounds = [(bound(cut, cloud, bridge, speed=assumed.cloud_speed), cut.name) for cut in cuts]
    far, name = max(bounds)
    if far == 0.0:
        return "Nor would one on any other link, however fast and near."
    return f"On the best of all links a cut ({name}) is first only where the round trip is under {_ms(far)} ms."


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.3f}" if math.isfinite(seconds) else "–"


def _rate(rate: float) -> str:
    for unit, size in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if rate >= size:
            return f"{rate / size:g} {unit}"
    return f"{rate:g} bit/s"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width: figures to the right, words to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    figures = [any(cell[:1].isdigit() for cell in column[1:]) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if figure else cell.ljust(width)
            for cell, width, figure in zip(row, widths, figures, strict=True)
        ).rstrip()
        for row in rows
    ]
