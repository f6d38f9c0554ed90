"""The scenarios: what the link does, and when.

How to read the figures:

* **RTT** is twice the propagation delay of one way, both ways alike; serialisation and queueing come on top.
* **Loss** of 10 % means: each IP packet, of any size and in each direction, is lost with probability 0.1, each for
  itself. So 19 % of the exchanges of one packet and one acknowledgement fail.
* **Fades** take both directions at once: 5 % of the time, exponential lengths of 250 ms in the mean.
* **Rates** are bits of IP packets a second, each way; the queue before them holds so many bytes and drops at the tail.
  Where a scenario says nothing: 10 Mbit/s, 64 kB.
* **Outages** lose everything, both ways; **gaps** hold everything until they end, as a hand-over that forwards its
  buffer does. **No UDP** means that a firewall loses UDP, and TCP passes.
* A trace that ends before the workload goes on with its last conditions; a workload shorter than `least` is made that
  long, so that everything in the trace happens.
"""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any

import msgspec

from tests.netlab.model import Conditions, Fades, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable

RATE = 20.0  # messages a second


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table.

    Attributes:
        name: on the command line.
        about: in words.
        stages: the schedule.
        least: shortest workload, s.
        rate: messages a second that a contestant has to carry; see `traffic`.
        constant: the conditions never change.
        wish: freshness that the stream declares, s; None: what suits the links, see `ours.wish`.
    """

    name: str
    about: str
    stages: tuple[Stage, ...]
    least: float = 0.0
    rate: float = RATE
    wish: float | None = None

    @property
    def constant(self) -> bool:
        return len(self.stages) == 1

    @property
    def returns(self) -> list[float]:
        """When outages end, s."""
        return [after.at for before, after in itertools.pairwise(self.stages) if before.up.outage > after.up.outage]


def link(at: float = 0.0, *, rtt: float, **changes: Any) -> Stage:
    """From `at` (s) on: both ways alike, with a round trip of `rtt` ms and the `Conditions` named."""
    both = Conditions(delay=rtt / 2_000, **({"rate": 10e6} | changes))
    return Stage(at, both, both)


def _constant(
    name: str, about: str, *, messages_a_second: float = RATE, wish: float | None = None, **conditions: Any
) -> Scenario:
    return Scenario(name=name, about=about, stages=(link(**conditions),), rate=messages_a_second, wish=wish)


def _changing(name: str, about: str, stages: Iterable[Stage], *, least: float) -> Scenario:
    return Scenario(name=name, about=about, stages=tuple(stages), least=least)


def _outage(seconds: int) -> Scenario:
    good = link(rtt=50)
    stages = good, link(20, rtt=50, outage=True), msgspec.structs.replace(good, at=20.0 + seconds)
    return _changing(f"outage-{seconds}", f"50 ms; gone from 20 s to {20 + seconds} s", stages, least=seconds + 50)


def _ramp() -> list[Stage]:
    """Loss up to 20 % in steps of 2 % each 5 s, down again, twice; the round trip with it, from 50 to 150 ms."""
    climb = [*range(10), *range(10, 0, -1)]
    return [link(5.0 * n, rtt=50 + 10 * k, loss=0.02 * k) for n, k in enumerate(climb * 2)]


def _flap() -> list[Stage]:
    """10 s good, 10 s at 20 % loss, and so on; from 120 s each only 2 s."""
    begins = itertools.chain(range(0, 120, 10), range(120, 150, 2))
    return [link(at, rtt=50, loss=0.2 * (n % 2)) for n, at in enumerate(begins)]


# A drive from cell to cell, synthetic: (s, Mbit/s up, Mbit/s down, RTT ms, jitter ms, loss %). Towards a cell's edge
# the rate falls; 0 Mbit/s is a hand-over gap that holds packets; that of 2.5 s is a radio link failure: it loses them.
_DRIVE = (
    (6.0, 8.0, 20.0, 45, 10, 0.0), (5.0, 4.0, 10.0, 55, 15, 0.5), (4.0, 1.5, 4.0, 75, 30, 1.0),
    (0.08, 0.0, 0.0, 75, 0, 0.0), (7.0, 6.0, 15.0, 50, 10, 0.0), (5.0, 3.0, 8.0, 60, 20, 0.5),
    (3.0, 0.8, 2.0, 95, 40, 2.0), (0.25, 0.0, 0.0, 95, 0, 0.0), (4.0, 2.0, 5.0, 70, 25, 1.0),
    (4.0, 0.5, 1.2, 120, 60, 3.0), (1.2, 0.0, 0.0, 120, 0, 0.0), (6.0, 5.0, 12.0, 55, 15, 0.0),
    (4.0, 0.25, 0.6, 160, 80, 5.0), (2.5, 0.0, 0.0, 160, 0, 100.0), (5.0, 1.0, 3.0, 85, 30, 1.0),
    (0.15, 0.0, 0.0, 85, 0, 0.0),
)  # fmt: skip


def _drive() -> list[Stage]:
    """The drive three times over."""
    stages, at = [], 0.0
    for seconds, up, down, rtt, jitter, loss in _DRIVE * 3:
        every: dict[str, Any] = {"delay": rtt / 2_000, "jitter": jitter / 1e3, "loss": loss / 100, "queue": 128_000}
        if loss == 100:
            every |= {"outage": True, "loss": 0.0}
            up = down = 0.1
        stages.append(Stage(round(at, 3), Conditions(rate=up * 1e6, **every), Conditions(rate=down * 1e6, **every)))
        at += seconds
    return [*stages, link(round(at, 3), rtt=45)]


def _noise() -> list[Stage]:
    """Round trip, rate and loss each ±10 % around 80 ms, 1 Mbit/s and 5 %, anew each second; always the same."""
    dice = random.Random("±10 %")

    def around(middle: float) -> float:
        return middle * dice.uniform(0.9, 1.1)

    return [link(at, rtt=around(80), rate=around(1e6), loss=around(0.05)) for at in range(300)]


_ALL = (
    _constant("lan", "1 ms, 100 Mbit/s, no loss", rtt=1, rate=100e6),
    *(_constant(f"loss-{p}", f"50 ms, {p} % loss", rtt=50, loss=p / 100) for p in (0, 1, 5, 10, 20)),
    _constant("fades", "50 ms, 5 % loss in fades of 250 ms", rtt=50, fades=Fades(0.25, 0.05)),
    _constant("satellite", "600 ms, 2 Mbit/s, no loss", rtt=600, rate=2e6, queue=128_000),
    _constant("thin", "64 kbit/s, 200 ms, queue 16 kB", rtt=200, rate=64e3, queue=16_000),
    _constant(
        "thin-patient", "as thin, and the stream can wait half a second", rtt=200, rate=64e3, queue=16_000, wish=0.5
    ),
    _constant(
        "udp-never", "50 ms, and a firewall that lets no UDP through, from before the start", rtt=50, no_udp=True
    ),
    _constant(
        "nb-iot", "2 s, 20 kbit/s, queue 5 kB; 5 messages/s, 20 do not fit", rtt=2_000, rate=20e3, queue=5_000,
        messages_a_second=5.0,
    ),
    _changing("lte", "a drive with hand-over gaps of 0.08–2.5 s", _drive(), least=100.0),
    _changing(
        "step", "50 ms; 200 ms from 30 s; 64 kbit/s from 60 s; 50 ms and 10 % loss from 90 s; 50 ms from 120 s",
        [
            link(rtt=50), link(30, rtt=200), link(60, rtt=200, rate=64e3, queue=16_000), link(90, rtt=50, loss=0.1),
            link(120, rtt=50),
        ],
        least=150.0,
    ),
    _changing("ramp", "loss 0 → 20 → 0 % and 50 → 150 → 50 ms in steps of 5 s, twice", _ramp(), least=100.0),
    _changing("flap", "50 ms; 0 and 20 % loss in turn, 10 s each, from 120 s 2 s each", _flap(), least=150.0),
    _changing(
        "squeeze", "50 ms, 1 Mbit/s; 12 kbit/s, queue 5 kB, from 20 s, less than any profile needs; 1 Mbit/s from 50 s",
        [link(rtt=50, rate=1e6), link(20, rtt=50, rate=12e3, queue=5_000), link(50, rtt=50, rate=1e6)],
        least=70.0,
    ),
    _changing("noise", "80 ms, 1 Mbit/s, 5 % loss, each ±10 % anew each second", _noise(), least=60.0),
    *(_outage(seconds) for seconds in (4, 15, 60)),
    _changing(
        "udp-block", "50 ms; no UDP from 20 s to 40 s and from 60 s to 70 s",
        [link(at, rtt=50, no_udp=bool(n % 2)) for n, at in enumerate((0, 20, 40, 60, 70))],
        least=90.0,
    ),
)  # fmt: skip
SCENARIOS = {one.name: one for one in _ALL}
ALSO_CALLED = {"clean": "lan"}
