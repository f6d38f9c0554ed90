"""What each fault does to a running set-up, and how it is undone.

*Disk full*: RLIMIT_FSIZE of the running process, so that no file of it grows beyond 16 kB; lifted later. Needs no root.

*Store damaged*: the program is down (killed, or stopped so that SQLite has put all into the main file); 64 bytes at
four places of its database or its write-ahead log are replaced. *Truncated*: the program was stopped, and its database
loses its end; or the agent was killed, and its write-ahead log does. A log that ends earlier is a whole, older store.
The agent must find out all the same, for it would give numbers twice; nothing could tell the bridge, so its log is not
cut.
"""

from __future__ import annotations

import contextlib
import random
import resource
from typing import TYPE_CHECKING

from tests.faults.campaign.evidence import Excuse, Span
from tests.faults.campaign.plan import CLOUDS, SHARED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.campaign.agent import Agent
    from tests.faults.campaign.plan import Deed, Plan
    from tests.faults.campaign.rig import Rig
    from tests.support.programs import RunningProgram

FULL = 16_384  # bytes
HEADER = 100  # bytes of a SQLite file: damaged like the rest
PLACES, WIDE = 4, 64

TOLD = ("set aside", "its newest commits are gone", "are given up (damaged)")  # what a program says of its spoilt store


class Inflictor:
    """Does the deeds of one seed."""

    def __init__(self, rig: Rig, plan: Plan, agent: Agent, note: Callable[[str], None]) -> None:
        self._rig = rig
        self._plan = plan
        self._agent = agent
        self._note = note
        self._dice = random.Random(f"campaign damage {plan.seed}")
        self._undo: dict[Deed, Callable[[], None]] = {}
        self._spoilt: list[Callable[[], list[Excuse]]] = []

    def do(self, deed: Deed) -> None:
        """Begin."""
        self._note(f"{deed.fault}: begins")
        self._undo[deed] = self._begin(deed.fault)

    def undo(self, deed: Deed) -> None:
        """End; what was killed runs again."""
        self._undo.pop(deed)()
        self._note(f"{deed.fault}: undone")

    def settle(self) -> None:
        """Returns once all that was started again is ready."""
        self._rig.wait_ready()

    def excuses(self) -> list[Excuse]:
        """What may be lost because of the deeds, once the programs had the time to tell."""
        return [excuse for look in self._spoilt for excuse in look()]

    def _begin(self, fault: str) -> Callable[[], None]:
        rig, bridge = self._rig, self._bridge()
        whose, _, how = fault.partition("-")
        if how == "killed" and whose in {"bridge", "cloud"}:
            return self._kill(bridge if whose == "bridge" else next(iter(rig.clouds.values())))
        if fault in {SHARED, CLOUDS}:
            return self._kill(self._dice.choice([*(rig.bridges if fault == SHARED else rig.clouds).values()]))
        if fault == "agent-killed":
            self._agent.stop(kill=True)
            return self._agent.start
        if fault == "broker-killed":
            return self._kill_broker()
        if how == "disk-full":
            return _full(self._agent.program if whose == "agent" else bridge)
        if how.startswith("store-"):
            return self._spoil(whose, how.removeprefix("store-"))
        return self._break(whose, how)

    def _bridge(self) -> RunningProgram:
        return next(iter(self._rig.bridges.values()))

    def _kill(self, program: RunningProgram) -> Callable[[], None]:
        program.kill()
        return lambda: self._rig.launch(program)

    def _kill_broker(self) -> Callable[[], None]:
        self._rig.broker.kill()

        def start() -> None:
            self._rig.broker.start()

        return start

    def _break(self, whose: str, how: str) -> Callable[[], None]:
        """A path: TCP, or the datagrams of an agent that speaks CoAP."""
        rig = self._rig
        if whose == "agent" and self._plan.transport == "coap":
            rig.coap_path.dark = True
            return lambda: setattr(rig.coap_path, "dark", False)
        path = {"agent": rig.agent_path, "bridge": rig.bridge_path, "cloud": rig.cloud_path}[whose]
        if how == "stalled":
            path.stall()
            return path.flow
        if how == "half-open":
            path.half_open()
            return path.cut if self._dice.random() < 0.8 else lambda: None  # else they must find out by themselves
        path.cut()
        return lambda: None

    # ---- stores

    def _spoil(self, whose: str, how: str) -> Callable[[], None]:
        """Stop a program and spoil its store; what may be lost is noted before it starts again."""
        kill = (how == "damaged" or whose == "agent") and self._dice.random() < 0.5
        if whose == "agent":
            program, store = self._agent.program, self._agent.store
            self._agent.stop(kill=kill)
        else:
            program = self._bridge()
            store = program.directory / "state" / "journal.db"
            program.kill() if kill else program.terminate()
        if self._rig.ear.subscribed:
            self._rig.ear.fence()
        held = self._held(whose)
        done = spoil(store, how, self._dice)
        self._note(f"{whose} {'killed' if kill else 'stopped'}; {done}; it alone held {held}")
        before = len(program.stderr)

        def look() -> list[Excuse]:
            told = any(words in program.stderr[before:] for words in TOLD)
            self._note(f"on stderr the {whose} {'told' if told else 'did not tell'} of the damage")
            given_up = self._rig.ear.given_up(self._plan.device, self._plan.stream) if whose == "agent" else {}
            safe = self._rig.ear.receipts(self._plan.device) if whose == "agent" else {}
            found = [Excuse(epoch, rows, told, f"held by the {whose}'s spoilt store") for epoch, rows in held.items()]
            # also rows whose confirmation its source was killed before it read: windows of accepted ones span them
            named = {epoch: outside(rows, safe.get(epoch, [])) for epoch, rows in given_up.items()}
            return found + [
                Excuse(epoch, rows, told=True, why="given up by the agent") for epoch, rows in named.items()
            ]

        self._spoilt.append(look)
        return self._agent.start if whose == "agent" else lambda: self._rig.launch(program)

    def _held(self, whose: str) -> dict[str, list[Span]]:
        """Rows that only this store held, by epoch: judged by what can be seen from outside."""
        receipted = self._rig.ear.receipts(self._plan.device)
        if whose == "bridge":
            return {epoch: outside(rows, []) for epoch, rows in receipted.items()}
        held: dict[str, list[Span]] = {}
        for one in self._agent.accepted():  # of a replay none: its source has the recording and begins anew
            held.setdefault(one.epoch, []).append((one.first, one.last))
        return {epoch: outside(rows, receipted.get(epoch, [])) for epoch, rows in held.items()}


