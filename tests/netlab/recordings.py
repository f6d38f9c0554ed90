"""What is sent: rows that a wrist really measured, as Observations in JSON."""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.netlab.traffic import ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE = Path(__file__).resolve().parents[2] / "models" / "activity" / "sample"
PERSON = "s10-*.npz"  # the one whose rows trained nothing, no model and no dictionary
DECIMALS = 4  # finer than the sensor's noise; with the 6 of the recordings, JSON over MQTT would not fit 64 kbit/s


@functools.cache
def rows() -> list[str]:
    """Recorded rows in JSON, one recording after the other; six numbers each, about 45 bytes."""
    values = np.concatenate([np.load(path)["values"] for path in sorted(SAMPLE.glob(PERSON))])
    return [json.dumps([round(number, DECIMALS) for number in row], separators=(",", ":")) for row in values.tolist()]


@functools.cache
def row_bytes() -> float:
    """Mean bytes of a row in JSON, its comma included."""
    return sum(len(row) + 1 for row in rows()) / len(rows())


def messages(seed: int, count: int, dt: float) -> Iterator[str]:
    """Observations of `ROWS` rows, numbered from 0 on; the seed says where in the recordings they begin.

    Args:
        seed: of the beginning.
        count: messages.
        dt: seconds between rows.
    """
    every = rows()
    begin = random.Random(seed).randrange(len(every))
    for number in range(count):
        first = begin + number * ROWS
        values = ",".join(every[(first + k) % len(every)] for k in range(ROWS))
        yield f'{{"values":[{values}],"seq":{ROWS * number},"epoch":"lab","dt":{round(dt, 4)}}}'
