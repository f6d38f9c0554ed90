"""What follows from a refusal: `Reply.error` begins with a word for why."""

from __future__ import annotations

from bridge.wire.offload import ENGINE_FAILED, OVERLOAD, STOPPING, TOO_LATE

UNUSABLE = "unusable answer"  # the bridge's own word for one that it refuses (`bridge.offload.judge`)


def its_own(error: str) -> bool:
    """Whether another agent may not repeat it."""
    return error.startswith((STOPPING, OVERLOAD, TOO_LATE, ENGINE_FAILED, UNUSABLE))


def passing(error: str) -> bool:
    """Whether one of those that share a topic may soon not repeat it."""
    return error.startswith((STOPPING, OVERLOAD, UNUSABLE))


def missed(error: str) -> bool:
    """Whether it tells that no answer would have come in time."""
    return error.startswith((OVERLOAD, TOO_LATE))


def failed(error: str) -> bool:
    """Whether the agent is as good as silent."""
    return error.startswith((ENGINE_FAILED, UNUSABLE))
