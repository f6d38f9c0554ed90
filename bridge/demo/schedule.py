"""What the demo's link does: good, lossy, thin, gone, good again; in fractions of the replay, so that all happens."""

from __future__ import annotations

import msgspec

from bridge.demo.linkmodel import Conditions, Stage

SEED = 1
_THIN = 8_000.0  # bit/s for each time that the replay is faster than life
_QUEUE = 8_000  # bytes


class Named(msgspec.Struct, frozen=True):
    """A stage of the schedule.

    Attributes:
        name: in one word.
        words: what the link does.
        stage: the same for the model, both ways alike.
    """

    name: str
    words: str
    stage: Stage


def schedule(seconds: float, speed: float) -> list[Named]:
    """The stages of a replay.

    Args:
        seconds: how long it takes.
        speed: how much faster than life; a thin link carries that much more.
    """
    good = Conditions(delay=0.02, rate=10e6)
    thin = Conditions(delay=0.075, rate=_THIN * speed, queue=_QUEUE)
    parts = (
        (0.0, "good", "40 ms, 10 Mbit/s", good),
        (0.18, "lossy", "60 ms, 15 % loss", Conditions(delay=0.03, rate=10e6, loss=0.15)),
        (0.46, "thin", f"150 ms, {_THIN * speed / 1e3:.0f} kbit/s", thin),
        (0.68, "gone", "nothing passes", msgspec.structs.replace(good, outage=True)),
        (0.78, "good again", "40 ms, 10 Mbit/s", good),
    )
    return [Named(name, words, Stage(round(part * seconds, 1), what, what)) for part, name, words, what in parts]
