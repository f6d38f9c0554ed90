"""`models fidelity`: what each way of writing rows costs the model, measured on labelled recordings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from bridge.errors import ConfigError
from bridge.messages import Observation
from bridge.runtime import recordings as labelled
from bridge.runtime.load import load
from bridge.wire.formats import Format
from bridge.wire.observation import decode_observation, encode_observation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.catalog import Manifest, Variant
    from bridge.messages import Rows
    from bridge.runtime.recordings import Recording
    from bridge.wire.arrays import Packing

LEAST_WINDOWS = 50  # fewer tell nothing about a loss of a percent
PLAIN = "float32"


class Coding(NamedTuple):
    """How rows are written."""

    name: str
    form: Format
    packing: Packing
    zstd: bool = False


_PLAIN = (
    Coding("json", Format.JSON, "float32"),
    Coding("float32", Format.CBOR, "float32"),
    Coding("float16", Format.CBOR, "float16"),
    Coding("int8", Format.CBOR, "int8"),
    Coding("int4", Format.CBOR, "int4"),
)
TO_CLOUD = ("float16", "int8", "int4")  # packings that `[fidelity]` of a manifest may name
CODINGS = _PLAIN + tuple(one._replace(name=f"{one.name}+zstd", zstd=True) for one in _PLAIN)


class Fidelity(msgspec.Struct, frozen=True):
    """One encoding beside float32.

    Attributes:
        name: `json`, `float32`, `float16`, `int8`, `int4`, each also with `+zstd`, which loses nothing more.
        windows: labelled windows measured on.
        accuracy: of the model on rows that went through it, 0…1.
        agreement: share of windows with the same label as from float32, 0…1.
        row_bytes: bytes a row, in messages of the size measured with, their heads included.
        cost: accuracy lost against float32; 0 where none is lost.
    """

    name: str
    windows: int
    accuracy: float
    agreement: float
    row_bytes: float
    cost: float


def measure(manifest: Manifest, variant: Variant, recordings: Sequence[Recording], *, rows: int) -> list[Fidelity]:
    """The real model's accuracy on rows after a round trip over the wire.

    Args:
        manifest: the model.
        variant: which of its graphs.
        recordings: labelled.
        rows: rows a message; int8 and int4 have a scale a message and channel, so more rows are coarser.

    Returns:
        One entry an encoding, in the order of `CODINGS`.

    Raises:
        ConfigError: too few recordings.
        ModelError: the graph cannot be used.
    """
    _, labels = labelled.windows(recordings, manifest)
    if len(labels) < LEAST_WINDOWS:
        raise ConfigError(
            f"{manifest.name}: {len(labels)} windows to measure accuracy on, {LEAST_WINDOWS} are needed: record more"
        )
    engine = load(manifest, variant)
    truth = np.array([engine.labels.index(label) for label in labels])
    said, sizes = {}, {}
    for coding in CODINGS:
        sent, size = _round_trip(recordings, coding, rows)
        windows, _ = labelled.windows(sent, manifest)
        said[coding.name] = engine.run(windows).argmax(axis=1)
        sizes[coding.name] = size
    right = {name: float((labels == truth).mean()) for name, labels in said.items()}
    return [
        Fidelity(
            name=name,
            windows=len(truth),
            accuracy=right[name],
            agreement=float((labels == said[PLAIN]).mean()),
            row_bytes=sizes[name],
            cost=max(0.0, right[PLAIN] - right[name]),
        )
        for name, labels in said.items()
    ]


def _round_trip(recordings: Sequence[Recording], coding: Coding, rows: int) -> tuple[list[Recording], float]:
    """The recordings as they arrive, and bytes a row."""
    size = 0
    arrived = []
    for one in recordings:
        parts = []
        for payload in _messages(one.values, coding, rows):
            size += len(payload)
            parts.append(decode_observation(payload, coding.form).values)
        values = np.concatenate(parts) if parts else one.values
        arrived.append(msgspec.structs.replace(one, values=values))
    return arrived, size / max(1, sum(len(one.values) for one in recordings))


def _messages(values: Rows, coding: Coding, rows: int) -> Iterable[bytes]:
    for first in range(0, len(values), rows):
        part = Observation(values[first : first + rows], seq=first, epoch="e", receipt=True)
        yield encode_observation(part, coding.form, packing=coding.packing, zstd=coding.zstd)


def table(found: Sequence[Fidelity], manifest: Manifest, *, rows: int) -> str:
    """A line an encoding, for a person."""
    budget = manifest.budget.accuracy
    lines = [f"{manifest.name}: {found[0].windows} labelled windows, messages of {rows} rows, budget {budget:.2%}"]
    lines.append("encoding      bytes/row  accuracy  as float32    cost")
    lines += [
        f"{one.name:<12}  {one.row_bytes:9.1f}  {one.accuracy:8.2%}  {one.agreement:10.2%}  {one.cost:6.2%}"
        + ("  above the budget" if one.cost > budget else "")
        for one in found
    ]
    return "".join(f"{line}\n" for line in lines)


def packed(found: Sequence[Fidelity]) -> dict[str, float]:
    """What `[fidelity]` of `model.toml` says: the cost of each packing that it may name, rounded up to 4 digits."""
    return {one.name: _up(one.cost) for one in found if one.name in TO_CLOUD}


def render(found: Sequence[Fidelity], manifest: Manifest, *, rows: int) -> str:
    """A table for a person, and the lines for `[link]` in edge_agent.toml."""
    named = {coding.name for coding in _PLAIN} - {PLAIN}
    costs = ", ".join(f"{one.name} = {_up(one.cost):g}" for one in found if one.name in named)
    link = f"[link]\nbudget = {manifest.budget.accuracy:g}\nfidelity = {{ {costs} }}\n"
    return f"{table(found, manifest, rows=rows)}\n{link}"


def _up(cost: float) -> float:
    return math.ceil(1e4 * cost - 1e-6) / 1e4
