"""All contestants, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.netlab.oracle import Oracle
from tests.netlab.ours import Ours, Stdin
from tests.netlab.rivals import RIVALS, FixedCoap

if TYPE_CHECKING:
    from tests.netlab.contestants import Contestant
    from tests.netlab.scenarios import Scenario

CONTESTANTS: dict[str, Contestant] = {one.name: one for one in (Ours(), *RIVALS, Oracle(), Stdin())}
DEFAULT = ("ours", "mqtt", "coap", "oracle", "stdin")
LAN = "lan"


def enters(name: str, scenario: Scenario) -> bool:
    """Whether a contestant is asked for there: where nothing changes, there is nothing to foresee.

    And CoAP alone cannot even begin where UDP never passes; and a step between processes is told where little else is.
    """
    if name == Stdin.name:
        return scenario.name == LAN
    if name == FixedCoap.name and scenario.constant:
        return not scenario.stages[0].up.no_udp
    return name != Oracle.name or not scenario.constant
