"""The edge agent: takes rows from a sensor, keeps them on disk, and forgets them when the bridge says they are safe.

A program of its own (`edge-agent run`), or a part of yours: `EdgeAgent`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_agent.embedded import EdgeAgent
    from edge_agent.feed import Feed

__all__ = ["EdgeAgent", "Feed"]


def __getattr__(name: str) -> Any:
    """What is used is imported then: `edge-agent` has something to set before."""
    if name == "EdgeAgent":
        from edge_agent.embedded import EdgeAgent

        return EdgeAgent
    if name == "Feed":
        from edge_agent.feed import Feed

        return Feed
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
