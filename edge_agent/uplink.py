"""The port through which messages leave: MQTT, CoAP and a fake stand behind it.

`send` says what became of one message; a `LinkError` means that nobody knows, so its rows are sent again under the
same numbers. Receipts and refusals that come by themselves go to the listener.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import msgspec

from bridge.messages import Observation, Skip
from bridge.wire.arrays import Packing
from bridge.wire.formats import Format

if TYPE_CHECKING:
    from bridge.messages import Error, Receipt


Said: TypeAlias = Observation | Skip


class Outcome(msgspec.Struct, frozen=True):
    """What became of a message.

    Attributes:
        kind: `safe` with the bridge; `taken` by a broker, a receipt must follow; `refused` for ever; `wait`: the other
            side has too much to do, try again; `barred`: nobody takes this stream now, try again.
        detail: why it was refused or must wait.
        wait: seconds to wait.
    """

    kind: Literal["safe", "taken", "refused", "wait", "barred"]
    detail: str = ""
    wait: float = 0.0


class Writing(msgspec.Struct, frozen=True):
    """How rows are written and packed.

    Attributes:
        form: JSON or CBOR.
        packing: number type in CBOR.
        rows: rows a message.
        longest_wait: seconds that a row waits for its message to fill.
        zstd: a frame of zstd around it.
    """

    form: Format
    packing: Packing
    rows: int
    longest_wait: float
    zstd: bool = False


SAFE = Outcome("safe")
TAKEN = Outcome("taken")


class Listener(Protocol):
    """Who sends; called on the event loop, must return at once."""

    def connected(self, *, fresh: bool) -> None:
        """The way is open; `fresh`: the broker remembers nothing of us, what it had taken may be gone."""

    def disconnected(self, why: str) -> None:
        """The way is closed."""

    def receipt(self, stream: str, receipt: Receipt) -> None:
        """The bridge vouches for rows."""

    def refusal(self, error: Error) -> None:
        """The bridge refused a message."""


class Uplink(Protocol):
    """A way to the bridge.

    Attributes:
        transport: its name, for the status.
        window: most messages under way at once.
        in_order: messages of one stream overtake each other here, so only one of each may be under way.
        most_bytes: largest payload the other side takes, if it said so.
    """

    transport: str
    in_order: bool

    @property
    def window(self) -> int:
        """See above."""

    @property
    def most_bytes(self) -> int | None:
        """See above."""

    async def run(self, listener: Listener) -> None:
        """Opens the way and keeps it open until cancelled.

        Raises:
            TakenOver: another client uses our name; coming back would fight it for ever.
        """

    def writing(self, stream: str) -> Writing | None:
        """How this stream's rows are to be written now; None: as its settings say."""

    async def send(self, stream: str, payload: bytes, form: Format, *, said: Said | None = None) -> Outcome:
        """Sends one Observation or Skip.

        Args:
            stream: its stream.
            payload: its bytes.
            form: how they are written.
            said: what they say, for those who would otherwise decode them.

        Raises:
            LinkError: what became of it is unknown.
        """

    async def tell(self, facts: dict[str, Any], *, at_once: bool = True) -> int:
        """What the retained status, where there is one, says of us: at once, or with what it says next.

        Returns:
            Bytes of the statuses that left.
        """

    async def close(self) -> None:
        """Says goodbye, quickly; `run` must have ended."""
