"""How a model's windows are packed for the way up, within what the model's owner lets that cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from bridge.wire.arrays import Packing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.catalog.manifest import Manifest

Encoding: TypeAlias = Literal["auto", "float32", "float16", "int8"]

_SHARE: dict[Packing, float] = {"float32": 1.0, "float16": 0.5, "int8": 0.25}  # of a float32's bytes
_AROUND = 128  # bytes of a question beside its numbers


class Sending(msgspec.Struct, frozen=True):
    """What the client needs to know of a model.

    Attributes:
        packing: of its windows.
        mean: of each channel, in its unit, to stand for private ones; empty: 0.
        labels: what an answer may be; empty: not known.
        costs: the packings that may be chosen among, and the accuracy that each loses; empty: `packing` alone.
    """

    packing: Packing = "float32"
    mean: tuple[float, ...] = ()
    labels: frozenset[str] = frozenset()
    costs: dict[Packing, float] = {}

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


def smallest(loss: Mapping[Literal["float16", "int8"], float], budget: float) -> Packing:
    """The smallest packing whose measured loss of accuracy is within the budget; float32 where none was measured."""
    within = [packing for packing, lost in loss.items() if lost <= budget]
    return min(within, key=_SHARE.__getitem__, default="float32")
