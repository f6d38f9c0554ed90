"""`inference-bridge models tune | quantize | fidelity`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bridge import assembly, topics
from bridge import config as configuration
from bridge.catalog import load_manifest
from bridge.catalog.manifest import FILE
from bridge.errors import ConfigError

if TYPE_CHECKING:
    import argparse

    from bridge.catalog import Manifest, Variant
    from bridge.config import Config
    from bridge.runtime.quantize import Verdict


MOST_ROWS = 4_096  # of a message


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `models` and its sub-commands to the parser's commands."""
    models = commands.add_parser("models", help="make models faster without making them worse")
    actions = models.add_subparsers(dest="action", required=True)
    tune = actions.add_parser("tune", help="measure what is fastest on this machine, and remember it")
    tune.add_argument("model", help="name of a model, or its folder")
    tune.add_argument("--tier", choices=("bridge", "cloud"), default="bridge", help="(default %(default)s)")
    tune.add_argument("--seconds", type=float, default=20.0, help="time to spend on timing (default %(default)s)")
    quantize = actions.add_parser("quantize", help="make an int8 variant, if it stays accurate")
    quantize.add_argument("model", help="name of a model, its folder, or a float ONNX file in it")
    quantize.add_argument("--variant", help="the float variant; left out: each fp32 variant without an int8 one")
    quantize.add_argument("--name", help="name of the new variant (default: fp32 becomes int8)")
    quantize.add_argument(
        "--method", choices=("static", "dynamic"), help="left out: static with convolutions, else dynamic"
    )
    quantize.add_argument("--write", action="store_true", help=f"add the new variant to {FILE}")
    fidelity = actions.add_parser("fidelity", help="measure what each encoding of rows costs in accuracy")
    fidelity.add_argument("model", help="name of a model, or its folder")
    fidelity.add_argument("--tier", choices=("bridge", "cloud"), default="bridge", help="(default %(default)s)")
    fidelity.add_argument("--rows", type=int, help="rows a message (default: those from window to window)")
    for command in (tune, quantize, fidelity):
        command.add_argument("--config", type=Path, help="bridge.toml; defaults without")
        command.add_argument("--recordings", type=Path, help="folder with recordings.csv (default: the model's sample)")


def run(chosen: argparse.Namespace) -> int:
    """Run a sub-command.

    Returns:
        0; 1 when a graph cannot be quantised and stays as it is.

    Raises:
        ConfigError: settings, recordings or names that cannot be used.
        ModelError: a model cannot be used.
        StoreError: what was found cannot be kept.
    """
    config, base = configuration.load(chosen.config)
    if chosen.action == "tune":
        return _tune(chosen, config, base)
    if chosen.action == "fidelity":
        return _fidelity(chosen, config, base)
    return _quantize(chosen, config, base)


def _fidelity(chosen: argparse.Namespace, config: Config, base: Path) -> int:
    from bridge.runtime import fidelity, recordings  # they load ONNX Runtime

    manifest, _ = _model(chosen.model, config, base)
    rows = manifest.input.hop if chosen.rows is None else chosen.rows
    if not 1 <= rows <= MOST_ROWS:
        raise ConfigError(f"--rows: {rows} is not between 1 and {MOST_ROWS}")
    found = recordings.read(chosen.recordings or manifest.folder / "sample", manifest)
    measured = fidelity.measure(manifest, manifest.for_tier(chosen.tier), found, rows=rows)
    sys.stdout.write(fidelity.render(measured, manifest, rows=rows))
    return 0


def _tune(chosen: argparse.Namespace, config: Config, base: Path) -> int:
    from bridge.runtime import chart, recordings, remembered, tune  # they load ONNX Runtime

    if not 0.0 < chosen.seconds <= 86_400.0:
        raise ConfigError(f"--seconds: {chosen.seconds:g} is not between 0 and 86400")
    options = assembly.provider_options(config)
    manifest, _ = _model(chosen.model, config, base)
    found = recordings.read(chosen.recordings or manifest.folder / "sample", manifest)
    sys.stderr.write(f"measuring for about {chosen.seconds:g} s\n")
    tuning = tune.tune(manifest, chosen.tier, found, seconds=chosen.seconds, options=options)
    sys.stdout.write(chart.render(tuning))
    state = assembly.state_folder(config, base)
    file = remembered.remember(tuning, manifest, state, t=time.time(), options=options)
    sys.stdout.write(f"\nchosen   {chart.summary(tuning)}\nkept in  {file}\n")
    return 0


def _quantize(chosen: argparse.Namespace, config: Config, base: Path) -> int:
    from bridge.runtime import quantizer, recordings, variant_lines  # the first needs the package onnx
    from bridge.runtime.quantize import int8_name, quantize

    if chosen.name is not None and not topics.is_name(chosen.name):
        raise ConfigError(f"--name: {chosen.name!r} is not a name: letters, digits, `_`, `.`, `-`, at most 64")
    manifest, file = _model(chosen.model, config, base)
    found = recordings.read(chosen.recordings or manifest.folder / "sample", manifest)
    sources = _sources(chosen, manifest, file)
    refused = 0
    for source in sources:
        name = chosen.name or int8_name(source)
        verdict = quantize(manifest, source, name, found, quantiser=quantizer, method=chosen.method)
        _tell(verdict)
        if verdict.variant is None or verdict.figures is None:
            refused += 1
        elif chosen.write:
            sys.stdout.write(f"added to {variant_lines.add(manifest.folder, verdict.variant, verdict.figures.note)}\n")
        else:
            text = variant_lines.lines(verdict.variant, verdict.figures.note)
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


def _model(text: str, config: Config, base: Path) -> tuple[Manifest, Path | None]:
    """The model of a name, a folder, or a file in its folder; and that file."""
    path = Path(text)
    if path.suffix == ".onnx":
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
        if not (path.parent / FILE).is_file():
            raise ConfigError(f"{path}: no {FILE} beside it, which says what goes in, what comes out, and the budget")
        return load_manifest(path.parent), path
    if (path / FILE).is_file():
        return load_manifest(path), None
    return assembly.catalog_of(config, base)[text], None


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
