"""How long to wait before trying again. Pure."""

from __future__ import annotations

BASE, CAP = 0.5, 30.0


def delay(attempt: int, dice: float) -> float:
    """Seconds before attempt number `attempt` (1 is the first repetition).

    Exponential with equal jitter (AWS Architecture Blog, "Exponential Backoff and Jitter", 2015): half is fixed, so
    that a broker that refuses at once is not hammered, half is random, so that a thousand agents do not come together.

    Args:
        attempt: ≥ 1.
        dice: random, 0…1.
    """
    most = min(CAP, BASE * 2.0 ** min(attempt - 1, 16))
    return most / 2 + most / 2 * dice
