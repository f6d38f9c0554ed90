"""`inference-bridge models tune | quantize | fidelity | calibrate | split`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bridge import assembly, models_calibrate, models_fidelity, models_quantize, models_split
from bridge import config as configuration
from bridge.catalog import load_manifest
from bridge.catalog.manifest import FILE
from bridge.errors import ConfigError

if TYPE_CHECKING:
    import argparse

    from bridge.catalog import Manifest
    from bridge.config import Config


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
    fidelity.add_argument("--tier", choices=("bridge", "cloud"), help="(default bridge)")
    fidelity.add_argument("--rows", type=int, help="rows a message (default: those from window to window)")
    fidelity.add_argument(
        "--write", action="store_true", help=f"measure what the cloud is asked, whole windows, and put that into {FILE}"
    )
    for command in (tune, quantize, fidelity):
        command.add_argument("--recordings", type=Path, help="folder with recordings.csv (default: the model's sample)")
    models_calibrate.add_parser(actions)
    models_split.add_parser(actions)
    for command in actions.choices.values():
        command.add_argument("--config", type=Path, help="bridge.toml; defaults without")


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
    manifest, file = _model(chosen.model, config, base)
    if chosen.action == "tune":
        return _tune(chosen, manifest, config, base)
    if chosen.action == "fidelity":
        return models_fidelity.run(chosen, manifest)
    if chosen.action == "calibrate":
        return models_calibrate.run(chosen, manifest)
    if chosen.action == "split":
        return models_split.run(chosen, manifest)
    return models_quantize.run(chosen, manifest, file)


def _tune(chosen: argparse.Namespace, manifest: Manifest, config: Config, base: Path) -> int:
    from bridge.runtime import chart, recordings, remembered, tune  # they load ONNX Runtime

    if not 0.0 < chosen.seconds <= 86_400.0:
        raise ConfigError(f"--seconds: {chosen.seconds:g} is not between 0 and 86400")
    options = assembly.provider_options(config)
    found = recordings.read(chosen.recordings or manifest.folder / "sample", manifest)
    sys.stderr.write(f"measuring for about {chosen.seconds:g} s\n")
    tuning = tune.tune(manifest, chosen.tier, found, seconds=chosen.seconds, options=options)
    sys.stdout.write(chart.render(tuning))
    state = assembly.state_folder(config, base)
    file = remembered.remember(tuning, manifest, state, t=time.time(), options=options)
    sys.stdout.write(f"\nchosen   {chart.summary(tuning)}\nkept in  {file}\n")
    return 0


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
