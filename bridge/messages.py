"""The messages that travel through the bridge: frozen, so nothing changes behind anybody's back.

`Observation` comes in, becomes `Window`s, each gets a `Placement` and in the end a `Result`; a `Receipt` tells the
sender what is safe, an `Error` what was refused. Rows are float32 arrays of shape (rows, channels). Times are seconds;
`arrived` is a monotonic clock's, every `t` is seconds since 1970.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.errors import Reason

Rows: TypeAlias = NDArray[np.float32]
Lane: TypeAlias = Literal["live", "backlog"]
Tier: TypeAlias = Literal["bridge", "cloud"]


class Observation(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Rows of one stream of one device, as decoded from the wire.

    Attributes:
        values: float32, shape (rows, channels), all finite.
        seq: row number of the first row; None when the sender does not number.
        epoch: name of this numbering; "" when none was given.
        t: seconds since 1970 of the first row; None when the sender has no clock.
        dt: seconds between rows; None when unknown.
        lane: "live", or "backlog" for data sent late.
        receipt: the sender wants receipts.
        live_from: row from which on the live lane goes: rows before it that are not known yet come in the backlog lane,
            so nobody needs to wait for them; None when the lanes are one.
    """

    values: Rows
    seq: int | None = None
    epoch: str = ""
    t: float | None = None
    dt: float | None = None
    lane: Lane = "live"
    receipt: bool = False
    live_from: int | None = None


class Skip(msgspec.Struct, frozen=True):
    """Rows that will never come: their sender gave them up by a rule its owner declared.

    Attributes:
        ranges: of row numbers, inclusive.
        why: the rule, in words; "age" and "size" are the edge agent's.
        epoch: name of the numbering; "" when none was given.
        receipt: the sender wants a receipt for them, as if they were rows.
    """

    ranges: list[tuple[int, int]]
    why: str
    epoch: str = ""
    receipt: bool = False


class SeriesKey(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """Whose rows these are: one numbering of one stream of one device."""

    site: str
    device: str
    stream: str
    epoch: str


class Window(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Consecutive rows that a model is asked about.

    Attributes:
        id: `window_id` of this window.
        key: the series it was cut from.
        seq: row number of its first row.
        values: float32, shape (rows, channels).
        t: seconds since 1970 of its first row.
        t_source: "device", or "bridge" when the bridge stamped the arrival.
        arrived: monotonic seconds at which its last row arrived.
        model: model asked.
        lane: lane of its last row.
        deadline: monotonic seconds after which an answer no longer helps.
        reply_to: topic to answer to instead of the result topic, for `_infer`.
        correlation: correlation data to return with that answer.
    """

    id: str
    key: SeriesKey
    seq: int
    values: Rows
    t: float
    t_source: Literal["device", "bridge"]
    arrived: float
    model: str
    lane: Lane
    deadline: float
    reply_to: str | None = None
    correlation: bytes | None = None


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What one model variant says of one window.

    Attributes:
        label: the most probable class.
        score: its probability, 0…1, after the manifest's temperature.
        version: version of the model that said so.
        variant: the variant that ran.
    """

    label: str
    score: float
    version: str
    variant: str


class Placement(msgspec.Struct, frozen=True, gc=False):
    """Where a window is computed, and why.

    Attributes:
        tier: who answers.
        reason: why, in words and numbers.
        firm: it follows from the window and the settings alone, so that a repeat is decided the same way.
    """

    tier: Tier
    reason: str
    firm: bool


class Result(msgspec.Struct, frozen=True, omit_defaults=False, gc=False):
    """The public answer for one window (docs/protocol.md: Result).

    `local` is an extension: what the bridge's own model said of a window that the cloud answered.
    """

    id: str
    device: str
    stream: str
    seq: int
    epoch: str
    t: float
    model: str
    version: str
    label: str
    score: float
    tier: Tier
    provisional: bool
    rev: int
    latency_ms: float
    reason: str
    lane: Lane
    t_source: str = "device"
    local: dict[str, Any] | None = None


class Receipt(msgspec.Struct, frozen=True):
    """Row ranges, inclusive, that are safe with the bridge: the sender may forget them."""

    epoch: str
    safe: list[tuple[int, int]]


class Error(msgspec.Struct, frozen=True):
    """Why a message was refused."""

    reason: Reason
    detail: str
    stream: str | None
    seq: int | None


def window_id(key: SeriesKey, seq: int, model: str) -> str:
    """Idempotency key of a window: the same rows give the same id, whoever computes it.

    BLAKE2b-128 over the NUL-joined names; NUL cannot occur in a name, so no two different windows share a text.

    Args:
        key: the series.
        seq: row number of the first row.
        model: model asked.

    Returns:
        32 hexadecimal digits.
    """
    text = f"{key.site}\0{key.device}\0{key.stream}\0{key.epoch}\0{seq}\0{model}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
