"""The device of `oracle`: that of `ours`, with the truth for an estimator. The argument is a `Task`.

Beside the settings it reads `scenario.json`, and `start` once it is there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from unittest.mock import patch

import msgspec

from bridge.link import Estimate, Estimator, Leg, choose, returns
from tests.netlab import ours_device, traffic
from tests.netlab.scenarios import Scenario

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.link.events import Protocol
    from tests.netlab.model import Stage

SURE = 800.0  # packets that a loss that is known rests on
AT_ONCE = {"late": 0.0, "saving": 0.0, "gone": 0.0}


class Truth(Estimator):
    """Says what the link does, not what it seems to do; of the connections it knows what the agent does.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._stages = msgspec.json.decode((folder / "scenario.json").read_bytes(), type=Scenario).stages
        self._told = folder / "start"
        self._start: float | None = None

    def estimate(self, now: float) -> Estimate:
        """The path at `now`, s on CLOCK_MONOTONIC."""
        if self._start is None and self._told.exists() and (start := self._told.read_text()):
            self._start = float(start)
        return self.at(0.0 if self._start is None else max(0.0, now - self._start), super().estimate(now))

    def at(self, time: float, seen: Estimate) -> Estimate:
        """The path at `time`, s on the schedule's clock; `seen`: by the agent itself.

        Gone is what a message sent now, or its answer one round trip later, meets.
        """
        stage = self._stage(time)
        gone = stage.up.outage or self._stage(time + round_trip(stage)).up.outage
        silent = time - stage.at if stage.up.outage else 0.0
        up, down = stage.up, stage.down
        fades = up.fades
        return msgspec.structs.replace(
            seen,
            mqtt=_leg(seen, "mqtt", stage, gone=gone, silent=silent),
            coap=_leg(seen, "coap", stage, gone=gone or up.no_udp, silent=time - stage.at if up.no_udp else silent),
            loss=1 - (1 - (up.loss + down.loss) / 2) * (1 - (fades.share if fades else 0.0)),
            loss_trials=SURE,
            spell=fades.mean * (1 - fades.share) if fades else 0.0,
            goodput=(up.rate or 0.0) / 8,
            goodput_known=up.rate is not None,
            queueing=0.0,
            outage=gone,
        )

    def _stage(self, time: float) -> Stage:
        """The present one; for a gap that holds packets, that which lets them go."""
        reached = [n for n, stage in enumerate(self._stages) if stage.at <= time]
        return next(stage for stage in self._stages[reached[-1] :] if stage.up.rate != 0)


def round_trip(stage: Stage) -> float:
    """Seconds, half of the jitter with it."""
    up, down = stage.up, stage.down
    return up.delay + down.delay + (up.jitter + down.jitter) / 2


def _leg(seen: Estimate, protocol: Protocol, stage: Stage, *, gone: bool, silent: float) -> Leg:
    """As `bridge.link.Leg`; that MQTT's connection is stuck is no matter of the link, and stays."""
    leg = seen.leg(protocol)
    stuck = protocol == "mqtt" and leg.out
    trip = round_trip(stage)
    base = stage.up.delay + stage.down.delay
    variation = (stage.up.jitter + stage.down.jitter) / 4  # mean deviation of a uniform spread
    return msgspec.structs.replace(
        leg,
        out=gone or stuck,
        silent=max(silent, leg.silent if stuck else 0.0),
        rtt=trip,
        min_rtt=base,
        base=base,
        jitter=0.95 * stage.up.jitter,
        srtt=trip,
        rttvar=variation,
        rto=trip + max(0.02, 4 * variation),
        size=0.0,
    )


def main() -> None:
    """Run it."""
    task = traffic.task()
    with (
        patch.object(returns, "RETURN", 0.0),
        patch.multiple(
            choose, MARGIN=1.0, SAFER=1.0, GAIN=0.0, SAVING=1.0, WORSE_LOSS=1.0, CONFIRM=AT_ONCE, DWELL=AT_ONCE
        ),
    ):
        asyncio.run(ours_device.run(task, Truth(task.path(""))))


if __name__ == "__main__":
    main()
