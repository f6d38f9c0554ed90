"""`models calibrate`: what labelled windows say of variants, and what follows for the manifest. numpy alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from bridge.errors import ConfigError
from bridge.runtime import calibration_measures as measures
from bridge.runtime.calibration import accuracy, fit_temperature, reliability
from bridge.runtime.calibration_cascade import Pair, Target, pair, parse, threshold
from bridge.runtime.calibration_chances import escalation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bridge.catalog import Manifest, Variant
    from bridge.runtime.calibration_measures import Compared
    from bridge.runtime.manifest_text import Value


LEAST_WINDOWS: Final = 100  # fewer tell nothing about a calibration error of a few percent


@dataclass(frozen=True, slots=True)
class Labelled:
    """What variants say of the same windows, and what is true.

    Attributes:
        logits: by variant float32 of shape (n, labels).
        y: n int64, columns of the true classes.
        subject: n strings, whose each window is; None when not known.
        source: where they are from, in one line.
    """

    logits: dict[str, NDArray[np.float32]]
    y: NDArray[np.int64]
    subject: NDArray[np.str_] | None
    source: str


@dataclass(frozen=True, slots=True)
class Escalating:
    """How a variant hands on what it is unsure of.

    Attributes:
        to: the variant escalated to.
        compared: the measures of certainty beside each other.
        windows: both variants on the same windows, with the largest probability as certainty.
        target: what was declared.
        below: the threshold that it asks for.
        points: the curve for the manifest; see `calibration_chances.escalation`.
    """

    to: str
    compared: tuple[Compared, ...]
    windows: Pair
    target: Target
    below: float
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """One variant.

    Attributes:
        name: its name.
        accuracy: on these windows, 0…1.
        temperature: fitted to them.
        plain: expected calibration error without a temperature.
        held: with the one that the manifest has so far.
        error: with the one fitted, on the windows that it was fitted to.
        escalating: None when it escalates nothing.
    """

    name: str
    accuracy: float
    temperature: float
    plain: float
    held: float
    error: float
    escalating: Escalating | None

    def keys(self) -> dict[str, Value]:
        """What becomes of the variant's keys in `model.toml`."""
        found: dict[str, Value] = {"temperature": self.temperature}
        if (up := self.escalating) is not None:
            found |= {
                "escalates_to": up.to,
                "measure": "max",
                "below": up.below,
                "escalation": up.points,
                "target": str(up.target),
            }
        return found

    def note(self, data: Labelled) -> str:
        """Where those keys come from, in one line that starts with "calibrated"."""
        target = "" if self.escalating is None else f", target {self.escalating.target}"
        return f"calibrated on {len(data.y)} windows of {data.source}{target}"


def calibrate(manifest: Manifest, data: Labelled, target: Target | None) -> list[Calibrated]:
    """Fit a temperature to each variant that the data knows, and a threshold to each that escalates.

    Args:
        manifest: the model.
        data: labelled windows that its graphs were not trained on.
        target: what the owner declares; None: what the manifest says of each variant.

    Returns:
        One entry a variant, in the manifest's order.

    Raises:
        ConfigError: too few windows, no variant of this model, one without the one that it escalates to, or no target.
    """
    if len(data.y) < LEAST_WINDOWS:
        raise ConfigError(f"{data.source}: {len(data.y)} windows to calibrate with, {LEAST_WINDOWS} are needed")
    there = [one for one in manifest.variants if one.name in data.logits]
    if not there:
        names = ", ".join(one.name for one in manifest.variants)
        raise ConfigError(f"{data.source}: has logits of {', '.join(data.logits) or 'nothing'}, none of {names}")
    return [
        fit(
            one.name,
            data,
            to=to,
            target=None if to is None else _declared(manifest, one, target),
            held=one.temperature,
        )
        for one in there
        for to in [_asked(manifest, one, data)]
    ]


def fit(name: str, data: Labelled, *, to: str | None, target: Target | None, held: float = 1.0) -> Calibrated:
    """Calibrate one variant.

    Args:
        name: the variant's; the data knows it.
        data: labelled windows.
        to: the variant that it escalates to; None: it escalates nothing.
        target: what is declared; needed with `to`.
        held: the temperature so far.
    """
    logits, y = data.logits[name], data.y
    temperature = fit_temperature(logits, y)
    return Calibrated(
        name,
        accuracy(logits, y),
        temperature,
        reliability(logits, y, 1.0).error,
        reliability(logits, y, held).error,
        reliability(logits, y, temperature).error,
        None if to is None or target is None else _escalating(data, name, to, target, temperature),
    )


def _escalating(data: Labelled, name: str, to: str, target: Target, temperature: float) -> Escalating:
    small, big = data.logits[name], data.logits[to]
    both = pair(small, big, data.y, temperature)
    compared = measures.compare(small, big, data.y, temperature, _groups(data))
    return Escalating(to, compared, both, target, threshold(both, target), escalation(both))


def _asked(manifest: Manifest, variant: Variant, data: Labelled) -> str | None:
    """The variant that this one escalates to, or could: the cloud's. A threshold holds for one temperature only."""
    if variant.escalates_to is not None and variant.escalates_to not in data.logits:
        raise ConfigError(
            f"{data.source}: has logits of {variant.name}, but not of {variant.escalates_to}, to which it escalates: "
            "both are needed, or neither"
        )
    to = variant.escalates_to or (manifest.tiers.cloud if variant.tier == "bridge" else None)
    return to if to in data.logits and to != variant.name else None


def _declared(manifest: Manifest, variant: Variant, target: Target | None) -> Target:
    if target is None and variant.target is not None:
        return parse(variant.target)
    if target is None:
        raise ConfigError(
            f"{manifest.name}/{variant.name}: no target is declared, here or in its manifest: --target 'up<=0.2' (at "
            "most that share of windows is sent up) or 'cloud>=0.98' (at least that share of the cloud's accuracy)"
        )
    return target


def _groups(data: Labelled) -> NDArray[np.int64]:
    """Whose each window is, as numbers; neighbours where that is not known."""
    if data.subject is None:
        return measures.blocks(len(data.y))
    return np.unique(data.subject, return_inverse=True)[1].astype(np.int64)
