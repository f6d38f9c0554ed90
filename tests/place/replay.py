"""Replays windows against a trace in virtual time: what a policy decides, and when each window is answered.

A question asked at t takes what the trace says around t, and what was lost there stays lost. On top comes what the
policy brings upon itself: its question waits behind its own earlier ones, for the link (at the emulator's rate) and for
the agent (at the recorded run time). A policy hears of an answer when it comes, and of nothing else.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from tests.place.clock import virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.place.clock import Clock
    from tests.place.trace import Sample, Trace
    from tests.place.windows import Judged

OVERHEAD = 200  # bytes of a question besides its payload: topics, properties, MQTT, TCP, IP, acknowledgements
PERIOD = 1.28  # s from window to window of a device: 64 rows at 50 Hz
AFTER = 60.0  # s that the replay goes on after the last window
Tier = Literal["bridge", "cloud"]


class Told(msgspec.Struct, frozen=True):
    """What became of a window.

    Attributes:
        window: which.
        at: when its last row arrived, s.
        latency: s until it was answered; inf: never.
        tier: who answered.
        right: the answer was true.
        asked: the cloud was asked for it.
    """

    window: int
    at: float
    latency: float
    tier: Tier
    right: bool
    asked: bool


class Arrival(msgspec.Struct, frozen=True, order=True):
    """A window arrives: when, s, and which."""

    at: float
    window: int


def arrivals(recording: Sequence[int], seconds: float, seed: int) -> list[Arrival]:
    """All windows within so many seconds, as devices would send them.

    Recordings are dealt out at random to as many devices as it takes; each device sends its recordings' windows in
    order, one every `PERIOD` or so, as fits into the time, with a phase of its own.
    """
    dice = random.Random(seed)
    by_recording: dict[int, list[int]] = {}
    for window, number in enumerate(recording):
        by_recording.setdefault(number, []).append(window)
    hands: list[list[int]] = [[] for _ in range(math.ceil(len(recording) * PERIOD / seconds))]
    for number in dice.sample(sorted(by_recording), len(by_recording)):
        min(hands, key=len).extend(by_recording[number])
    found = []
    for hand in hands:
        step = seconds / max(1, len(hand))
        phase = dice.uniform(0.0, step)
        found += [Arrival(phase + step * place, window) for place, window in enumerate(hand)]
    return sorted(found)


class Cloud:
    """Link and agent as recorded, with the lines that the policy's own questions form before them.

    Attributes:
        questions: asked so far.
    """

    def __init__(self, trace: Trace) -> None:
        self.questions = 0
        self._trace = trace
        self._link_free = self._agent_free = -math.inf

    def up(self, now: float) -> bool:
        """Whether the client is connected."""
        return self._trace.at(now).up

    def ups(self) -> list[float]:
        """When it is connected again, s."""
        pairs = zip(self._trace.samples, self._trace.samples[1:], strict=False)
        return [after.t for before, after in pairs if after.up and not before.up]

    def ask(self, now: float, size: int | None = None) -> tuple[float, Sample]:
        """When the answer to a question asked now comes, s (inf: never), and what was recorded of it.

        Args:
            now: s.
            size: bytes of the question; as recorded if not given.
        """
        self.questions += 1
        sample = self._trace.at(now)
        behind = max(0.0, self._link_free - now)
        self._link_free = now + behind + _serialising(sample, sample.size if size is None else size)
        if math.isinf(sample.took):
            return math.inf, sample
        there = now + behind + sample.network / 2 + sample.wait
        waits = max(0.0, self._agent_free - there)
        self._agent_free = there + waits + sample.run
        return now + behind + sample.took + waits, msgspec.structs.replace(sample, wait=sample.wait + waits)


def _serialising(sample: Sample, size: int) -> float:
    return 8e-3 * (size + OVERHEAD) / sample.kbit if sample.kbit else 0.0


class World:
    """What a policy acts in.

    Attributes:
        clock: virtual time.
        cloud: to be asked.
        judged: what both tiers say of the windows.
    """

    def __init__(self, clock: Clock, cloud: Cloud, judged: Judged) -> None:
        self.clock = clock
        self.cloud = cloud
        self.judged = judged

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return self.clock.now

    def ask(self, then: Callable[[], None]) -> None:
        """Ask the cloud, and go on when its answer comes, if ever."""
        comes, _ = self.cloud.ask(self.now)
        if comes < math.inf:
            self.clock.call_at(comes, then)


class Case:
    """A window that a policy has to answer: once, or never.

    Attributes:
        window: which.
        at: when it arrived, s.
        whole: s from there to its deadline.
        asked: the cloud is asked for it.
        told: what became of it.
    """

    def __init__(self, world: World, arrival: Arrival, whole: float) -> None:
        self._world = world
        self.window, self.at, self.whole = arrival.window, arrival.at, whole
        self.asked = False
        self.told: Told | None = None

    @property
    def certainty(self) -> float:
        """Of the bridge's answer."""
        return float(self._world.judged.small.certainty[self.window])

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.at + self.whole - self._world.now

    def tell(self, tier: Tier) -> None:
        """Answer it now; a second answer is ignored."""
        judged = self._world.judged
        right = (judged.small if tier == "bridge" else judged.asked).right[self.window]
        if self.told is None:
            self.told = Told(self.window, self.at, self._world.now - self.at, tier, bool(right), self.asked)

    def ended(self) -> Told:
        """What became of it, in the end."""
        return self.told or Told(self.window, self.at, math.inf, "cloud", right=False, asked=True)


