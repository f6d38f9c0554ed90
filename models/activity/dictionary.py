"""Train the dictionaries of zstd that `bridge.wire.zstd` uses, from recorded rows written as agents write them.

    python -m models.activity.dictionary          writes them into bridge/wire/
    python -m models.activity.dictionary --sizes  prints what messages take with those that are there

Recordings of subjects 8 and 9 are trained on, those of subject 10 are measured. The same recordings give the same
dictionaries.
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bridge.messages import Observation
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from bridge.wire.zstd import CBOR, JSON, LEVEL, dictionary_file, library

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bridge.messages import Rows
    from bridge.wire.arrays import Packing

SAMPLE = Path(__file__).parent / "sample"
WIRE = Path(__file__).parents[2] / "bridge" / "wire"
TRAINED, MEASURED = ("s08", "s09"), ("s10",)
ROWS = (1, 2, 5, 5, 8, 10, 10, 10, 16, 20, 25, 32, 64)  # a message
CHANNELS = (1, 2, 3, 6, 6, 6, 6, 6)
RATES = (1.0, 10.0, 20.0, 50.0, 100.0, 200.0)  # Hz
YEARS = (1.73e9, 1.93e9)  # s since 1970
SAMPLES, SEED = 8_000, 1
TABLES = 1_200  # bytes of a dictionary's tables, at most
CODINGS: tuple[tuple[str, Format, Packing], ...] = (
    ("json", Format.JSON, "float32"),
    ("float32", Format.CBOR, "float32"),
    ("float16", Format.CBOR, "float16"),
    ("int8", Format.CBOR, "int8"),
    ("int4", Format.CBOR, "int4"),
)
# What stands in a dictionary as it is, the commonest last: what is near is cheap to refer to.
SEEN = {CBOR: ("float32",) * 2 + ("float16",) * 3 + ("int8",) * 5 + ("int4",) * 8, JSON: ("json",) * 8}
# What its tables are made of: only int4 and text can be coded in fewer bits than they have.
CODED = {CBOR: "int4", JSON: "json"}
SIZED = (5, 10, 25, 64)


@cache
def recordings(subjects: tuple[str, ...]) -> list[Rows]:
    """float32, shape (rows, 6) each, in g and rad/s at 50 Hz."""
    return [np.load(file)["values"] for file in sorted(SAMPLE.glob("*.npz")) if file.name[:3] in subjects]


def observations(
    subjects: tuple[str, ...], rows: tuple[int, ...], channels: tuple[int, ...], seed: int
) -> Iterator[Observation]:
    """Messages as agents send them, without end."""
    dice = np.random.default_rng(seed)
    kept = recordings(subjects)
    while True:
        values = kept[dice.integers(len(kept))]
        count = int(dice.choice(rows))
        first = int(dice.integers(len(values) - count))
        yield Observation(
            values[first : first + count, : int(dice.choice(channels))],
            seq=int(2 ** dice.uniform(0, 24)),
            epoch=dice.bytes(4).hex(),
            t=float(dice.uniform(*YEARS)),
            dt=1 / float(dice.choice(RATES)),
            receipt=True,
        )


def train(number: int) -> bytes:
    """A dictionary: some messages as they are, and tables of what many are made of."""
    codings = {name: (form, packing) for name, form, packing in CODINGS}

    def written(names: Iterable[str], rows: tuple[int, ...], channels: tuple[int, ...], seed: int) -> list[bytes]:
        made = observations(TRAINED, rows, channels, seed)
        chosen = [codings[name] for name in names]
        return [encode_observation(next(made), form, packing=packing) for form, packing in chosen]

    content = b"".join(written(SEEN[number], (5, 10), (6,), SEED))
    samples = written([CODED[number]] * SAMPLES, ROWS, CHANNELS, SEED + 1)
    size = len(content) + TABLES
    made = library.finalize_dict(library.ZstdDict(content, is_raw=True), samples, size, LEVEL).dict_content
    return made[:4] + number.to_bytes(4, "little") + made[8:]  # RFC 8878 section 5: magic number, Dictionary_ID


def sizes() -> str:
    """Mean bytes of a message of six channels, as a table in Markdown: plain, and with zstd."""
    lines = ["| rows a message | " + " | ".join(str(rows) for rows in SIZED) + " |"]
    lines.append("|---" * (len(SIZED) + 1) + "|")
    for name, form, packing in CODINGS:
        means = []
        for rows in SIZED:
            made = observations(MEASURED, (rows,), (6,), SEED + 2)
            some = [next(made) for _ in range(400)]
            both = [
                float(np.mean([len(encode_observation(one, form, packing=packing, zstd=zstd)) for one in some]))
                for zstd in (False, True)
            ]
            means.append(f"{both[0]:.0f} → {both[1]:.0f}")
        lines.append(f"| {name} | " + " | ".join(means) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="python -m models.activity.dictionary", description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", action="store_true", help="train nothing, print a table")
    if parser.parse_args().sizes:
        sys.stdout.write(sizes())
        return 0
    for number in SEEN:
        file = WIRE / dictionary_file(number)
        file.write_bytes(train(number))
        sys.stdout.write(f"{file}: {file.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
