"""`inference-bridge models calibrate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.catalog.manifest import FILE
from bridge.errors import ConfigError
from bridge.runtime import manifest_text

if TYPE_CHECKING:
    import argparse

    from bridge.catalog import Manifest
    from bridge.runtime.calibration_cascade import Target


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `calibrate` to the sub-commands of `models`."""
    calibrate = actions.add_parser("calibrate", help="fit scores to the truth, and the threshold to a declared target")
    calibrate.add_argument("model", help="name of a model, or its folder")
    calibrate.add_argument(
        "--target",
        help="'up<=0.2': at most that share of windows is sent up; 'cloud>=0.98': at least that share of the cloud's "
        f"accuracy (default: the one in {FILE})",
    )
    data = calibrate.add_mutually_exclusive_group()
    data.add_argument("--recordings", type=Path, help="folder with recordings.csv, of nobody the model was trained on")
    data.add_argument("--logits", type=Path, help="npz of logits and classes (default: calibration.npz of the model)")
    calibrate.add_argument("--write", action="store_true", help=f"put what was found into {FILE}")


def run(chosen: argparse.Namespace, manifest: Manifest) -> int:
    """Calibrate a model's variants and print what was found; with `--write`, put it into the manifest.

    Returns:
        0.

    Raises:
        ConfigError: data or target that cannot be used.
        ModelError: a graph or the manifest cannot be used.
        StoreError: the manifest cannot be written.
    """
    from bridge.runtime import calibration_data, calibration_fit, calibration_report  # they load ONNX Runtime
    from bridge.runtime.variant_lines import set_keys

    target = _target(chosen.target)
    if chosen.recordings is not None:
        data = calibration_data.from_recordings(chosen.recordings, manifest)
    else:
        data = calibration_data.from_file(chosen.logits or manifest.folder / calibration_data.FILE, manifest)
    found = calibration_fit.calibrate(manifest, data, target)
    sys.stdout.write(calibration_report.render(manifest.name, data, found))
    changes = {one.name: (one.keys(), one.note(data)) for one in found}
    if chosen.write:
        sys.stdout.write(f"\nwritten to {set_keys(manifest.folder, changes)}\n")
        return 0
    sys.stdout.write(f"\nfor {manifest.folder / FILE} (or use --write)\n")
    for name, (values, note) in changes.items():
        lines = (f"{key} = {manifest_text.value(value)}\n" for key, value in values.items())
        sys.stdout.write(f"\n# {name}: {note}\n{''.join(lines)}")
    return 0


def _target(text: str | None) -> Target | None:
    from bridge.runtime.calibration_cascade import parse

    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as why:
        raise ConfigError(f"--target: {why}") from why
