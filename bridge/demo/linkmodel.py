"""One direction of an emulated link. PURE: the time and size of a packet come in, when it is due comes out.

A packet passes a drop-tail queue, a serialiser, the air and a propagation delay, in this order:

```
offer(now, size) ─▶ queue ─▶ serialiser ─▶ air ─▶ delay + jitter ─▶ due
                     │ full    bit/s        │ loss, fade, outage
                     ▼                      ▼
                  overflow                 lost
```

Times are seconds on the schedule's clock: 0 is when the workload starts. Before, the link has the first conditions but
loses nothing, so that everybody is connected when the clock starts. The demo's relay and the network laboratory
(`tests/netlab`) share this model.

The dice are thrown anew every `SLOT` seconds, from seed, direction and slot: what is sent at the same moment meets the
same fate, whatever was sent before. So senders that are compared over links of one seed meet the same losses, and one
packet more does not change all those after it (common random numbers: Law, Simulation Modeling and Analysis, 11.2).
"""

from __future__ import annotations

import bisect
import collections
import itertools
import math
import random
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MTU = 1_500
SLOT = 0.01
"""Seconds. Far below the distance of two messages, and above how much sooner one sender is than another."""


class Fades(msgspec.Struct, frozen=True):
    """Times in which everything is lost, in both directions at once: a two-state Markov chain in continuous time.

    The Gilbert model (Bell Syst. Tech. J. 39, 1960) with a bad state that loses every packet; it goes by time and not
    by packet, so that the same seed fades at the same moments whatever is sent.

    Attributes:
        mean: of a fade's length, s; exponentially distributed.
        share: of the time that is faded, above 0 and below 1: the mean loss.
    """

    mean: float
    share: float


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """What one direction does to packets.

    Attributes:
        delay: propagation, s, one way.
        rate: IP bit/s; None for no limit, 0 for a hand-over gap that holds packets until the next conditions.
        queue: IP bytes that may wait or be in sending; what does not fit is dropped at the tail.
        jitter: each packet takes up to this more, s, uniform; order is kept.
        loss: probability of a packet, each for itself.
        fades: burst loss, on top.
        reorder: share of the packets that are held back, so that later ones overtake them.
        reorder_by: for how long, s.
        outage: everything is lost, also what waited in the queue.
        no_udp: UDP is lost at the far end of the air, as by a firewall; TCP passes. Before the start too.
    """

    delay: float
    rate: float | None = None
    queue: int = 64_000
    jitter: float = 0.0
    loss: float = 0.0
    fades: Fades | None = None
    reorder: float = 0.0
    reorder_by: float = 0.0
    outage: bool = False
    no_udp: bool = False

    def calm(self) -> Conditions:
        """These, losing nothing but what is never let through."""
        return msgspec.structs.replace(self, loss=0.0, fades=None, outage=False)


class Stage(msgspec.Struct, frozen=True):
    """From `at` (s) on, until the next stage: the device's way up to the gateway, and the way down."""

    at: float
    up: Conditions
    down: Conditions


class Count(msgspec.Struct):
    """Packets since the clock started.

    Attributes:
        packets: offered to the link, whatever became of them.
        bytes: of these, IP header included.
        lost: in the air.
        overflow: dropped by the full queue.
    """

    packets: int = 0
    bytes: int = 0
    lost: int = 0
    overflow: int = 0