def _full(program: RunningProgram) -> Callable[[], None]:
    if not program.running:
        return lambda: None
    process = program.process
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (FULL, hard))

    def lift() -> None:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))

    return lift


def spoil(store: Path, how: str, dice: random.Random) -> str:
    """Damages or truncates a SQLite store nobody has open; what was done, in words."""
    parts = [store.with_name(store.name + suffix) for suffix in ("", "-wal")]
    parts = [part for part in parts if part.exists() and part.stat().st_size]
    if not parts:
        return "there was no store to spoil"
    part = parts[-1] if how == "truncated" else dice.choice(parts)
    size = part.stat().st_size
    if how == "truncated":
        left = dice.randrange(size)
        with part.open("r+b") as file:
            file.truncate(left)
        return f"{part.name} was cut from {size} to {left} bytes"
    places = sorted(dice.randrange(max(1, size - WIDE)) for _ in range(PLACES))
    with part.open("r+b") as file:
        for place in places:
            file.seek(place)
            file.write(dice.randbytes(min(WIDE, size - place)))
    return f"{part.name} of {size} bytes was damaged at {places}"


def outside(ranges: list[Span], others: list[Span]) -> list[Span]:
    """Rows of the first that are not in the second: inclusive ranges, sorted and joined."""
    rows = {row for low, high in ranges for row in range(low, high + 1)}
    rows -= {row for low, high in others for row in range(low, high + 1)}
    joined: list[Span] = []
    for row in sorted(rows):
        if joined and joined[-1][1] + 1 == row:
            joined[-1] = (joined[-1][0], row)
        else:
            joined.append((row, row))
    return joined
