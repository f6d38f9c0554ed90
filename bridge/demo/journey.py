"""The device behind the changing link: what each stage was like for its windows, as figures and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from rich import box
from rich.table import Table

from bridge.demo.link import SLOT
from bridge.demo.relay import Passed
from bridge.demo.schedule import Named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.demo.observer import Seen
    from bridge.demo.switches import Switch


class StageReport(msgspec.Struct, frozen=True):
    """One stage of the link.

    Attributes:
        name: in one word.
        link: what it did.
        begin: seconds after the first packet.
        profiles: in use, in order.
        windows: whose last row was born in it.
        fresh_p50: ms from that row's birth until the Result was seen, median; None without windows.
        fresh_p95: the same, 95 %.
        bytes: on the link in this time, both ways, IP headers and repetitions included.
        lost: share of the packets.
    """

    name: str
    link: str
    begin: float
    profiles: list[str]
    windows: int
    fresh_p50: float | None
    fresh_p95: float | None
    bytes: int
    lost: float


class Told(msgspec.Struct, frozen=True):
    """A switch of the profile: seconds after the first packet, to which, and why."""

    at: float
    profile: str
    reason: str


class LinkReport(msgspec.Struct, frozen=True):
    """What became of the device behind the changing link.

    Attributes:
        device: its name.
        seed: of the link's dice.
        wanted_ms: freshness that the agent was asked for, of 95 % of its rows, until they are safe with the bridge.
        stages: one after the other.
        switches: as the agent logged them.
    """

    device: str
    seed: int
    wanted_ms: float
    stages: list[StageReport]
    switches: list[Told]


class Journey(msgspec.Struct, frozen=True):
    """All that is known of it.

    Attributes:
        device: its name.
        seed: of the link.
        wanted: freshness that the agent was asked for, s.
        schedule: what the link did.
        passed: what passed it.
        switches: of the agent.
        born: seconds after the first packet at which the last row of each answered window was born.
        fresh: seconds from then until the Result was seen.
    """

    device: str
    seed: int
    wanted: float
    schedule: list[Named]
    passed: Passed
    switches: list[Told]
    born: list[float]
    fresh: list[float]

    @property
    def seconds(self) -> float:
        """As long as anything happened."""
        came = (born + fresh for born, fresh in zip(self.born, self.fresh, strict=True))
        return max(SLOT * len(self.passed.slots), *came, 0.0)

    @property
    def spans(self) -> list[tuple[Named, float, float]]:
        """Each stage with its begin and end."""
        ends = [*(named.stage.at for named in self.schedule[1:]), max(self.seconds, self.schedule[-1].stage.at)]
        return [(named, named.stage.at, end) for named, end in zip(self.schedule, ends, strict=True)]


def journey(
    device: str, seed: int, schedule: Sequence[Named], passed: Passed, switches: Sequence[Switch], seen: Seen,
    *, wanted: float, rows: int, rate: float, speed: float,
) -> Journey:  # fmt: skip
    """Joins what was noted.

    A replay gives rows the times of the recording, counted from its start; their births come `speed` times faster.

    Args:
        device: its name.
        seed: of the link.
        schedule: what the link did.
        passed: what passed it.
        switches: of the agent.
        seen: the device's Results.
        wanted: freshness that the agent was asked for, s.
        rows: of a window.
        rate: rows a second of the recording.
        speed: of the replay.
    """
    began = passed.began or 0.0
    born, fresh = [], []
    for window, result in seen.results.items():
        zero = result.t - result.seq / rate
        birth = zero + (result.seq + rows - 1) / rate / speed
        born.append(birth - began)
        fresh.append(seen.at[window] - birth)
    told = [Told(round(one.at - began, 2), one.profile, one.reason) for one in switches]
    return Journey(device, seed, wanted, list(schedule), passed, told, born, fresh)


def figures(of: Journey) -> LinkReport:
    """What goes into the report."""
    return LinkReport(of.device, of.seed, 1e3 * of.wanted, [_stage(of, *span) for span in of.spans], of.switches)


def _stage(of: Journey, named: Named, begin: float, end: float) -> StageReport:
    fresh = [1e3 * f for b, f in zip(of.born, of.fresh, strict=True) if begin <= max(b, 0.0) < end]
    here = of.passed.slots[round(begin / SLOT) : round(end / SLOT)]
    packets = sum(one.packets for one in here)
    return StageReport(
        name=named.name,
        link=named.words,
        begin=begin,
        profiles=_profiles(of.switches, begin, end),
        windows=len(fresh),
        fresh_p50=round(float(np.percentile(fresh, 50)), 1) if fresh else None,
        fresh_p95=round(float(np.percentile(fresh, 95)), 1) if fresh else None,
        bytes=sum(one.up + one.down for one in here),
        lost=round(sum(one.lost for one in here) / packets, 3) if packets else 0.0,
    )


def _profiles(switches: Sequence[Told], begin: float, end: float) -> list[str]:
    """That in use at the begin, and those that followed."""
    before = [one.profile for one in switches if one.at <= begin]
    return before[-1:] + [one.profile for one in switches if begin < one.at < end]


def table(of: LinkReport) -> Table:
    """The same for people."""
    title = f"{of.device} behind a link that changes; it wants its rows safe within {of.wanted_ms:.0f} ms"
    found = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    found.add_column("the link", no_wrap=True)
    found.add_column("profile", no_wrap=True)
    for heading in ("fresh p50", "p95", "bytes", "lost"):
        found.add_column(heading, justify="right", no_wrap=True)
    for one in of.stages:
        fresh = ["–" if ms is None else f"{ms:,.0f} ms" for ms in (one.fresh_p50, one.fresh_p95)]
        profiles = "\n".join(one.profiles) or "as configured"
        found.add_row(f"[bold]{one.name}[/]\n{one.link}", profiles, *fresh, f"{one.bytes:,}", f"{one.lost:.0%}")
    return found
