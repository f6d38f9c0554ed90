"""What the way out needs of others: a connection that publishes, and a log that keeps what was published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bridge.mqtt.messages import Publish
    from bridge.store.kept import Record


class Publisher(Protocol):
    """What the way out needs of a connection."""

    @property
    def full(self) -> bool:
        """More publishes wait for the broker than may."""
        ...

    def publish(self, messages: list[Publish]) -> None:
        """Queue messages."""
        ...


class Keeper(Protocol):
    """What the way out needs of the log of published Results."""

    @property
    def full(self) -> bool:
        """So much waits for the disk that no more Results are to be published."""
        ...

    @property
    def room(self) -> int:
        """How many more Results may be published until it is full."""
        ...

    def append(self, record: Record) -> None:
        """Keep a record, and call its `done` once that is safe."""
        ...


class KeepsNothing:
    """A keeper that forgets: what it is given counts as kept at once."""

    full = False
    room = 1 << 30

    def append(self, record: Record) -> None:
        """Forget it."""
        record.kept = True
        record.done(record)