class Policy(Protocol):
    """Decides.

    Attributes:
        name: in tables and pictures.
        waits_for_bridge: it decides when the bridge's own answer is there; else when the window is.
    """

    name: str
    waits_for_bridge: bool

    def begin(self, world: World) -> None:
        """Called once, with the clock at 0."""

    def place(self, case: Case) -> None:
        """Called for each window when it is to be decided; now or later it is told."""


def replay(
    policy: Policy, judged: Judged, link: Trace, bridge: Trace, coming: Sequence[Arrival], deadline: float
) -> tuple[list[Told], int]:
    """What becomes of every window under a policy.

    Args:
        policy: fresh; it learns.
        judged: what both tiers say of the windows.
        link: the cloud's trace.
        bridge: how long the bridge takes; read as often over as it takes.
        coming: the windows.
        deadline: s from a window's arrival.

    Returns:
        Of each window, in the order given; and how many questions left for the cloud, for whatever reason.
    """
    with virtual() as clock:
        world = World(clock, Cloud(link), judged)
        policy.begin(world)
        cases = [Case(world, one, deadline) for one in coming]
        for case in cases:
            ready = bridge_takes(bridge, case.at) if policy.waits_for_bridge else 0.0
            clock.call_at(case.at + ready, policy.place, case)
        clock.run_until(max(one.at for one in coming) + AFTER)
        return [case.ended() for case in cases], world.cloud.questions


def bridge_takes(bridge: Trace, t: float) -> float:
    """Seconds that the bridge takes for a window that arrives at t."""
    return bridge.at(t % bridge.end).took


def oracle(judged: Judged, link: Trace, bridge: Trace, coming: Sequence[Arrival], deadline: float) -> list[Told]:
    """Who knows, for each window by itself, which tier would be right in time; no line forms before it.

    Both tiers would begin when the window arrives. Where neither would be right in time it takes the bridge.
    """
    found = []
    for one in coming:
        takes, cloud = bridge_takes(bridge, one.at), link.at(one.at).took
        small, big = bool(judged.small.right[one.window]), bool(judged.asked.right[one.window])
        if not (small and takes <= deadline) and big and cloud <= deadline:
            found.append(Told(one.window, one.at, cloud, "cloud", right=True, asked=True))
        else:
            found.append(Told(one.window, one.at, takes, "bridge", right=small, asked=False))
    return found
