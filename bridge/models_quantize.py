"""`inference-bridge models quantize`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from bridge import topics
from bridge.catalog.manifest import FILE
from bridge.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from bridge.catalog import Manifest, Variant
    from bridge.runtime.quantize import Verdict


def run(chosen: argparse.Namespace, manifest: Manifest, file: Path | None) -> int:
    """Quantise float variants of a model.

    Args:
        chosen: the command's arguments.
        manifest: the model.
        file: the float ONNX file named, when one was.

    Returns:
        0; 1 when a graph cannot be quantised and stays as it is.

    Raises:
        ConfigError: recordings or names that cannot be used.
        ModelError: a model cannot be used.
        StoreError: the new variant cannot be kept.
    """
    from bridge.runtime import quantizer, recordings, variant_lines  # the first needs the package onnx
    from bridge.runtime.quantize import int8_name, quantize

    if chosen.name is not None and not topics.is_name(chosen.name):
        raise ConfigError(f"--name: {chosen.name!r} is not a name: letters, digits, `_`, `.`, `-`, at most 64")
    found = recordings.read(chosen.recordings or manifest.folder / "sample", manifest)
    sources = _sources(chosen, manifest, file)
    refused = 0
    for source in sources:
        name = chosen.name or int8_name(source)
        verdict = quantize(manifest, source, name, found, quantiser=quantizer, method=chosen.method)
        _tell(verdict)
        if verdict.variant is None or verdict.figures is None:
            refused += 1
            continue
        # what is calibrated is the float variant's: near enough, but chosen for no target
        variant, note = msgspec.structs.replace(verdict.variant, target=None), verdict.figures.note
        if chosen.write:
            sys.stdout.write(f"added to {variant_lines.add(manifest.folder, variant, note)}\n")
        else:
            text = variant_lines.lines(variant, note)
            sys.stdout.write(f"add to {manifest.folder / FILE} (or use --write):\n\n{text}\n")
    return 1 if refused else 0


def _sources(chosen: argparse.Namespace, manifest: Manifest, file: Path | None) -> list[Variant]:
    """The float variants to quantise."""
    from bridge.runtime import quantizer
    from bridge.runtime.quantize import float_variant, int8_name

    if file is not None:
        found = [float_variant(manifest, file, quantizer)]
    elif chosen.variant is not None:
        found = [manifest.variant(chosen.variant)]
    else:
        there = {one.name for one in manifest.variants}
        floats = [one for one in manifest.variants if one.precision == "fp32"]
        found = [one for one in floats if chosen.name or int8_name(one) not in there]
        if not found:
            raise ConfigError(
                f"{manifest.folder / FILE}: each fp32 variant has an int8 one; to make another: --variant and --name"
            )
    if len(found) > 1 and chosen.name is not None:
        names = ", ".join(one.name for one in found)
        raise ConfigError(f"--name: there are several float variants, {names}: say which with --variant")
    return found


def _tell(verdict: Verdict) -> None:
    source = verdict.source.file
    if (found := verdict.figures) is not None and verdict.variant is not None:
        (float_right, int_right), (float_lone, int_lone), (float_full, int_full) = (
            found.accuracy,
            found.lone,
            found.batch,
        )
        sys.stdout.write(
            f"{source} → {verdict.variant.file}, {verdict.method}\n"
            f"  accuracy     {float_right:.1%} → {int_right:.1%} on {found.windows} windows that calibrated nothing; "
            f"the same label for {found.agreement:.1%}\n"
            f"  one window   {float_lone * 1e6:.1f} → {int_lone * 1e6:.1f} µs\n"
            f"  in batches   {float_full * 1e6:.1f} → {int_full * 1e6:.1f} µs a window\n"
        )
        if int_lone >= float_lone and int_full >= float_full:
            sys.stdout.write("  not faster on this machine: `models tune` will keep to the float variant\n")
    if verdict.refused is not None:
        sys.stderr.write(f"inference-bridge: {source} is not quantised, and stays as it is: {verdict.refused}\n")
