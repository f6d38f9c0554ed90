"""What commands find out, as lines of `model.toml`: new variants, and keys of those that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.catalog import load_manifest
from bridge.catalog.manifest import FILE
from bridge.errors import ModelError, StoreError
from bridge.runtime import manifest_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bridge.catalog import Variant
    from bridge.runtime.manifest_text import Value


def lines(variant: Variant, note: str = "") -> str:
    """The `[[variants]]` table, its keys in the manifest's order; what is not set is left out.

    Args:
        variant: the variant.
        note: a comment above it, in one line.
    """
    fields = ((name, getattr(variant, name)) for name in variant.__struct_fields__)
    keys = [f"{name} = {manifest_text.value(value)}\n" for name, value in fields if value not in {None, ()}]
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
    return _change(folder, lambda text: f"{text.rstrip()}\n\n{lines(variant, note)}")


def set_keys(folder: Path, changes: Mapping[str, tuple[Mapping[str, Value], str]]) -> Path:
    """Set keys of variants in a model's manifest, whose comments and layout stay; it stays as it was if that fails.

    Args:
        folder: the model's folder.
        changes: by variant, what each key becomes, and what that comes from; see `manifest_text.set_in_variant`.

    Returns:
        The manifest's file.

    Raises:
        ModelError: the manifest would contradict itself, or is written in a way that cannot be edited.
        StoreError: it cannot be written.
    """

    def edited(text: str) -> str:
        for name, (values, note) in changes.items():
            text = manifest_text.set_in_variant(text, name, values, note)
        return text

    return _change(folder, edited)


def set_table(folder: Path, name: str, values: Mapping[str, Value], note: str) -> Path:
    """Set the keys of the table `[name]` likewise."""
    return _change(folder, lambda text: manifest_text.set_table(text, name, values, note))


def _change(folder: Path, edited: Callable[[str], str]) -> Path:
    file = folder / FILE
    try:
        before = file.read_bytes()
        try:
            after = edited(before.decode())
        except ValueError as why:
            raise ModelError(f"{file}: cannot be edited: {why}: write the lines by hand") from why
        _replace(file, after.encode())
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
