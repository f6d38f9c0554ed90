"""A cloud that is dead, stalled, slow or flapping: all windows have an answer in time, none waits for a breaker."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from tests.place.real import faults
from tests.place.real.faults import DEADLINE
from tests.place.real.judge import Heard, Sent, answers, open_spans, waited, waits
from tests.place.real.rig import Rig
from tests.place.real.traffic import ROWS, WHOLE, steady
from tests.place.rows import Row, row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

ROUTE = f"deadline = {DEADLINE}\nbelow = 0.95"  # nearly half of the windows: many more than the manifest sends up
RATE, SECONDS = 50.0, 15.0
BEFORE = 2.0  # seconds of a sound cloud
PATIENCE = 2 * DEADLINE  # seconds for the last answers
AT_ONCE = 4  # set-ups that run beside each other: each is idle most of the time

FAULTS: dict[str, Callable[[Rig], faults.Script]] = {
    "dead": faults.dead,
    "stalled": faults.stalled,
    "cut": faults.cut,
    "silent": faults.silent,
    "slow": faults.slow,
    "flapping": faults.flapping,
    "halting": faults.halting,
}


class Seen(msgspec.Struct, frozen=True):
    """What was sent and heard while a fault was at work, and the bridge's Errors."""

    sent: list[Sent]
    heard: list[Heard]
    errors: list[str]


def rows(folder: Path, names: Iterable[str] = FAULTS) -> list[Row]:
    """Three rows a fault."""
    names = list(names)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        seen = list(pool.map(lambda name: run(name, folder / name), names))
    return [one for name, evidence in zip(names, seen, strict=True) for one in judged(name, evidence)]


def run(name: str, folder: Path, *, seconds: float = SECONDS) -> Seen:
    """Let a fault happen while devices send for so long."""
    over = threading.Event()
    with Rig(folder, {ROWS: ROUTE, WHOLE: ROUTE}) as rig:
        script = FAULTS[name](rig)
        sources = steady(rig.broker.url, "d", rate=RATE, seconds=seconds)
        happens = threading.Thread(target=lambda: over.wait(BEFORE) or script(over), name=name)
        rig.play(sources)
        happens.start()
        try:
            rig.finish(sources, PATIENCE)
        finally:
            over.set()
            happens.join()
        names = {source.name for source in sources}
        heard = [one for one in rig.heard() if one.device in names]
        return Seen([one for source in sources for one in source.sent], heard, rig.errors())


def judged(name: str, seen: Seen) -> list[Row]:
    """The rows of one fault."""
    found = answers(seen.sent, seen.heard, deadline=DEADLINE)
    waiting = waited(seen.sent, seen.heard, deadline=DEADLINE)
    spans = open_spans(seen.sent, seen.heard)
    longest = max(waits(seen.sent, seen.heard).values(), default=0.0)
    said = (
        f"{found.sent} windows, {found.cloud} answered by the cloud; missing {len(found.missing)}, "
        f"contradicted {len(found.contradicted)}, strange {len(found.strange)}, Errors {len(seen.errors)}"
    )
    late = f"{len(found.late)} late, the slowest took {found.worst:.3f} s of {DEADLINE:g} s"
    held = (
        f"open for {sum(end - begin for begin, end in spans):.1f} s in {len(spans)} spells as Results show; "
        f"the longest wait in that was {longest:.3f} s"
    )
    return [
        row(f"cloud-{name}-answered", f"{name} cloud: windows with one effective Result", [found.answered],
            "at least", 100.0, unit="%", note=said),
        row(f"cloud-{name}-in-time", f"{name} cloud: windows answered by their deadline", [found.in_time],
            "at least", 99.0, unit="%", note=late),
        row(f"cloud-{name}-open", f"{name} cloud: windows that waited for an open breaker", [len(waiting)],
            "at most", 0.0, unit="windows", note=held),
    ]  # fmt: skip
