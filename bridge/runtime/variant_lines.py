"""A new variant as lines of `model.toml`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bridge.catalog import load_manifest
from bridge.catalog.manifest import FILE
from bridge.errors import ModelError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.catalog import Variant


def lines(variant: Variant, note: str = "") -> str:
    """The `[[variants]]` table, its keys in the manifest's order; what is not set is left out.

    Args:
        variant: the variant.
        note: a comment above it, in one line.
    """
    fields = ((name, getattr(variant, name)) for name in variant.__struct_fields__)
    keys = [f"{name} = {_value(value)}\n" for name, value in fields if value is not None]
    return "".join([f"# {note}\n" if note else "", "[[variants]]\n", *keys])


def add(folder: Path, variant: Variant, note: str = "") -> Path:
    """Add a variant to a model's manifest, which stays as it was if that makes it unusable.

    Args:
        folder: the model's folder.
        variant: the variant; its file is there.
        note: as in `lines`.

    Returns:
        The manifest's file.

    Raises:
        ModelError: the manifest would contradict itself.
        StoreError: it cannot be written.
    """
    file = folder / FILE
    try:
        before = file.read_bytes()
        _replace(file, before.rstrip() + b"\n\n" + lines(variant, note).encode())
        try:
            load_manifest(folder)
        except ModelError:
            _replace(file, before)
            raise
    except OSError as why:
        raise StoreError(f"{file}: cannot be written: {why.strerror or why}") from why
    return file


def _replace(file: Path, data: bytes) -> None:
    part = file.with_suffix(".part")
    part.write_bytes(data)
    part.replace(file)


def _value(value: str | float) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
