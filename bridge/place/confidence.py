"""First version of placement: confident → the bridge; else the cloud, if it is there; else the bridge anyway.

The reason is made for the operator who reads a Result: it says what was compared, in numbers.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from bridge.messages import Answer, Placement

Policy: TypeAlias = Literal["cascade", "bridge", "cloud"]


class CloudView(msgspec.Struct, frozen=True):
    """What is known of the cloud now.

    Attributes:
        there: it can be asked.
        why: why not, in words.
        round_trip: seconds that an answer usually takes; 0 when unknown.
    """

    there: bool
    why: str = ""
    round_trip: float = 0.0


ON_BRIDGE = Placement("bridge", "the route computes on the bridge", firm=True)
NEVER_UNSURE = Placement("bridge", "the model escalates nothing", firm=True)


def at_once(answer: Answer, *, policy: Policy, below: float | None) -> Placement | None:
    """The placement of a window that the bridge answers whatever the cloud does; None if the cloud is wished for.

    Args:
        answer: what the bridge's own model says.
        policy: the route's.
        below: the bridge is unsure below this probability; None: it is never unsure.
    """
    if policy == "bridge":
        return ON_BRIDGE
    if policy == "cloud":
        return None
    if below is None:
        return NEVER_UNSURE
    if answer.score >= below:
        return Placement("bridge", f"confident: {answer.score:.3f} ≥ {below:.3f}", firm=True)
    return None


def place(answer: Answer, *, policy: Policy, below: float | None, cloud: CloudView, left: float) -> Placement:
    """Where a window is answered.

    Args:
        answer: what the bridge's own model says.
        policy: the route's.
        below: the bridge is unsure below this probability; None: it is never unsure.
        cloud: what is known of the cloud.
        left: seconds until the deadline.

    Returns:
        The tier, and why.
    """
    placement = at_once(answer, policy=policy, below=below)
    if placement is not None:
        return placement
    wish = "the route computes in the cloud" if policy == "cloud" else f"unsure: {answer.score:.3f} < {below:.3f}"
    if not cloud.there:
        return Placement("bridge", f"{wish}, but {cloud.why}", firm=False)
    if left <= cloud.round_trip:
        why = f"{left:.3f} s are left and the cloud takes {cloud.round_trip:.3f} s"
        return Placement("bridge", f"{wish}, but {why}", firm=False)
    return Placement("cloud", wish, firm=False)
