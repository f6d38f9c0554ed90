"""Is the ONNX file the one that the manifest was written for? Asked before any graph is opened."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from bridge.catalog.manifest import FILE
from bridge.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.catalog.manifest import Manifest
    from bridge.catalog.schema import Variant


def verify(manifest: Manifest, variant: Variant) -> Path:
    """Check size, then SHA-256, of a variant's file. Data that a graph keeps in further files is not covered.

    Args:
        manifest: the model.
        variant: one of its variants.

    Returns:
        The file's absolute path.

    Raises:
        ModelError: the file is missing, unreadable or another one; says what was expected and found, and what to do.
    """
    path = manifest.folder / variant.file
    try:
        size = path.stat().st_size
        if size != variant.bytes:
            raise ModelError(_other(manifest, variant, "bytes", str(variant.bytes), str(size)))
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"{path}: the file of {manifest.name}/{variant.name} cannot be read: {error.strerror}; "
            f"put it back from the release, or take the variant out of {FILE}"
        ) from error
    if found != variant.sha256:
        raise ModelError(_other(manifest, variant, "sha256", variant.sha256, found))
    return path


def _other(manifest: Manifest, variant: Variant, key: str, expected: str, found: str) -> str:
    path = manifest.folder / variant.file
    return (
        f"{path}: not the file that {FILE} describes for {manifest.name}/{variant.name}: {key} expected {expected}, "
        f"found {found}; put the file back from the release, or, if it was replaced on purpose, measure it and write "
        f"its new bytes, sha256 and accuracy into {manifest.folder / FILE}"
    )
