"""Bounds of an Observation's fields, and the check whether all are within them."""

from __future__ import annotations

from bridge.messages import Lane, Observation, Rows

MAX_SEQ = 2**53 - 1  # what JSON numbers carry exactly everywhere
MAX_EPOCH = 64
MAX_TIME = 1e11  # seconds since 1970: the year 5138
MAX_DT = 1e9  # seconds, 31 years: the time of every row of a message stays finite

LANES: dict[str, Lane] = {"live": "live", "backlog": "backlog"}


def good_observation(
    values: Rows,
    seq: float | None,
    epoch: str | None,
    t: float | None,
    dt: float | None,
    lane: str | None,
    receipt: bool | None,
) -> Observation | None:
    """The Observation of these fields, None where left out; None if `observation_of` might refuse one of them.

    Args:
        values: float32, shape (rows, channels), all finite.
        seq: as in `Observation`, and so the others.
        epoch: any text.
        t: any float.
        dt: any float.
        lane: any text.
        receipt: whether receipts are wanted.
    """
    if (
        (seq is None or (type(seq) is int and 0 <= seq <= MAX_SEQ))
        and (epoch is None or (1 <= len(epoch) <= MAX_EPOCH and epoch.isprintable()))
        and (t is None or 0.0 <= t < MAX_TIME)
        and (dt is None or 0.0 < dt <= MAX_DT)
        and (lane is None or lane in LANES)
    ):
        return Observation(values, seq, epoch or "", t, dt, LANES[lane or "live"], receipt is True)
    return None