class Direction:
    """One way of the link.

    Args:
        stages: at least one, by `at`; the first is extended into the past, calm.
        way: which side of the stages.
        seed: of all randomness; with it a packet's fate hangs on its slot and how many came before it in that.

    Raises:
        ValueError: no stage, stages out of order, a queue too short for a packet, or a last stage of rate 0.

    Attributes:
        count: what became of the packets.
    """

    def __init__(self, stages: Sequence[Stage], way: Literal["up", "down"], seed: int) -> None:
        every = [stage.up if way == "up" else stage.down for stage in stages]
        if not every or any(b.at <= a.at for a, b in itertools.pairwise(stages)):
            raise ValueError("stages: at least one, each later than the one before")
        if every[-1].rate == 0:
            raise ValueError("the last stage has rate 0: what waits would wait for ever")
        if min(one.queue for one in every) < MTU:
            raise ValueError(f"a queue below {MTU} bytes passes no full packet")
        self.count = Count()
        self._conditions = [every[0].calm(), *every]
        self._begins = [-math.inf, 0.0, *(stage.at for stage in stages[1:])]
        self._fading = [
            None,
            *(_Fading(one.fades, _seed(seed, n)) if one.fades else None for n, one in enumerate(every)),
        ]
        self._dice = _Dice(f"{seed}/{way}")
        self._waiting: collections.deque[tuple[float, int]] = collections.deque()  # (departure, bytes)
        self._backlog = 0
        self._last_due = -math.inf

    def offer(self, now: float, size: int, *, udp: bool = False) -> float | None:
        """When a packet of `size` IP bytes offered now is due at the other end, s; None if it is dropped.

        `now` never goes back. The queue goes by the conditions now, loss and delay by those when it is serialised.
        """
        counted = now >= 0
        self.count.packets += counted
        self.count.bytes += size * counted
        chances = self._dice.throw(now)
        while self._waiting and self._waiting[0][0] <= now:
            self._backlog -= self._waiting.popleft()[1]
        if self._backlog + size > self._conditions[self._stage(now)].queue:
            self.count.overflow += counted
            return None
        departs = self._departure(self._waiting[-1][0] if self._waiting else now, 8 * size)
        self._waiting.append((departs, size))
        self._backlog += size
        return self._air(departs, chances, counted=counted, udp=udp)

    def _air(self, departs: float, chances: tuple[float, float, float], *, counted: bool, udp: bool) -> float | None:
        stage = self._stage(departs)
        here, fading = self._conditions[stage], self._fading[stage]
        faded = fading is not None and fading.at(departs - self._begins[stage])
        if here.outage or faded or (udp and here.no_udp) or chances[0] < here.loss:
            self.count.lost += counted
            return None
        due = max(self._last_due, departs + here.delay + here.jitter * chances[1])
        if chances[2] < here.reorder:
            return due + here.reorder_by
        self._last_due = due
        return due

    def _stage(self, at: float) -> int:
        return bisect.bisect_right(self._begins, at) - 1

    def _departure(self, start: float, bits: float) -> float:
        """When `bits` are out, if the serialiser begins at `start`: the rate integrated over the schedule."""
        for stage in range(self._stage(start), len(self._begins)):
            rate = self._conditions[stage].rate
            if rate is None:
                return start
            end = self._begins[stage + 1] if stage + 1 < len(self._begins) else math.inf
            if rate and start + bits / rate <= end:
                return start + bits / rate
            bits -= rate * (end - start)
            start = end
        raise AssertionError("the last stage has a rate")


def faded(stages: Sequence[Stage], seed: int, end: float) -> list[tuple[float, float]]:
    """The fades of a schedule until `end`: begin and end, s."""
    ends = [*(stage.at for stage in stages[1:]), math.inf]
    found = []
    for n, (stage, until) in enumerate(zip(stages, ends, strict=True)):
        if stage.up.fades:
            last = min(until, end)
            for begin, over in _spans(stage.up.fades, _seed(seed, n)):
                if stage.at + begin >= last:
                    break
                found.append((stage.at + begin, min(stage.at + over, last)))
    return found


def _seed(seed: int, stage: int) -> str:
    return f"{seed}/fades/{stage}"


def _spans(fades: Fades, seed: str) -> Iterator[tuple[float, float]]:
    """Begin and end of each fade, without end, from the chain's stationary distribution."""
    dice = random.Random(seed)  # noqa: S311 # dice of a model, no secret
    clear = fades.mean * (1 / fades.share - 1)
    at = 0.0 if dice.random() < fades.share else dice.expovariate(1 / clear)
    while True:
        end = at + dice.expovariate(1 / fades.mean)
        yield at, end
        at = end + dice.expovariate(1 / clear)


class _Dice:
    """Three chances of each packet, as many whatever its fate; those of one slot do not hang on those before."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._slot: float | None = None
        self._dice = random.Random()  # noqa: S311 # dice of a model, no secret

    def throw(self, now: float) -> tuple[float, float, float]:
        slot = now // SLOT
        if slot != self._slot:
            self._slot = slot
            self._dice.seed(f"{self._seed}/{slot:.0f}")
        return self._dice.random(), self._dice.random(), self._dice.random()


class _Fading:
    """Whether it is faded, asked for times that never go back."""

    def __init__(self, fades: Fades, seed: str) -> None:
        self._spans = _spans(fades, seed)
        self._span = next(self._spans)

    def at(self, time: float) -> bool:
        while time >= self._span[1]:
            self._span = next(self._spans)
        return time >= self._span[0]
