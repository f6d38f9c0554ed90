"""`inference-bridge models fidelity`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bridge.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from bridge.catalog import Manifest
    from bridge.runtime.recordings import Recording

MOST_ROWS = 4_096  # of a message


def run(chosen: argparse.Namespace, manifest: Manifest) -> int:
    """Measure what encodings cost and print it; with `--write`, put what the way to the cloud costs into the manifest.

    Returns:
        0.

    Raises:
        ConfigError: recordings or options that cannot be used.
        ModelError: a graph or the manifest cannot be used.
        StoreError: the manifest cannot be written.
    """
    from bridge.runtime import fidelity, recordings  # they load ONNX Runtime

    if chosen.write and (chosen.tier is not None or chosen.rows is not None):
        raise ConfigError("--write: measures the cloud's variant on whole windows; leave out --tier and --rows")
    rows = manifest.input.hop if chosen.rows is None else chosen.rows
    if not 1 <= rows <= MOST_ROWS:
        raise ConfigError(f"--rows: {rows} is not between 1 and {MOST_ROWS}")
    folder = chosen.recordings or manifest.folder / "sample"
    found = recordings.read(folder, manifest)
    if chosen.write:
        return _write(manifest, recordings.apart(found, manifest), folder.name or str(folder))
    measured = fidelity.measure(manifest, manifest.for_tier(chosen.tier or "bridge"), found, rows=rows)
    sys.stdout.write(fidelity.render(measured, manifest, rows=rows))
    return 0


def _write(manifest: Manifest, windows: Sequence[Recording], source: str) -> int:
    from bridge.runtime import fidelity, variant_lines

    variant, rows = manifest.for_tier("cloud"), manifest.input.rows
    measured = fidelity.measure(manifest, variant, windows, rows=rows)
    sys.stdout.write(fidelity.table(measured, manifest, rows=rows))
    note = f"measured with {variant.name} on {measured[0].windows} windows of {source}, each packed by itself"
    file = variant_lines.set_table(manifest.folder, "fidelity", fidelity.packed(measured), note)
    sys.stdout.write(f"\nwritten to {file}\n")
    return 0
