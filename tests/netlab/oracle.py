"""The contestant `oracle`: the agent of `ours`, but it knows the schedule, and need not be careful."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.netlab import gateway
from tests.netlab.contestants import module
from tests.netlab.ours import Ours, write_config

if TYPE_CHECKING:
    from tests.netlab.contestants import Command, Run


class Oracle(Ours):
    """See `oracle_device`."""

    name = "oracle"
    about = (
        "the same edge agent in the same program, its estimates replaced by the schedule's truth, and without "
        "hysteresis; in changing scenarios"
    )

    def device(self, run: Run) -> Command:
        write_config(run, "program")
        return module("oracle_device", run, gateway.MQTT_PORT)
