"""Where a window is computed, and what the operator is told of it."""

from __future__ import annotations

from typing import Literal

import pytest

from bridge.messages import Answer
from bridge.place.confidence import CloudView, place

THERE = CloudView(there=True, round_trip=0.2)
AWAY = CloudView(there=False, why="no cloud agent serves activity")


@pytest.mark.parametrize(
    ("policy", "score", "below", "cloud", "left", "tier", "firm", "reason"),
    [
        ("bridge", 0.1, 0.9, THERE, 1.0, "bridge", True, "the route computes on the bridge"),
        ("cascade", 0.1, None, THERE, 1.0, "bridge", True, "the model escalates nothing"),
        ("cascade", 0.7, 0.7, THERE, 1.0, "bridge", True, "confident: 0.700 ≥ 0.700"),
        ("cascade", 0.69, 0.7, THERE, 1.0, "cloud", False, "unsure: 0.690 < 0.700"),
        ("cascade", 0.69, 0.7, AWAY, 1.0, "bridge", False, "unsure: 0.690 < 0.700, but no cloud agent serves activity"),
        ("cloud", 0.99, 0.7, THERE, 1.0, "cloud", False, "the route computes in the cloud"),
        ("cloud", 0.99, None, AWAY, 1.0, "bridge", False, "the route computes in the cloud, but no cloud agent"),
        ("cloud", 0.99, None, THERE, 0.2, "bridge", False, "0.200 s are left and the cloud takes 0.200 s"),
        ("cascade", 0.1, 0.7, CloudView(there=True), -0.5, "bridge", False, "-0.500 s are left"),
    ],
)
def test_the_tier_follows_policy_confidence_cloud_and_deadline(
    policy: Literal["cascade", "bridge", "cloud"],
    score: float,
    below: float | None,
    cloud: CloudView,
    left: float,
    tier: str,
    firm: bool,
    reason: str,
) -> None:
    said = place(Answer("sit", score, "1", "small"), policy=policy, below=below, cloud=cloud, left=left)
    assert (said.tier, said.firm) == (tier, firm)
    assert reason in said.reason
