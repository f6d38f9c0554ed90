"""What was chosen, and why, as status and log tell it."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bridge.link import Decision, Estimate
    from bridge.link.events import Protocol
    from edge_agent.choice import Choice

log = logging.getLogger(__name__)

SWITCHES = 8  # told in the status
NOTE = 0.2  # seconds between two lines on the link in the log


class Switches:
    """The latest switches.

    Args:
        choices: by stream.
        ways: there are.

    Attributes:
        latest: as told in the status, the newest last.
    """

    def __init__(self, choices: Mapping[str, Choice], ways: Collection[Protocol]) -> None:
        self._choices, self._ways = choices, ways
        self._noted = float("-inf")
        self.latest: deque[dict[str, Any]] = deque(maxlen=SWITCHES)

    def switched(self, stream: str, decision: Decision, wall: float) -> None:
        """A stream uses another profile from now on; `wall`: seconds since 1970."""
        profile, reason = decision.profile.name, decision.reason
        log.info("stream %s: profile %s: %s", stream, profile, reason)
        self.latest.append({"t": wall, "stream": stream, "profile": profile, "reason": reason})

    def facts(self, estimate: Estimate) -> dict[str, Any]:
        """For the status."""
        chosen = {name: one.decision for name, one in self._choices.items() if one.decision is not None}
        latest: dict[str, Any] = self.latest[-1] if self.latest else {"profile": None, "reason": "no rows yet"}
        return {
            "profile": latest["profile"],
            "reason": latest["reason"],
            "profiles": {name: decision.profile.name for name, decision in chosen.items()},
            "switches": list(self.latest),
            "link": {
                "words": estimate.words(),
                "loss": round(estimate.loss, 4),
                "goodput": round(estimate.goodput) if estimate.goodput_known else None,
                "outage": estimate.outage,
                "round_trip": {name: round(estimate.leg(name).rtt, 4) for name in self._ways},
            },
        }

    def note(self, now: float, estimate: Estimate) -> None:
        """For the log of whoever watches closely; the round trip is that of the way heard last."""
        if log.isEnabledFor(logging.DEBUG) and now - self._noted >= NOTE:
            self._noted = now
            rtt = min((estimate.leg(name) for name in self._ways), key=lambda leg: leg.heard).rtt
            goodput = estimate.goodput if estimate.goodput_known else None
            said = {"rtt": rtt, "loss": estimate.loss, "goodput": goodput, "outage": estimate.outage}
            log.debug("link %s", msgspec.json.encode(said).decode())
