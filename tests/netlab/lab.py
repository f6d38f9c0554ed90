"""One run: two namespaces, an emulator between them, a contestant inside, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from tests.netlab import namespaces, record
from tests.netlab.child import Child
from tests.netlab.contestants import Run
from tests.netlab.emulator import Plan, Told
from tests.netlab.record import Figures, Return

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.netlab.contestants import Contestant
    from tests.netlab.namespaces import Pair
    from tests.netlab.scenarios import Scenario

DRAIN = 45.0  # s after the last message
SLACK = 30.0  # s more until a device's process counts as stuck
LEAD = 0.3  # s between `go` and the start, so that everybody has heard


class Switch(msgspec.Struct, frozen=True):
    """A profile that the contestant chose, t s after the start."""

    t: float
    profile: str
    reason: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A run.

    Attributes:
        scenario: its name.
        contestant: its name.
        seed: of link and payloads.
        rate: messages a second that were handed over.
        figures: what came of them.
        link: the emulator's counts and lateness.
        start: of the workload, s on CLOCK_MONOTONIC.
        worst: latency in ms of the latest message of each second; None: lost.
        returns: how it took up after each outage.
        switches: profiles, if the contestant tells.
    """

    scenario: str
    contestant: str
    seed: int
    rate: float
    figures: Figures
    link: Told
    start: float
    worst: list[float | None]
    returns: list[Return]
    switches: list[Switch]


@contextlib.asynccontextmanager
async def _emulator(pair: Pair, scenario: Scenario, seed: int, folder: Path) -> AsyncIterator[Child]:
    plan = Plan(device=pair.device.tun, gateway=pair.gateway.tun, stages=list(scenario.stages), seed=seed)
    argv = [sys.executable, "-m", "tests.netlab.emulator"]
    fds = (pair.device.tun, pair.gateway.tun)
    async with await Child.start(argv, folder / "emulator.log", pass_fds=fds) as child:
        await child.tell(msgspec.json.encode(plan).decode())
        await child.until("ready\n".__eq__)
        yield child


async def measure(
    scenario: Scenario, contestant: Contestant, *, seed: int, messages: int, folder: Path, drain: float = DRAIN
) -> Outcome:
    """One contestant in one scenario.

    Raises:
        ChildFailedError: a process did not start or end.
        RuntimeError: the system refuses namespaces.
    """
    run = Run(scenario, contestant.load(scenario, messages), seed, folder, drain)
    _prepare(run)
    async with contextlib.AsyncExitStack() as stack:
        pair = stack.enter_context(namespaces.pair())
        emulator = await stack.enter_async_context(_emulator(pair, scenario, seed, folder))
        consumers = []
        for n, command in enumerate(contestant.gateway(run)):
            child = await Child.start(pair.gateway.inside(command.argv), folder / f"gateway-{n}.log")
            await stack.enter_async_context(child)
            if command.ready is not None:
                await child.until(command.matches)
            if command.ends:
                consumers.append(child)
        command = contestant.device(run)
        child = await Child.start(pair.device.inside(command.argv), folder / "device.log")
        device = await stack.enter_async_context(child)
        await device.until(command.matches)
        start = time.monotonic() + LEAD
        for child in (emulator, device):
            await child.tell(f"go {start}")
        await device.ended(LEAD + run.load.count / run.load.rate + drain + SLACK)
        await asyncio.sleep(2 * max(stage.up.delay for stage in scenario.stages))  # what is still in the air arrives
        for child in consumers:
            await child.finish()
        told = msgspec.json.decode(await emulator.finish(), type=Told)
    return _outcome(run, contestant.name, start, told)


def _prepare(run: Run) -> None:
    run.folder.mkdir(parents=True)
    (run.folder / "scenario.json").write_bytes(msgspec.json.encode(run.scenario))


def _outcome(run: Run, contestant: str, start: float, told: Told) -> Outcome:
    of = record.join(run.folder / "sent", run.folder / "arrived")
    return Outcome(
        scenario=run.scenario.name,
        contestant=contestant,
        seed=run.seed,
        rate=run.load.rate,
        figures=record.figures(of, told),
        link=told,
        start=start,
        worst=record.worst_by_second(of, start),
        returns=record.returns(of, start, run.scenario.returns),
        switches=_switches(run.folder / "profile.jsonl", start),
    )


def _switches(path: Path, start: float) -> list[Switch]:
    if not path.exists():
        return []
    told = msgspec.json.Decoder(Switch).decode_lines(path.read_bytes())
    return [msgspec.structs.replace(one, t=one.t - start) for one in told]
