"""How a model's windows are packed for the way up, within what the model's owner lets that cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import msgspec

from bridge.wire.arrays import Packing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.catalog.manifest import Manifest

Encoding: TypeAlias = Literal["auto", "float32", "float16", "int8"]

Measured: TypeAlias = Literal["float16", "int8", "int4"]
ZSTD: Final = "+zstd"


class Coding(NamedTuple):
    """How questions are written."""

    packing: Packing
    zstd: bool = False


_PACKINGS: Final[tuple[Packing, ...]] = ("float32", "float16", "int8", "int4")
CODINGS: Final = {
    f"{packing}{ZSTD if zstd else ''}": Coding(packing, zstd)
    for zstd in (False, True)
    for packing in _PACKINGS
    if zstd or packing != "int4"  # which is as large as int8, but that a frame halves it
}
"""By the names that encodings have in profiles."""

_SHARE: dict[Packing, float] = {"float32": 1.0, "float16": 0.5, "int8": 0.25, "int4": 0.125}  # of a float32's bytes
_AROUND = 128  # bytes of a question beside its numbers


class Sending(msgspec.Struct, frozen=True):
    """What the client needs to know of a model.

    Attributes:
        packing: of its windows.
        mean: of each channel, in its unit, to stand for private ones; empty: 0.
        labels: what an answer may be; empty: not known.
        costs: the packings that may be chosen among, and the accuracy that each loses; empty: `packing` alone.
        zstd: in frames, for agents that take them.
    """

    packing: Packing = "float32"
    mean: tuple[float, ...] = ()
    labels: frozenset[str] = frozenset()
    costs: dict[Packing, float] = {}
    zstd: bool = False

    @property
    def coding(self) -> Coding:
        """How they are written for an agent that takes frames."""
        return Coding(self.packing, self.zstd)

    @property
    def plain(self) -> Coding:
        """How they are written for any agent, within the same budget."""
        if self.packing != "int4":
            return Coding(self.packing)
        return Coding(min((one for one in self.costs if one != "int4"), key=_SHARE.__getitem__, default="float32"))

    def size(self, plain: int) -> int:
        """About the bytes of a question.

        Args:
            plain: bytes of its values as float32.
        """
        return int(plain * _SHARE[self.packing]) + _AROUND


PLAIN = Sending()  # of a model of which nothing is known


def sending(manifest: Manifest, wish: Encoding) -> Sending:
    """How windows of a model are sent; see `packing_for`."""
    mean = manifest.normalisation.mean if manifest.normalisation is not None else ()
    labels = frozenset(manifest.output.labels)
    return Sending(packing_for(manifest, wish), mean, labels, within(manifest) if wish == "auto" else {})


def within(manifest: Manifest) -> dict[Packing, float]:
    """The packings whose measured loss is within the model's budget, beside float32; empty where there is none."""
    most = manifest.budget.accuracy
    found: dict[Packing, float] = {packing: lost for packing, lost in manifest.fidelity.items() if lost <= most}
    return {"float32": 0.0, **found} if found else {}


def packing_for(manifest: Manifest, wish: Encoding) -> Packing:
    """The packing of a model's windows.

    Args:
        manifest: its `[fidelity]` tells the accuracy that each packing loses, its `budget.accuracy` what may be lost.
        wish: "auto": the smallest that stays within the budget; any other is taken as it is.
    """
    return smallest(manifest.fidelity, manifest.budget.accuracy) if wish == "auto" else wish


def smallest(loss: Mapping[Measured, float], budget: float) -> Packing:
    """The smallest packing that any agent takes and whose measured loss is within the budget; float32 without one.

    Args:
        loss: accuracy that each loses; int4 is small in a frame alone.
        budget: accuracy that may be lost.
    """
    within = [packing for packing, lost in loss.items() if lost <= budget and packing != "int4"]
    return min(within, key=_SHARE.__getitem__, default="float32")
