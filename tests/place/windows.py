"""The windows of the held-out people, and what the shipped int8 models really say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.catalog import Catalog, Manifest, default_directory
from bridge.errors import Refused
from bridge.runtime import recordings
from bridge.runtime.load import load
from bridge.runtime.port import Windows
from bridge.wire.arrays import Packing, decode_rows, encode_rows

if TYPE_CHECKING:
    from bridge.catalog import Variant

MODEL = "activity"
PACKING: Packing = "int8"  # of a question: the manifest's budget of a point allows it


class HeldOut(msgspec.Struct, frozen=True, eq=False):
    """Windows in the order of the recordings.

    Attributes:
        windows: float32, shape (n, rows, channels), raw units.
        truth: (n,) index of the label that is right.
        recording: (n,) which recording each was cut from, from 0.
        subject: (n,) who moved.
    """

    windows: Windows
    truth: NDArray[np.int64]
    recording: NDArray[np.int64]
    subject: NDArray[np.int64]


class Answers(msgspec.Struct, frozen=True, eq=False):
    """What a variant says of every window.

    Attributes:
        right: (n,) its label is the true one.
        certainty: (n,) the score it tells: after its temperature.
    """

    right: NDArray[np.bool_]
    certainty: NDArray[np.float64]


class Judged(msgspec.Struct, frozen=True, eq=False):
    """Both tiers on the held-out windows.

    Attributes:
        held: the windows.
        small: the bridge's variant.
        big: the cloud's, on the windows as they were recorded.
        asked: the cloud's, on the windows as a question brings them: packed as `PACKING` and unpacked.
        manifest: of the model.
    """

    held: HeldOut
    small: Answers
    big: Answers
    asked: Answers
    manifest: Manifest

    @property
    def bridge(self) -> Variant:
        """The bridge's variant: its threshold and what it escalates to."""
        return self.manifest.for_tier("bridge")


def manifest() -> Manifest:
    """Of the shipped model."""
    return Catalog(default_directory())[MODEL]


def held_out(of: Manifest) -> HeldOut:
    """Every recording of the model's sample, each cut by itself as the bridge cuts."""
    found = recordings.read(of.folder / "sample", of)
    number = {one.file: place for place, one in enumerate(found)}
    each = recordings.apart(found, of)
    return HeldOut(
        windows=np.stack([one.values for one in each]),
        truth=np.array([of.output.labels.index(one.label) for one in each]),
        recording=np.array([number[one.file] for one in each]),
        subject=np.array([int(one.subject) for one in each]),
    )


def packed(windows: Windows, packing: Packing = PACKING) -> Windows:
    """The windows as the other side reads them."""
    found = []
    for window in windows:
        array, beside = encode_rows(window, packing)
        found.append(decode_rows(array, scale=beside.get("scale"), zero=beside.get("zero")))
    return np.stack(found)


def judge() -> Judged:
    """Run the shipped variants of both tiers through the product's own engine; takes about a second."""
    of = manifest()
    held = held_out(of)
    small, big = of.for_tier("bridge"), of.for_tier("cloud")
    return Judged(
        held=held,
        small=_answers(of, small, held.windows, held.truth),
        big=_answers(of, big, held.windows, held.truth),
        asked=_answers(of, big, packed(held.windows), held.truth),
        manifest=of,
    )


def _answers(of: Manifest, variant: Variant, windows: Windows, truth: NDArray[np.int64]) -> Answers:
    right, certainty = [], []
    for said, label in zip(load(of, variant).answers(windows), truth.tolist(), strict=True):
        if isinstance(said, Refused):
            raise said
        right.append(said.label == of.output.labels[label])
        certainty.append(said.score)
    return Answers(np.array(right), np.array(certainty))
