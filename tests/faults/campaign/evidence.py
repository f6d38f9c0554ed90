"""What is known of a seed when it is over: what was handed over, what was heard, what was done and told."""

from __future__ import annotations

import msgspec

Span = tuple[int, int]  # rows, inclusive


class Accepted(msgspec.Struct):
    """A range of rows whose acceptance the source was told of, and when (monotonic seconds)."""

    epoch: str
    first: int
    last: int
    at: float


class Heard(msgspec.Struct):
    """A Result as the subscriber got it.

    Attributes:
        at: monotonic seconds.
        session: of the subscriber: another one since the broker forgot it.
    """

    at: float
    session: int
    id: str
    stream: str
    epoch: str
    seq: int
    lane: str
    label: str
    score: float
    tier: str
    provisional: bool
    reason: str = "confident"
    rev: int = 0


class Excuse(msgspec.Struct):
    """Rows that may be lost, because only a store held them that was damaged behind its program's back.

    Attributes:
        epoch: of the rows.
        rows: inclusive ranges.
        told: whether the program said so when it started again.
        why: in words.
    """

    epoch: str
    rows: list[Span]
    told: bool
    why: str


class Truth(msgspec.Struct, frozen=True):
    """What the bridge's engine says of one window of rows, asked directly."""

    label: str
    score: float


class Evidence(msgspec.Struct):
    """All of it.

    Attributes:
        stream: of the device.
        accepted: what the source was told was accepted.
        heard: Results of this device, in order of arrival.
        truth: what the engine says, by epoch and first row; where the rows' values are known.
        excuses: what may be lost.
        attended: monotonic seconds since when the subscriber heard everything again; 0: it always did.
        ledger: what does not add up; None: the bridge keeps no ledger.
        shared: more than one bridge answered, and each message is a window.
        provisional: the route allows provisional Results.
        stuck: what did not come to its end by itself.
    """

    stream: str
    accepted: list[Accepted] = []
    heard: list[Heard] = []
    truth: dict[tuple[str, int], Truth] = {}
    excuses: list[Excuse] = []
    attended: float = 0.0
    ledger: list[str] | None = None
    shared: bool = False
    provisional: bool = False
    stuck: list[str] = []
