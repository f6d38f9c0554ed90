"""One run: two namespaces, an emulator between them, a contestant inside, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from edge_agent.choice import COMPUTING
from tests.netlab import namespaces, ours, priority, record, recordings, usefulness
from tests.netlab.child import Child
from tests.netlab.contestants import Run
from tests.netlab.emulator import Plan, Told
from tests.netlab.memory import Memory, watch
from tests.netlab.record import Figures, Return
from tests.netlab.room import PERIOD, in_phase
from tests.netlab.traffic import ROWS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.netlab.contestants import Command, Contestant
    from tests.netlab.namespaces import Namespace, Pair
    from tests.netlab.scenarios import Scenario

DRAIN = 45.0  # s after the last message
SLACK = 30.0  # s more until a device's process counts as stuck
LEAD = 1.0  # s between `go` and the start, so that everybody has heard, though this process may be making namespaces
SETTLE = 1.0  # s, and two delays, after the device has ended: what arrived at the bridge becomes a Result
BEFORE_END = 1.0  # s before the end of the workload is its end, as far as memory goes: the agent still runs
SHARED_MEMORY = Path("/dev/shm")  # not for files that others know


def scratch() -> Path | None:
    """Where folders of runs belong: in memory, where there is such a place, for runs beside each other share a disk.

    A disk that many write to is no part of the link.
    """
    return SHARED_MEMORY if SHARED_MEMORY.is_dir() else None


class Switch(msgspec.Struct, frozen=True):
    """A profile that the contestant chose, t s after the start."""

    t: float
    profile: str
    reason: str = ""


class Look(msgspec.Struct, frozen=True):
    """What the contestant believed about the link, t s after the start.

    Attributes:
        t: when.
        rtt: median round trip of the last 1.5 s, over the way that was heard last, s.
        loss: share of the packets, one way or the other.
        goodput: bytes/s that the way up carries; None: no bound was met yet.
        outage: nothing gets through.
    """

    t: float
    rtt: float
    loss: float
    goodput: float | None
    outage: bool


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
        first: s from the start to the first arrival; None: none came.
        switches: profiles, if the contestant tells.
        p95_by_second: ms, of the messages handed over in each second, nearest rank; None: lost, or none in it.
        bytes_by_second: IP bytes both ways in each second.
        utility: mean of the seconds; see `bridge.link.utility`.
        utility_by_second: of each second of the workload, outages too.
        looks: the contestant's estimates, if it tells.
        twice: windows with two differing effective Results.
        memory: by program, "agent" and "bridge"; without those that the contestant does not have.
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
    first: float | None = None
    p95_by_second: list[float | None] = []
    bytes_by_second: list[int] = []
    utility: float = 0.0
    utility_by_second: list[float] = []
    looks: list[Look] = []
    twice: int = 0
    memory: dict[str, Memory] = {}


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
    scenario: Scenario,
    contestant: Contestant,
    *,
    seed: int,
    messages: int,
    folder: Path,
    drain: float = DRAIN,
    phase: float = 0.0,
) -> Outcome:
    """One contestant in one scenario.

    Args:
        scenario: what the link does.
        contestant: who carries the messages.
        seed: of link and payloads.
        messages: at the scenario's rate.
        folder: for the run's files; made here.
        drain: s that the device may wait for acknowledgements at the end.
        phase: when it begins, see `room`.

    Raises:
        ChildFailedError: a process did not start or end.
        RuntimeError: the system refuses namespaces.
    """
    run = Run(scenario, contestant.load(scenario, messages), seed, folder, drain)
    await asyncio.to_thread(_prepare, run)
    async with contextlib.AsyncExitStack() as stack:
        pair = stack.enter_context(namespaces.pair())
        emulator = await stack.enter_async_context(_emulator(pair, scenario, seed, folder))
        commands = await asyncio.to_thread(contestant.gateway, run)
        gateway = [
            await _start(stack, one, pair.gateway, folder / f"gateway-{n}.log") for n, one in enumerate(commands)
        ]
        device = await _start(stack, contestant.device(run), pair.device, folder / "device.log")
        priority.prefer([*namespaces.pids(pair.gateway), *namespaces.pids(pair.device)])
        start = in_phase(time.monotonic() + LEAD, phase)
        for child in (emulator, device):
            await child.tell(f"go {start}")
        seconds = run.load.count / run.load.rate
        pids = {one.name: child.pid for one, child in zip(commands, gateway, strict=True) if one.name} | _agent(folder)
        watching = asyncio.create_task(watch(pids, start + seconds / 2, start + seconds - BEFORE_END))
        stack.callback(watching.cancel)
        await device.ended(LEAD + PERIOD + seconds + drain + SLACK)
        await asyncio.sleep(SETTLE + 2 * max(stage.up.delay for stage in scenario.stages))
        for one, child in zip(commands, gateway, strict=True):
            if one.ends:
                await child.finish()
        told = msgspec.json.decode(await emulator.finish(), type=Told)
        memory = await watching
    return _outcome(run, contestant.name, start, told, memory)


async def _start(stack: contextlib.AsyncExitStack, command: Command, side: Namespace, log: Path) -> Child:
    """Until it says that it is ready; gone when the stack is."""
    child = await stack.enter_async_context(await Child.start(side.inside(command.argv), log))
    if command.ready is not None:
        await child.until(command.matches)
    return child


def _agent(folder: Path) -> dict[str, int]:
    """The process of the agent, if there is one."""
    told = folder / "agent.pid"
    return {"agent": int(told.read_text())} if told.exists() else {}


def _prepare(run: Run) -> None:
    run.folder.mkdir(parents=True)
    (run.folder / "scenario.json").write_bytes(msgspec.json.encode(run.scenario))
    messages = recordings.messages(run.seed, run.load.count, 1 / (ROWS * run.load.rate))
    (run.folder / "payloads").write_text("".join(f"{one}\n" for one in messages))


def _outcome(run: Run, contestant: str, start: float, told: Told, memory: dict[str, Memory]) -> Outcome:
    of = record.join(run.folder / "sent", run.folder / "arrived")
    twice = run.folder / "twice"
    switches = _told(run.folder / "profile.jsonl", start, Switch)
    p95 = record.p95_by_second(of, start)
    worth = _worth(run, p95, told, switches)
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
        switches=switches,
        first=record.first(of, start),
        p95_by_second=[None if one is None or one == float("inf") else 1e3 * one for one in p95],
        bytes_by_second=told.seconds,
        utility=statistics.fmean(worth),
        utility_by_second=worth,
        looks=_told(run.folder / "looks.jsonl", start, Look),
        twice=int(twice.read_text()) if twice.exists() else 0,
        memory=memory,
    )


def _worth(run: Run, p95: Sequence[float | None], told: Told, switches: Sequence[Switch]) -> list[float]:
    """Utility by second; see `usefulness`."""
    costs, computing = [0.0] * len(p95), [COMPUTING["json"]] * len(p95)  # rivals write JSON
    for one in switches:
        since = max(0, int(one.t))
        costs[since:] = [ours.encoding_cost(one.profile)] * len(costs[since:])
        computing[since:] = [ours.encoding_seconds(one.profile)] * len(computing[since:])
    return usefulness.by_second(
        p95, told.seconds, costs, computing, wanted=ours.wish(run.scenario), budget=ours.BUDGET,
        reference=run.load.rate * ROWS * recordings.row_bytes(),
    )  # fmt: skip


_Told = TypeVar("_Told", Switch, Look)


def _told(path: Path, start: float, kind: type[_Told]) -> list[_Told]:
    """What the contestant told in a file, if it did; times from the start."""
    if not path.exists():
        return []
    told: list[_Told] = msgspec.json.Decoder(kind).decode_lines(path.read_bytes())
    return [msgspec.structs.replace(one, t=one.t - start) for one in told]
