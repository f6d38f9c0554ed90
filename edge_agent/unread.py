"""A bridge older than its agent does not know how a message is written: the same rows go again, more plainly.

First without their frame of zstd, then as float32; what is refused even so is refused for what it says. How a stream is
written changes only where that was the matter: over CoAP once the plainer message is safe, behind a broker at a refusal
that may be of it, and back at one of what was as plain as can be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bridge.wire.observation import encode_observation
from edge_agent.ways import is_zstd, unwrapped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.messages import Error
    from edge_agent.airborne import Airborne
    from edge_agent.choice import Choice
    from edge_agent.uplink import Outcome
    from edge_agent.ways import Message

REASONS = frozenset({"malformed", "unknown_format", "shape"})  # no zstd; not that dictionary; not that array
LATE = 10.0  # seconds in which refusals of what was sent before still come, by a broker
AGAIN, SELDOM = 600.0, 86_400.0  # seconds until a stream is written less plainly once more: at first, and at most


def is_unread(outcome: Outcome, message: Message) -> bool:
    """Whether it was refused for how it is written, perhaps; nothing that could be written more plainly counts."""
    refused = outcome.kind == "refused" and outcome.detail.partition(":")[0] in REASONS
    return refused and (is_zstd(message) or as_float32(message) is not message)


def as_float32(message: Message) -> Message:
    """Itself, if it is so already, or the same rows in their own format, without zstd and with all their digits."""
    if message.seen is None:
        return message
    plain = encode_observation(message.seen, message.form)
    return message if plain == message.payload else msgspec.structs.replace(message, payload=plain)


def as_taken(message: Message, choice: Choice) -> Message:
    """As plainly as this bridge asks for, as far as is known."""
    if not choice.zstd:
        message = unwrapped(message)
    return message if choice.packs else as_float32(message)


def plainer(message: Message) -> Message:
    """One step more plainly."""
    return unwrapped(message) if is_zstd(message) else as_float32(message)


def write_plainly(choice: Choice, message: Message) -> None:
    """From now on, one step plainer than this message, which was not read."""
    if is_zstd(message):
        choice.without_zstd()
    else:
        choice.without_packing()


class Fallback:
    """What follows where a broker stands between: refusals come by themselves, and of several messages in a row."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._back: dict[str, tuple[float, float]] = {}  # when it may be, and the pause after that

    def heard(self, error: Error, choice: Choice, flying: Iterable[Airborne], now: float) -> Error:
        """What its sender is to hear of a refusal.

        One that may be of how rows are written, or were until a moment ago, gives up none: its stream is written more
        plainly from now on, what is under way is called back, and the rows that it names, if any, come again. Where the
        same is said of what is as plain as can be, that was not the matter.
        """
        stream = choice.stream.name
        if error.reason not in REASONS:
            return error
        if now >= self._until.get(stream, now):
            flying = [one for one in flying if one.choice is choice]
            if not _stepped(error, choice, flying):
                self._give_back(choice, now)
                return error
            self._until[stream] = now + LATE
            for flight in flying:
                flight.recall()
        return error if error.seq is None else msgspec.structs.replace(error, reason="overload")

    def _give_back(self, choice: Choice, now: float) -> None:
        """Ever more seldom: where the bridge cannot read it after all, that costs `LATE` seconds each time."""
        due, pause = self._back.get(choice.stream.name, (now, AGAIN))
        if now >= due and choice.write_freely():
            self._back[choice.stream.name] = now + pause, min(SELDOM, 2 * pause)


def _stepped(error: Error, choice: Choice, flying: Iterable[Airborne]) -> bool:
    """Writes more plainly; False: that is not what was refused. Who can tell the row has opened the frame."""
    writing = choice.writing()
    if error.seq is None and (any(one.zstd for one in flying) or (writing is not None and writing.zstd)):
        choice.without_zstd()
        return True
    if error.seq is not None and writing is not None and writing.packing != "float32":
        choice.without_packing()
        return True
    return False
