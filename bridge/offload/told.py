"""What a cloud agent's retained status tells of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bridge.wire import zstd

if TYPE_CHECKING:
    from bridge.offload.agents import Agent


class Told(NamedTuple):
    """What a cloud agent told of itself.

    Attributes:
        connection: on which of ours.
        instance: which process it is.
        models: versions of those that it serves, by name.
        agent: who is asked for it.
        answered: of the models that it answered for since: the version of its last answer.
        frames: it takes questions in the zstd frames that this bridge makes.
    """

    connection: int
    instance: object
    models: dict[str, str]
    agent: Agent
    answered: dict[str, str]
    frames: bool = False


def models_of(status: dict[str, Any]) -> dict[str, str]:
    """Versions of the models that a status names, by name."""
    models = status.get("models", {})
    return {str(name): str(version) for name, version in models.items()} if isinstance(models, dict) else {}


def takes_frames(status: dict[str, Any]) -> bool:
    """Whether `zstd` of a status names the dictionary of questions; an agent from before frames has no such key."""
    told = status.get("zstd")
    return isinstance(told, list) and zstd.CBOR in told
