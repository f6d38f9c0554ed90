"""How much chance is in a ratio of utilities: `python -m tests.netlab.chance ramp noise`.

The same sender runs twice over links of one seed, as `ours` and `oracle` do where both have one profile, and over links
of two seeds. It is the real `bridge.coap.path`, the real link model and the laboratory's formula; simulated are the
programs' delays, which differ between two runs. What its ratio scatters by, the laboratory's scatters by too.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from typing import TYPE_CHECKING

import numpy as np

from tests.netlab import ours, recordings, usefulness
from tests.netlab.model import Direction
from tests.netlab.rows import NEAR_ORACLE
from tests.netlab.scenarios import SCENARIOS
from tests.netlab.traffic import ROWS
from tests.unit.coap.simulated import World

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bridge.coap.path import Exchange
    from tests.netlab.scenarios import Scenario

SEEDS, MESSAGES, PAIRS = 3, 3_000, 60
POST, ANSWER = 150, 60  # IP bytes, int4 in a frame of zstd
BEFORE, AFTER = 0.0008, 0.0015  # s at least from the hand-over to the datagram; from its arrival to the Result
DRAIN = 60.0  # s
QUANTILE = 0.95


def _answers(dice: random.Random) -> float:
    """Seconds until the bridge answers: 3 ms in the mean, one in 12 up to 8 ms more, as measured in the laboratory."""
    return 0.001 + dice.expovariate(1 / 0.0018) + (dice.uniform(0, 0.008) if dice.random() < 0.08 else 0.0)


class Run(World):
    """One sender's messages over the link of a scenario.

    Args:
        scenario: whose link.
        seed: of the link.
        own: of the programs' delays.
        messages: at the scenario's rate.
    """

    def __init__(self, scenario: Scenario, seed: int, own: str, messages: int) -> None:
        super().__init__(commit=_answers)
        self._scenario = scenario
        self._dice = random.Random(own)
        self._up, self._down = (Direction(scenario.stages, way, seed) for way in ("up", "down"))
        self.bytes_s = [0] * (round(messages / scenario.rate + DRAIN) + 1)
        for number in range(messages):
            self.born[number] = number / scenario.rate
            begin = self.born[number] + BEFORE + self._dice.expovariate(1 / 0.0003)
            self.at(begin, lambda number=number: self._begin(number))  # type: ignore[misc] # bound early
        self.run(messages / scenario.rate + DRAIN)

    def _transmit(self, number: int, exchange: Exchange) -> None:
        self.bytes_s[int(self.now)] += POST
        due = self._up.offer(self.now, POST, udp=True)
        if due is not None:
            self.at(due, lambda: self._arrive(number, exchange))

    def _reply(self, number: int, exchange: Exchange) -> None:
        self.bytes_s[int(self.now)] += ANSWER
        due = self._down.offer(self.now, ANSWER, udp=True)
        if due is not None:
            self.at(due, lambda: self._answer(number, exchange))

    def utility(self) -> float:
        """Mean of its seconds, as the laboratory's."""
        born = np.array(list(self.born.values()))
        came = np.maximum.accumulate([self.arrived.get(number, np.inf) for number in self.born])
        late = came + AFTER - born
        p95 = [_p95(late[born.astype(int) == second]) for second in range(int(born[-1]) + 1)]
        nothing = [0.0] * len(p95)
        every = usefulness.by_second(
            p95, self.bytes_s, nothing, nothing, wanted=ours.wish(self._scenario), budget=ours.BUDGET,
            reference=self._scenario.rate * ROWS * recordings.row_bytes(),
        )  # fmt: skip
        return statistics.fmean(every)


def _p95(late: NDArray[np.float64]) -> float | None:
    return float(np.quantile(late, QUANTILE, method="inverted_cdf")) if late.size else None


def ratios(scenario: Scenario, pairs: int, messages: int, *, apart: bool = False) -> list[float]:
    """Utility of one run as a share of another's; `apart`: over links of two seeds instead of one."""
    found = []
    for seed in range(1, pairs + 1):
        other = seed + pairs if apart else seed
        one = Run(scenario, seed, f"{seed}/one", messages).utility()
        found.append(one / Run(scenario, other, f"{seed}/other", messages).utility())
    return found


def main() -> None:
    """Prints mean and standard deviation, and how often the median of three falls short."""
    parser = argparse.ArgumentParser(prog="python -m tests.netlab.chance", description=__doc__.partition("\n")[0])
    parser.add_argument("scenarios", nargs="+", choices=[one.name for one in SCENARIOS.values() if not one.constant])
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    asked = parser.parse_args()
    for name in asked.scenarios:
        for apart, seeds in ((False, "one seed "), (True, "two seeds")):
            found = ratios(SCENARIOS[name], asked.pairs, asked.messages, apart=apart)
            medians = [statistics.median(found[n : n + SEEDS]) for n in range(0, len(found) - SEEDS + 1, SEEDS)]
            short = sum(one < NEAR_ORACLE for one in medians)
            sys.stdout.write(
                f"{name:10} {seeds} {statistics.fmean(found):.3f} ± {statistics.stdev(found):.3f}; "
                f"medians of {SEEDS} below {NEAR_ORACLE}: {short} of {len(medians)}\n"
            )


if __name__ == "__main__":
    main()
