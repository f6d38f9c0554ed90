"""Reads `model.toml` and refuses what contradicts itself, naming file, key and why."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from bridge.catalog.schema import Document, Normalisation, Variant
from bridge.errors import ConfigError, ModelError
from bridge.settings import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bridge.catalog.schema import Point
    from bridge.messages import Tier

FILE = "model.toml"


class Manifest(Document, frozen=True, kw_only=True):
    """A model as its `model.toml` describes it, checked, with the folder that it was read from.

    Attributes:
        folder: the model's folder, absolute.
    """

    folder: Path

    def variant(self, name: str) -> Variant:
        """The variant of that name.

        Raises:
            ModelError: there is none.
        """
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise ModelError(f"{self.folder / FILE}: no variant {name!r}; there are {_list(v.name for v in self.variants)}")

    def for_tier(self, tier: Tier) -> Variant:
        """The variant that this tier runs.

        Raises:
            ModelError: the manifest gives this tier none.
        """
        name = self.tiers.bridge if tier == "bridge" else self.tiers.cloud
        if name is None:
            raise ModelError(f"{self.folder / FILE}: tiers.{tier}: model {self.name} names no variant for this tier")
        return self.variant(name)


def load_manifest(folder: Path) -> Manifest:
    """Read and check `model.toml` of one model; its ONNX files are not opened (see `verify`).

    Args:
        folder: the model's folder.

    Raises:
        ModelError: the file is missing, is not TOML, has an unknown, missing or unfit key, or contradicts itself.
    """
    file = folder.absolute() / FILE
    try:
        document = load(file, Document)
    except ConfigError as error:
        raise ModelError(str(error)) from error
    if problems := list(_contradictions(document)):
        raise ModelError(f"{file}: {'; '.join(problems)}")
    fields = {name: getattr(document, name) for name in document.__struct_fields__}
    return Manifest(folder=file.parent, **fields)


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _contradictions(document: Document) -> Iterator[str]:
    shape = document.input
    if shape.hop > shape.rows:
        yield f"input.hop: {shape.hop} is more than input.rows, {shape.rows}: rows between windows would be skipped"
    yield from _twice("input.channels", shape.channels)
    yield from _twice("output.labels", document.output.labels)
    yield from _twice("variants.name", (variant.name for variant in document.variants))
    yield from _lengths(document)
    names = {variant.name for variant in document.variants}
    for tier, name in (("bridge", document.tiers.bridge), ("cloud", document.tiers.cloud)):
        if name is not None and name not in names:
            yield f"tiers.{tier}: no variant {name!r}"
    for index, variant in enumerate(document.variants):
        for problem in _variant(variant, names):
            yield f"variants[{index}].{problem}"
    yield from _circles(document.variants)


def _twice(key: str, values: Iterable[str]) -> Iterator[str]:
    for value, count in Counter(values).items():
        if count > 1:
            yield f"{key}: {value!r} is there {count} times"


def _lengths(document: Document) -> Iterator[str]:
    count = len(document.input.channels)
    lists: dict[str, tuple[Any, ...]] = {"input.units": document.input.units}
    if isinstance(document.normalisation, Normalisation):
        lists["normalisation.mean"] = document.normalisation.mean
        lists["normalisation.std"] = document.normalisation.std
    for key, values in lists.items():
        if len(values) != count:
            yield f"{key}: has {len(values)} entries for {count} channels"


def _variant(variant: Variant, names: set[str]) -> Iterator[str]:
    path = PureWindowsPath(variant.file)  # reads both separators, and drive letters
    if path.drive or path.root or ".." in path.parts or "\0" in variant.file:
        yield f"file: {variant.file!r} does not stay inside the model's folder"
    if variant.escalates_to is not None and variant.escalates_to not in names:
        yield f"escalates_to: no variant {variant.escalates_to!r}"
    if (variant.escalates_to is None) != (variant.below is None):
        yield "escalates_to and below: give both or neither"
    if variant.escalates_to is None and (variant.escalation or variant.target is not None):
        yield "escalation and target: need escalates_to"
    if variant.measure != "max":
        yield (
            f"measure: {variant.measure!r} is known to `models calibrate`, but windows are placed by 'max' alone: "
            "calibrate again with --write, which fits below and escalation to that"
        )
    yield from _ascending(variant.escalation)


def _ascending(points: Iterable[Point]) -> Iterator[str]:
    for index, ((sure, right), (surer, more)) in enumerate(itertools.pairwise(points)):
        if surer <= sure:
            yield f"escalation[{index + 1}]: certainty {surer} is not above {sure}, that of the point before"
        if more < right:
            yield f"escalation[{index + 1}]: share {more} is below {right}, though the certainty is higher"


def _circles(variants: Iterable[Variant]) -> Iterator[str]:
    following = {variant.name: variant.escalates_to for variant in variants}
    for start in following:
        seen: set[str] = set()
        name: str | None = start
        while name is not None and name not in seen:
            seen.add(name)
            name = following.get(name)
        if name == start:
            yield f"variants.escalates_to: {start!r} leads back to itself"
