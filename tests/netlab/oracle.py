"""The contestant `oracle`: the agent of `ours`, but it knows the schedule, and need not be careful."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.netlab.ours import Ours

if TYPE_CHECKING:
    from collections.abc import Sequence


class Oracle(Ours):
    """See `oracle_agent`."""

    name = "oracle"
    about = (
        "the same edge-agent, its estimates replaced by the schedule's truth, and without hysteresis; "
        "in changing scenarios"
    )
    program: Sequence[str] = (sys.executable, "-m", "tests.netlab.oracle_agent")
